"""The preview of a message (RFC 8970): the first words of its first text, as people read it.

Enters: a part and the first octets of its body. Leaves: at most `LONGEST` characters on one line. Linear; never raises.
"""

from __future__ import annotations

import html
import re

from relay.proto.imap import text
from relay.proto.mime.structure import Kind, Part

LONGEST = 200
"""RFC 8970 3.1 (characters): 200 at most for a server that follows its advice."""
LOOK = 16_384
"""Octets of the raw body that are worth reading."""

_TAG = re.compile(r"<(?:(?P<comment>!--)|(?P<close>/)?(?P<name>[A-Za-z][A-Za-z0-9]*)[^<>]*>?|[!?][^<>]*>?)")
_HIDDEN = frozenset({"head", "script", "style", "title"})
_BLANKS = re.compile(r"\s+")


def pick(root: Part) -> Part | None:
    """The part that a preview is made of: the first plain text, else the first HTML, attachments aside."""
    chosen: Part | None = None
    for part in text.parts(root):
        if part.kind is not Kind.LEAF or part.type.lower() != b"text":
            continue
        if part.disposition is not None and part.disposition.type.lower() == b"attachment":
            continue
        subtype = part.subtype.lower()
        if subtype == b"plain":
            return part
        if subtype == b"html" and chosen is None:
            chosen = part
    return chosen


def preview(part: Part, body: bytes) -> str:
    """From the first `LOOK` octets of the body of the part that was picked."""
    shown = text.part_text(part, body[:LOOK])
    if part.subtype.lower() == b"html":
        shown = html.unescape(_visible(shown))
    # What a cut encoding leaves at the end, and what is no character, is not for people.
    shown = "".join(char for char in _BLANKS.sub(" ", shown) if char.isprintable())
    return shown.strip()[:LONGEST].rstrip()


def _visible(markup: str) -> str:
    """Text outside of tags, comments and elements that are not shown."""
    out: list[str] = []
    position, hidden = 0, ""
    while found := _TAG.search(markup, position):
        if not hidden:
            out.append(markup[position : found.start()])
            out.append(" ")
        position = found.end()
        name = (found["name"] or "").lower()
        if found["comment"]:
            end = markup.find("-->", position)
            if end < 0:
                return "".join(out)
            position = end + len("-->")
        elif hidden:
            hidden = "" if found["close"] and name == hidden else hidden
        elif name in _HIDDEN and not found["close"]:
            hidden = name
    if not hidden:
        out.append(markup[position:])
    return "".join(out)
