"""What a command handler gives back: the tagged response to be."""

from __future__ import annotations

from typing import Literal

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """Status, text and response code."""

    status: Literal["OK", "NO", "BAD"]
    text: str
    code: bytes | None = None


DONE = Answer("OK", "Done")
BAD_NUMBER = Answer("BAD", "No such message number")
READ_ONLY = Answer("NO", "Mailbox is read-only", b"READ-ONLY")


def no(text: str, code: bytes | None = None) -> Answer:
    """NO"""
    return Answer("NO", text, code)


class HalfSaid(Exception):
    """A response was cut off in its middle (its cause says why); only closing the connection is honest."""
