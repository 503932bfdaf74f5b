"""APPEND and REPLACE from tokens, before a literal of theirs and when they are complete (RFC 9051 6.3.12, RFC 8508).

A message is `[flags] [date-time] literal`, or the literal inside `UTF8 (...)`. The same reader takes it with its
literal still to come and with its place kept by `Streamed`.
"""

from __future__ import annotations

from relay.proto.imap import commands as c
from relay.proto.imap import dates
from relay.proto.imap.args import Args, BadArgument
from relay.proto.imap.flags import Flags
from relay.proto.imap.sequence import SequenceSet
from relay.proto.imap.tokens import List, Quoted, Streamed

MOST_MESSAGES = 1_000
"""Of one MULTIAPPEND (count): each is held, and journalled, in one commit."""


def date_time(args: Args) -> float:
    """A date-time in quotes."""
    date = dates.parse_date_time(args.string())
    if date is None:
        raise BadArgument("Invalid date-time")
    return date


def _options(args: Args) -> tuple[Flags, float | None, bool]:
    """Flags, date, and whether the literal is wrapped in UTF8."""
    flags = args.flag_list() if isinstance(args.peek(), List) else Flags()
    date = date_time(args) if isinstance(args.peek(), Quoted) else None
    utf8 = args.peek_word() == b"UTF8"
    if utf8:
        args.token()
        args.need("UTF8=ACCEPT", "IMAP4rev2")
    return flags, date, utf8


def _literal(args: Args) -> Streamed | None:
    token = args.peek()
    if isinstance(token, Streamed):
        args.token()
        return token
    return None


def _message(args: Args) -> c.Appended | c.AppendHead:
    """A message; without its literal where the tokens end first. The head names no mailbox yet."""
    flags, date, utf8 = _options(args)
    if utf8 and args.more:
        inner = args.nested()
        literal = _literal(inner)
        inner.end()
        if literal is None or not literal.binary:
            raise BadArgument("Expected a literal8")  # RFC 6855 4
    else:
        literal = _literal(args)
    if literal is None:
        if args.more:
            raise BadArgument("Expected a literal")
        return c.AppendHead("", flags, date, utf8)
    if literal.binary and not utf8:
        args.need("BINARY", "IMAP4rev2")  # RFC 3516 4.4
    return c.Appended(flags, date, literal.size, literal.binary, utf8)


def _messages(args: Args) -> tuple[list[c.Appended], c.AppendHead | None]:
    """The complete ones, and the head of the one whose literal is to come."""
    found: list[c.Appended] = []
    while True:
        if found:
            args.need("MULTIAPPEND")
            if len(found) > MOST_MESSAGES:
                raise BadArgument("Too many messages")
        message = _message(args)
        if isinstance(message, c.AppendHead):
            return found, message
        found.append(message)
        if not args.more:
            return found, None


def append_head(args: Args) -> c.AppendHead:
    """Everything before a literal of APPEND that is offered."""
    mailbox = args.mailbox()
    found, head = _messages(args)
    if head is None:  # the next message has neither flags nor date
        args.need("MULTIAPPEND")
        head = c.AppendHead("", Flags(), None)
    return c.AppendHead(mailbox, head.flags, head.date, head.utf8, len(found))


def append(args: Args) -> c.Append:
    """The complete APPEND."""
    mailbox = args.mailbox()
    found, head = _messages(args)
    if head is not None:
        raise BadArgument("Expected a literal")
    return c.Append(mailbox, tuple(found))


def _one(args: Args) -> SequenceSet:
    number = args.sequence_set()
    if number.saved or len(number.ranges) != 1 or number.ranges[0][0] != number.ranges[0][1]:
        raise BadArgument("Expected one message number")  # RFC 8508 5: seq-number
    return number


def replace_head(args: Args, *, by_uid: bool) -> c.ReplaceHead:
    """Everything before the literal of REPLACE."""
    number, mailbox = _one(args), args.mailbox()
    head = _message(args)
    if isinstance(head, c.Appended):
        raise BadArgument("Too many messages")
    return c.ReplaceHead(number, by_uid, c.AppendHead(mailbox, head.flags, head.date, head.utf8))


def replace(args: Args, *, by_uid: bool) -> c.Replace:
    """The complete REPLACE."""
    number, mailbox = _one(args), args.mailbox()
    message = _message(args)
    if isinstance(message, c.AppendHead):
        raise BadArgument("Expected a literal")
    return c.Replace(number, by_uid, mailbox, message)
