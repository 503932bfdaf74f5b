"""The exchange of AUTH (RFC 4954): challenges out, answers in, credentials at the end.

`ask` sends a 334 challenge and returns the client's next line. What cannot be read raises `CommandFault`; nothing that
was sent is logged or quoted.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable

from relay.core.reply import Reply
from relay.inbound import replies
from relay.proto.smtp.parameters import CommandFault
from relay.proto.smtp.sasl import Credentials, decode_login, decode_plain

Ask = Callable[[Reply], Awaitable[str]]

MECHANISMS = ("PLAIN", "LOGIN")


async def credentials(mechanism: str, initial: str, ask: Ask) -> Credentials:
    """Run the exchange of one of `MECHANISMS`; `initial` is the initial response, empty when there is none."""
    if mechanism == "PLAIN":
        return decode_plain(initial or await _answer(ask, ""))
    login = initial or await _answer(ask, "Username:")
    return decode_login(login, await _answer(ask, "Password:"))


async def _answer(ask: Ask, challenge: str) -> str:
    answer = await ask(Reply(334, (base64.b64encode(challenge.encode()).decode("ascii"),)))
    if answer == "*":
        raise CommandFault(replies.LOGIN_CANCELLED)  # RFC 4954 4
    return answer
