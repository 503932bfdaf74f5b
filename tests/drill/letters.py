"""Letters of the drill: each is a pure function of seed and number, so the account needs no copy of what was sent."""

from __future__ import annotations

import dataclasses
import functools
import random
from typing import Final

from tests.peers import people

MARK: Final = b"X-Drill-Letter: "
"""Starts the first line of every letter; what stands above it in a mailbox is trace."""
RECIPIENTS: Final = tuple(f"u{n:03}@{people.DOMAIN}" for n in range(40))
_NOISE: Final = 1 << 20


@dataclasses.dataclass(frozen=True)
class Letter:
    """One message with its envelope."""

    number: int
    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes
    """Lines end in CRLF."""


@functools.cache
def _noise(seed: int) -> bytes:
    """Lines of all lengths up to 998, with leading dots, bytes above 127 and empty lines; CRLF only as line ends."""
    source = random.Random(f"noise {seed}")
    alphabet = bytes(b for b in range(32, 256) if b != 127)
    lines = []
    size = 0
    while size < _NOISE:
        line = bytes(source.choices(alphabet, k=source.choice((0, 1, 20, 60, 72, 78, 200, 998))))
        if source.random() < 0.1:
            line = b"." * source.randint(1, 3) + line[:900]
        lines.append(line)
        size += len(line) + 2
    return b"\r\n".join(lines)


def _body(seed: int, source: random.Random) -> bytes:
    noise = _noise(seed)
    size = source.choices(
        (source.randint(0, 200), source.randint(1_000, 6_000), source.randint(6_000, 40_000), 250_000),
        weights=(10, 70, 18, 2),
    )[0]
    start = source.randrange(len(noise) - size)
    # Cut at line ends: a CR without its LF would be another drill.
    start = noise.find(b"\r\n", start) + 2
    end = noise.rfind(b"\r\n", start, start + size + 2)
    return noise[start : max(start, end)] + b"\r\n"


def letter(seed: int, number: int) -> Letter:
    """The letter with this number."""
    source = random.Random(f"{seed}/{number}")
    count = source.choices((1, 2, 5), weights=(90, 8, 2))[0]
    recipients = tuple(source.sample(RECIPIENTS, count))
    head = (
        f"X-Drill-Letter: {number}\r\n"
        f"From: Sender {number} <sender{number % 97}@example.net>\r\n"
        f"To: {', '.join(recipients)}\r\n"
        f"Subject: letter {number} of drill {seed}\r\n"
        f"Message-ID: <{seed}.{number}.{source.getrandbits(64):x}@example.net>\r\n"
        f"Date: Sun, 22 Nov 2026 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02} +0000\r\n"
        "\r\n"
    )
    return Letter(number, f"sender{number % 97}@example.net", recipients, head.encode() + _body(seed, source))
