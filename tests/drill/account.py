"""The final account: what the senders were promised against what lies in the primary's mailboxes.

1. Only the primary's own files are believed: its Maildirs, read after it has nothing queued.
2. A letter counts as twice when the primary *accepted* it twice (two of its queue ids). One queue id delivered twice
   is the primary repeating itself after a SIGKILL between mailbox and queue; it is shown, not held against the relay.
3. What stands above a letter's first line must be trace lines and nothing else; below, every byte counts.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tests.drill.letters import MARK, letter
from tests.peers.trace import TRACE, queue_id


@dataclasses.dataclass(frozen=True)
class Account:
    """Counts of (letter, recipient) pairs, with examples for a report."""

    promised: int
    present: int
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    altered: tuple[str, ...]
    strange: tuple[str, ...]
    """Mail that no sender of the drill wrote."""
    unpromised: int
    """Present though its sender never saw a 250: allowed (the sender would have tried again)."""
    repeated_by_primary: int

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, every byte right."""
        return not (self.lost or self.twice or self.altered or self.strange)


def audit(seed: int, promised: Collection[int], maildirs: Path, *, started: Collection[int]) -> Account:
    """`promised`: numbers of letters with a 250; `started`: all that were ever sent (promised ones too)."""
    copies: dict[tuple[int, str], list[str]] = defaultdict(list)
    altered: list[str] = []
    strange: list[str] = []
    for address, file in _files(maildirs):
        content = file.read_bytes()
        number = _number(content)
        if number is None or number not in started:
            strange.append(f"{address}: {file.name}")
            continue
        above, _, rest = content.partition(MARK)
        if not TRACE.fullmatch(above):
            altered.append(f"letter {number} for {address}: more than trace above it")
        if MARK + rest != letter(seed, number).content.replace(b"\r\n", b"\n"):
            altered.append(f"letter {number} for {address}: other bytes")
        copies[number, address].append(queue_id(above) or "")
    return _balance(seed, promised, copies, altered, strange)


def _balance(
    seed: int,
    promised: Collection[int],
    copies: Mapping[tuple[int, str], list[str]],
    altered: Iterable[str],
    strange: Iterable[str],
) -> Account:
    owed = {(number, address) for number in promised for address in letter(seed, number).recipients}
    wrong_box = [f"letter {n} in the box of {a}" for n, a in copies if a not in letter(seed, n).recipients]
    return Account(
        promised=len(owed),
        present=len(owed & copies.keys()),
        lost=tuple(f"letter {number} for {address}" for number, address in sorted(owed - copies.keys())),
        twice=tuple(f"letter {n} for {a}: {sorted(set(ids))}" for (n, a), ids in copies.items() if len(set(ids)) > 1),
        altered=tuple(altered),
        strange=(*strange, *wrong_box),
        unpromised=len(copies.keys() - owed),
        repeated_by_primary=sum(len(ids) - len(set(ids)) for ids in copies.values()),
    )


def _files(maildirs: Path) -> Iterable[tuple[str, Path]]:
    for box in maildirs.glob("*/*"):
        address = f"{box.name}@{box.parent.name}"
        for folder in ("new", "cur"):
            if (box / folder).is_dir():
                yield from ((address, file) for file in (box / folder).iterdir())


def _number(content: bytes) -> int | None:
    _, found, rest = content.partition(MARK)
    digits = rest.partition(b"\n")[0]
    return int(digits) if found and digits.isdigit() else None
