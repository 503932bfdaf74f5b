"""Untagged responses of the server (RFC 9051 7.2 to 7.5 and extensions): values in, whole lines out.

Invariants: `encode`'s promise holds for every line; names are modified UTF-7, or with `utf8` UTF-8 in quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from relay.proto.imap import encode, names, threads
from relay.proto.imap.dates import date_time
from relay.proto.imap.fetch import Attribute, BodyPart
from relay.proto.imap.listing import Entry
from relay.proto.imap.search import Return
from relay.proto.imap.sequence import compact

_DELIMITER = encode.quoted(names.DELIMITER.encode())


def mailbox(name: str, *, utf8: bool = False) -> bytes:
    """A mailbox name: an atom where possible, else quoted. UTF-8 only once the client has enabled it (RFC 6855 3)."""
    if utf8 and not name.isascii():
        return encode.quoted(name.encode("utf-8"))
    return encode.astring(name.encode("ascii") if utf8 else names.encode(name))


# --- mailboxes ---


def listed(entry: Entry, *, lsub: bool = False, utf8: bool = False) -> bytes:
    """LIST or LSUB (RFC 9051 7.3.1, RFC 5258 4)."""
    # RFC 3501 6.3.8: the root has an empty name, in quotes.
    name = mailbox(entry.name, utf8=utf8) if entry.name else b'""'
    words = [b"LSUB" if lsub else b"LIST", _words(entry.attributes), _DELIMITER, name]
    if entry.child_info:
        inside = encode.parens(encode.quoted(option.encode("ascii")) for option in entry.child_info)
        words.append(b'("CHILDINFO" ' + inside + b")")
    return encode.untagged(*words)


def _words(words: Iterable[str]) -> bytes:
    return encode.parens(word.encode("ascii", "replace") for word in words)


def status(name: str, values: Mapping[str, int | str | None], *, utf8: bool = False) -> bytes:
    """STATUS: numbers, an object identifier (MAILBOXID), or None (an APPENDLIMIT that is none) (RFC 9051 7.3.2)."""
    return encode.untagged(
        b"STATUS",
        mailbox(name, utf8=utf8),
        encode.parens(item.encode("ascii") + b" " + _status_value(value) for item, value in values.items()),
    )


def _status_value(value: int | str | None) -> bytes:
    if value is None:
        return b"NIL"  # RFC 7889 3.1
    return b"%d" % value if isinstance(value, int) else b"(" + value.encode("ascii") + b")"  # RFC 8474 4.3


def namespace(
    personal: Sequence[str] = ("",), others: Sequence[str] = (), shared: Sequence[str] = (), *, utf8: bool = False
) -> bytes:
    """NAMESPACE (RFC 9051 7.3.4): prefixes of each kind, all with our delimiter."""

    def shown(prefixes: Sequence[str]) -> bytes:
        if not prefixes:
            return b"NIL"
        wire = (prefix.encode("utf-8") if utf8 else names.encode(prefix) for prefix in prefixes)
        return b"(" + b"".join(b"(%b %b)" % (encode.quoted(one), _DELIMITER) for one in wire) + b")"

    return encode.untagged(b"NAMESPACE", shown(personal), shown(others), shown(shared))


def quota(root: str, resources: Iterable[tuple[str, int, int]]) -> bytes:
    """QUOTA (RFC 9208 4.2.1): name, usage and limit; STORAGE counts in units of 1,024 octets (RFC 9208 5.1)."""
    return encode.untagged(
        b"QUOTA",
        encode.string(root.encode("utf-8")),
        encode.parens(b"%b %d %d" % (name.encode("ascii"), used, limit) for name, used, limit in resources),
    )


def quota_root(name: str, roots: Iterable[str], *, utf8: bool = False) -> bytes:
    """QUOTAROOT (RFC 9208 4.2.2)."""
    return encode.untagged(b"QUOTAROOT", mailbox(name, utf8=utf8), *(encode.string(r.encode("utf-8")) for r in roots))


# --- the conversation ---


def enabled(words: Iterable[str]) -> bytes:
    """ENABLED (RFC 5161 3.2); also when it is nothing."""
    return encode.untagged(b"ENABLED", *(word.encode("ascii") for word in words))


def identity(fields: Mapping[str, str | None]) -> bytes:
    """ID (RFC 2971 3.2)."""
    if not fields:
        return encode.untagged(b"ID", b"NIL")
    pairs: list[bytes] = []
    for name, value in fields.items():
        pairs += (encode.string(name.encode("utf-8")), encode.nstring(None if value is None else value.encode("utf-8")))
    return encode.untagged(b"ID", encode.parens(pairs))


# --- SEARCH and its kin ---


def numbered(name: bytes, numbers: Iterable[int]) -> bytes:
    """SEARCH (RFC 3501 7.2.5) or SORT (RFC 5256 4)."""
    found = " ".join(map(str, numbers))
    return encode.untagged(name, found.encode("ascii")) if found else encode.untagged(name)


def thread(roots: Sequence[threads.Node]) -> bytes:
    """THREAD (RFC 5256 4)."""
    return encode.untagged(b"THREAD", threads.encode(roots)) if roots else encode.untagged(b"THREAD")


def search(
    tag: str, found: Sequence[int], returns: frozenset[Return] | None, *, by_uid: bool, rev2: bool = False
) -> bytes:
    """What answers a SEARCH; `found` ascends. Empty when only SAVE was asked for (RFC 5182 2.1).

    rev2 knows no SEARCH response: it is answered as if RETURN (ALL) had been asked (RFC 9051 6.4.4).
    """
    if returns is None:
        if not rev2:
            return numbered(b"SEARCH", found)
        returns = frozenset({Return.ALL})
    if returns == {Return.SAVE}:
        return b""
    words = [b"ESEARCH", b"(TAG " + encode.quoted(tag.encode("ascii")) + b")"]
    if by_uid:
        words.append(b"UID")
    # RFC 4731 3.1: of nothing there is no MIN, MAX or ALL, but a COUNT.
    if found and Return.MIN in returns:
        words.append(b"MIN %d" % found[0])
    if found and Return.MAX in returns:
        words.append(b"MAX %d" % found[-1])
    if Return.COUNT in returns:
        words.append(b"COUNT %d" % len(found))
    if found and Return.ALL in returns:
        words.append(b"ALL " + compact(found))
    return encode.untagged(*words)


def to_save(found: Sequence[int], returns: frozenset[Return]) -> list[int]:
    """What `$` names after a SEARCH with SAVE (RFC 5182 2.4): of MIN and MAX alone only these, else everything."""
    if not found or not (returns & {Return.MIN, Return.MAX}) or returns & {Return.ALL, Return.COUNT}:
        return list(found)
    ends = ([found[0]] if Return.MIN in returns else []) + ([found[-1]] if Return.MAX in returns else [])
    return sorted(set(ends))


# --- items of FETCH ---


def object_id(item: Attribute, value: str | None) -> bytes:
    """EMAILID and THREADID (RFC 8474 5); a thread may be unknown."""
    return item.value + b" " + (b"NIL" if value is None else b"(" + value.encode("ascii") + b")")


def save_date(unix: float | None) -> bytes:
    """SAVEDATE (RFC 8514 4.2)."""
    return b"SAVEDATE " + (b"NIL" if unix is None else encode.quoted(date_time(unix)))


def preview(text: str | None) -> bytes:
    """PREVIEW (RFC 8970 3.2), UTF-8 whatever is enabled."""
    return b"PREVIEW " + encode.nstring(None if text is None else text.encode("utf-8"))


def binary(part: BodyPart, data: bytes) -> bytes:
    """`BINARY[...]` with a content that is whole (RFC 3516 4.2): only a NUL makes a literal8 of it."""
    return part.label + b" " + (encode.literal8(data) if b"\0" in data else encode.string(data))


def binary_size(part: BodyPart, octets: int) -> bytes:
    """`BINARY.SIZE[...]`."""
    return part.label + b" %d" % octets
