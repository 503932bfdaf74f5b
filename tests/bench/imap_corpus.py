"""What lies in the mailboxes compared: messages of one size, some with an attachment, the same in every run."""

from __future__ import annotations

import base64
import random
from typing import Final

SIZE: Final = 4096
RARE: Final = "marmalade"
"""A word in the subject of every fiftieth message."""
RARE_EVERY: Final = 50
_ATTACHED_EVERY: Final = 5
_TEXT: Final = """
account agenda answer budget calendar contract customer delivery draft estimate figures forecast garden holiday
invoice journey kitchen ledger library meeting minutes notice office order paper parcel payment picture project
quarter receipt report schedule signature summary supplier table ticket update visit weather window workshop
"""
_WORDS: Final = _TEXT.split()
_LINE: Final = 72


def message(number: int) -> bytes:
    """One of about `SIZE` octets; `number` counts from 1."""
    dice = random.Random(number)  # the same text every time
    sender, topic = dice.choice(_WORDS), " ".join(dice.sample(_WORDS, 4))
    subject = f"{topic} {RARE}" if number % RARE_EVERY == 0 else topic
    head = (
        f"Received: from out.example.net (out.example.net [192.0.2.{number % 250}])\r\n"
        f"\tby mx.example.org with ESMTPS id {number:08x}; Mon, 6 Jul 2026 10:{number % 60:02}:00 +0000\r\n"
        f"From: {sender.title()} Person <{sender}@example.net>\r\n"
        f"To: Alice <alice@example.org>, Bob <bob@example.org>\r\n"
        f"Subject: {subject}\r\n"
        f"Date: Mon, 6 Jul 2026 10:{number % 60:02}:00 +0000\r\n"
        f"Message-ID: <{number}.bench@example.net>\r\n"
        "MIME-Version: 1.0\r\n"
    )
    if number % _ATTACHED_EVERY:
        body = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        return (head + body + _prose(dice, SIZE - len(head) - len(body))).encode()
    edge = f"edge-{number}"
    first = (
        f'Content-Type: multipart/mixed; boundary="{edge}"\r\n\r\n--{edge}\r\n'
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{_prose(dice, 900)}\r\n--{edge}\r\n"
        f'Content-Type: application/pdf; name="{topic}.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
        f'Content-Disposition: attachment; filename="{topic}.pdf"\r\n\r\n'
    )
    last = f"\r\n--{edge}--\r\n"
    room = (SIZE - len(head) - len(first) - len(last)) * 3 // 4 * 76 // 78
    attached = base64.encodebytes(dice.randbytes(room)).decode().replace("\n", "\r\n")
    return (head + first + attached.rstrip() + last).encode()


def _prose(dice: random.Random, size: int) -> str:
    """Lines of words, about `size` octets."""
    lines: list[str] = []
    left = size
    while left > _LINE:
        line = ""
        while len(line) < _LINE - 12:
            line += dice.choice(_WORDS) + " "
        lines.append(line.rstrip())
        left -= len(lines[-1]) + 2
    return "\r\n".join(lines) + "\r\n"
