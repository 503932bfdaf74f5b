"""Names of connections, so that the lines of one can be found in the log of a node.

`3f9a1c-7` is the seventh connection of a process; the first part is new at each start.
"""

from __future__ import annotations

import itertools
import secrets

_PROCESS = secrets.token_hex(3)
_numbers = itertools.count(1)


def connection_name() -> str:
    """The next one: a word in the sense of `logs`, and about nobody."""
    return f"{_PROCESS}-{next(_numbers)}"
