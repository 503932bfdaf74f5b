"""Text of fields and parts as a search sees it: decoded and folded (RFC 2047, 2045 6; RFC 9051 6.4.4).

Bytes in, `str` out. Bodies come in blocks, so a part of any size is searched in the memory of one block.

1. Output is bounded by input: at most `len(input)` characters, plus what one block held back.
2. Never raises: a character set that nobody knows, or that is no text, is read as UTF-8; bytes that are no UTF-8 are
   read as Latin-1.
3. Linear time.
"""

from __future__ import annotations

import binascii
import codecs
import re
import unicodedata

from relay.proto.mime.envelope import unfold
from relay.proto.mime.structure import Part

_WORD = re.compile(rb"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,60})?\?([bBqQ])\?([^?\s]*)\?=")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_QP_ESCAPE = re.compile(rb"=(?:([0-9A-Fa-f]{2})|[ \t]*\r?\n)")
_Q_ESCAPE = re.compile(rb"=([0-9A-Fa-f]{2})")
_QP_TAIL = re.compile(rb"=[ \t]*\r?\Z|=[0-9A-Fa-f]?\Z")
_SURROGATES = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}
_NO_TEXT = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7"})
"""Known to Python, and either no character set, or slow, or able to hide what it means."""
_ALIASES = {b"unknown-8bit": b"latin-1", b"x-unknown": b"latin-1", b"x-sjis": b"shift_jis", b"gb2312": b"gb18030"}
_LONGEST_SOFT_BREAK = 80


def charset(name: bytes) -> str:
    """Python's name of a character set; `utf-8` for one that is not known (US-ASCII is a part of it)."""
    folded = name.strip(b" \t\"'").lower()
    try:
        info = codecs.lookup(_ALIASES.get(folded, folded).decode("ascii"))
    except (LookupError, UnicodeError, ValueError):
        return "utf-8"
    plain = info.name.replace("_", "-")
    if plain in _NO_TEXT or plain == "ascii" or not getattr(info, "_is_text_encoding", True):
        return "utf-8"
    return info.name


def decode(data: bytes, name: bytes = b"utf-8") -> str:
    """Bytes in a named character set."""
    decoder = _Characters(name)
    return decoder.feed(data, final=True)


class _Characters:
    """An incremental reader of one character set that never fails."""

    def __init__(self, name: bytes) -> None:
        encoding = charset(name)
        self._utf8 = encoding == "utf-8"
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if self._utf8 else "replace")

    def feed(self, data: bytes, *, final: bool) -> str:
        """The characters that are complete."""
        try:
            text = self._decoder.decode(data, final)
        except (UnicodeError, ValueError):
            # Some multi-byte readers give up in odd states whatever the error handler: start over.
            self._decoder.reset()
            return data.decode("latin-1")
        return text.translate(_SURROGATES) if self._utf8 else text


def header_text(value: bytes) -> str:
    """A field value as people read it: unfolded, encoded words decoded, blanks between adjacent ones dropped."""
    line = unfold(value)
    if b"=?" not in line:
        return decode(line)
    text: list[str] = []
    pending = b""
    encoding = b""
    at = 0
    for match in _WORD.finditer(line):
        between = line[at : match.start()]
        if between.strip(b" \t") or at == 0:
            text += [decode(pending, encoding), decode(between)]
            pending = b""
        # RFC 2047 6.2: blanks between encoded words are not shown. A character split over two words is common.
        if match[1].lower() != encoding:
            text.append(decode(pending, encoding))
            pending, encoding = b"", match[1].lower()
        pending += _word(match[2], match[3])
        at = match.end()
    text += [decode(pending, encoding), decode(line[at:])]
    return "".join(text)


def _word(kind: bytes, data: bytes) -> bytes:
    if kind in b"bB":
        return _base64(_NOT_BASE64.sub(b"", data))
    return _unescape(_Q_ESCAPE, data.replace(b"_", b" "))


def _base64(clean: bytes) -> bytes:
    """Whole groups and what a cut last group still holds."""
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def _unescape(pattern: re.Pattern[bytes], data: bytes) -> bytes:
    return pattern.sub(lambda match: bytes((int(match[1], 16),)) if match[1] else b"", data)


class PartText:
    """Decodes the body of one part, fed in blocks."""

    def __init__(self, part: Part) -> None:
        name = next((value for key, value in part.params if key.lower() == b"charset"), b"utf-8")
        self._characters = _Characters(name)
        encoding = part.encoding.strip().lower()
        self._transfer = {b"base64": self._take_base64, b"quoted-printable": self._take_qp}.get(encoding, self._take)
        self._held = b""

    def feed(self, block: bytes) -> str:
        """The text that a block completes."""
        return self._characters.feed(self._transfer(block, final=False), final=False)

    def finish(self) -> str:
        """The rest."""
        return self._characters.feed(self._transfer(b"", final=True), final=True)

    def _take(self, block: bytes, *, final: bool) -> bytes:
        return block

    def _take_base64(self, block: bytes, *, final: bool) -> bytes:
        clean = self._held + _NOT_BASE64.sub(b"", block)
        whole = len(clean) if final else len(clean) // 4 * 4
        self._held = clean[whole:]
        return _base64(clean[:whole])

    def _take_qp(self, block: bytes, *, final: bool) -> bytes:
        data = self._held + block
        self._held = b""
        if not final:
            # An escape that the block cut waits for its rest; a long run of blanks is no soft line break any more.
            tail = _QP_TAIL.search(data, max(0, len(data) - _LONGEST_SOFT_BREAK))
            if tail is not None:
                data, self._held = data[: tail.start()], data[tail.start() :]
        return _unescape(_QP_ESCAPE, data)


def part_text(part: Part, body: bytes, limit: int = 1 << 20) -> str:
    """The text of a part from at most `limit` bytes of its body."""
    reader = PartText(part)
    return reader.feed(body[:limit]) + reader.finish()


def fold(text: str) -> str:
    """The form in which text is compared: without case, in one composition."""
    return unicodedata.normalize("NFC", text.casefold())


class Finder:
    """Looks for a string in text that comes in pieces."""

    def __init__(self, needle: str) -> None:
        self._needle = fold(needle)
        self._tail = ""
        self.found = not self._needle

    def feed(self, text: str) -> bool:
        """Whether it has been found, in this piece or across the seam to those before."""
        if not self.found and text:
            window = self._tail + fold(text)
            self.found = self._needle in window
            self._tail = window[1 - len(self._needle) :] if len(self._needle) > 1 else ""
        return self.found
