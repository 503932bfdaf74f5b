"""What LIST and LSUB say, as a pure function of all mailboxes (RFC 9051 6.3.9, RFC 3501 6.3.9, RFC 5258, RFC 6154).

Enters: the command and every mailbox or subscription of the account. Leaves: entries, one by one, so that a caller
may do something else in between. Promises:

1. Levels above a mailbox that are no mailboxes themselves are shown, and say so.
2. Time: the length of all names, times that of all patterns in machine words; wildcards never backtrack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from relay.proto.imap import commands as c
from relay.proto.imap.names import DELIMITER, Pattern

SPECIAL_USES = frozenset({"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"})
"""RFC 6154 2."""


class Box(msgspec.Struct, frozen=True):
    """A mailbox, or with `exists` False a subscription to one that is gone."""

    name: str
    subscribed: bool = False
    special_use: str | None = None
    exists: bool = True


class Entry(msgspec.Struct, frozen=True):
    """One LIST response."""

    name: str
    """Empty for the root."""
    attributes: tuple[str, ...]
    child_info: tuple[str, ...] = ()
    """Selection options that something below it meets (RFC 5258 3.5)."""
    exists: bool = True
    """Whether it has a STATUS (RFC 5819 2)."""


_ROOT = Entry("", ("\\Noselect",), exists=False)


def special_use(word: str) -> str | None:
    """A special use in the spelling of RFC 6154 2; None when it is none."""
    return next((use for use in SPECIAL_USES if use.lower() == word.lower()), None)


def above(names: Iterable[str]) -> set[str]:
    """Every level above one of the names."""
    found: set[str] = set()
    for name in names:
        end = name.rfind(DELIMITER)
        while end > 0 and (level := name[:end]) not in found:
            found.add(level)
            end = level.rfind(DELIMITER)
    return found


def entries(command: c.ListMailboxes, boxes: Sequence[Box]) -> Iterator[Entry]:
    """The answer, INBOX first and each level before what is below it."""
    if command.patterns == ("",) and not command.extended:
        yield _ROOT  # RFC 3501 6.3.8: an empty pattern asks for the delimiter
        return
    wanted = Pattern(*(command.reference + pattern for pattern in command.patterns))
    select = _lsub if command.lsub else _list
    known = {box.name: box for box in boxes}
    parents = above(box.name for box in boxes if box.exists)
    # A subscription that outlived its mailbox still has levels above it, for `%` and RECURSIVEMATCH to name.
    everything = known.keys() | parents | above(box.name for box in boxes if box.subscribed)
    chosen = _Choice(command, boxes, wanted)
    for name in sorted(everything, key=_inbox_first):
        if wanted.matches(name):
            entry = select(chosen, name, known.get(name), has_children=name in parents)
            if entry is not None:
                yield entry


def _inbox_first(name: str) -> tuple[bool, str]:
    return name.partition(DELIMITER)[0] != "INBOX", name


class _Choice:
    """Which names the selection options choose."""

    def __init__(self, command: c.ListMailboxes, boxes: Sequence[Box], wanted: Pattern) -> None:
        self.command = command
        self.options = tuple(sorted(command.selection & {"SUBSCRIBED", "SPECIAL-USE"}))
        self.show_subscribed = "SUBSCRIBED" in command.returns | command.selection
        self.below: dict[str, set[str]] = {}
        """Option -> levels that have something below them that meets it."""
        self.silent: set[str] = set()
        """Levels below which something that meets an option is not listed itself."""
        if "RECURSIVEMATCH" in command.selection or command.lsub:
            for option in self.options or ("SUBSCRIBED",):
                meeting = [box for box in boxes if _meets(box, option)]
                self.below[option] = above(box.name for box in meeting)
                self.silent |= above(box.name for box in meeting if not (self.takes(box) and wanted.matches(box.name)))

    def takes(self, box: Box) -> bool:
        """Whether it meets all options (RFC 5258 3.1); only a subscription is of interest when the mailbox is gone."""
        if not self.options:
            return box.exists
        return all(_meets(box, option) for option in self.options)


def _meets(box: Box, option: str) -> bool:
    return box.subscribed if option == "SUBSCRIBED" else box.exists and box.special_use is not None


def _list(choice: _Choice, name: str, box: Box | None, *, has_children: bool) -> Entry | None:
    child_info = tuple(option for option, levels in choice.below.items() if name in levels)
    chosen = box is not None and choice.takes(box)
    if not chosen and name not in choice.silent:  # RFC 5258 3.5: what is listed needs no level to tell of it
        child_info = ()
    if not chosen and not child_info and (choice.options or not has_children):
        return None
    exists = box is not None and box.exists
    attributes = [] if exists else ["\\NonExistent", "\\Noselect"] if choice.command.extended else ["\\Noselect"]
    attributes.append("\\HasChildren" if has_children else "\\HasNoChildren")
    if box is not None:
        if choice.show_subscribed and box.subscribed:
            attributes.append("\\Subscribed")
        if box.special_use is not None and exists:
            attributes.append(box.special_use)
    return Entry(name, tuple(attributes), child_info, exists)


def _lsub(choice: _Choice, name: str, box: Box | None, *, has_children: bool) -> Entry | None:
    """RFC 3501 6.3.9: under `%` a level above a subscription stands for it, marked as not subscribed itself."""
    children = "\\HasChildren" if has_children else "\\HasNoChildren"
    if box is not None and box.subscribed:
        return Entry(name, (children,), exists=box.exists)
    if name in choice.below["SUBSCRIBED"] and any("%" in pattern for pattern in choice.command.patterns):
        return Entry(name, ("\\Noselect", children), exists=False)
    return None
