"""Commands on mailboxes from tokens: SELECT, CREATE, LIST, STATUS, quota (RFC 9051 6.3, RFC 9208 4.1)."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from relay.proto.imap import commands as c
from relay.proto.imap.args import Args, BadArgument
from relay.proto.imap.names import DELIMITER
from relay.proto.imap.tokens import List

STATUS_ITEMS: MappingProxyType[str, tuple[str | None, ...]] = MappingProxyType(
    {
        "MESSAGES": (None,),
        "RECENT": (None,),
        "UIDNEXT": (None,),
        "UIDVALIDITY": (None,),
        "UNSEEN": (None,),
        "SIZE": ("STATUS=SIZE", "IMAP4rev2"),  # RFC 8438 3
        "HIGHESTMODSEQ": (None,),  # RFC 7162 3.1.7: some ask whatever they were shown; it is 0
        "DELETED": ("IMAP4rev2", "QUOTA=RES-STORAGE"),  # RFC 9051 6.3.11
        "DELETED-STORAGE": ("QUOTA=RES-STORAGE",),  # RFC 9208 4.1.4
        "MAILBOXID": ("OBJECTID",),  # RFC 8474 4.3
        "APPENDLIMIT": ("APPENDLIMIT",),  # RFC 7889 3.1
    }
)
"""STATUS items and what each needs."""
MOST_PATTERNS = 100
"""Patterns of one LIST (count)."""
MOST_LIMITS = 20
"""Limits of one SETQUOTA (count)."""

_SELECTION: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "SUBSCRIBED": ("LIST-EXTENDED", "IMAP4rev2"),
        "REMOTE": ("LIST-EXTENDED", "IMAP4rev2"),
        "RECURSIVEMATCH": ("LIST-EXTENDED", "IMAP4rev2"),
        "SPECIAL-USE": ("SPECIAL-USE",),  # RFC 6154 2
    }
)
_RETURN: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "SUBSCRIBED": ("LIST-EXTENDED", "IMAP4rev2"),
        "CHILDREN": ("LIST-EXTENDED", "IMAP4rev2"),
        "SPECIAL-USE": ("SPECIAL-USE",),
        "STATUS": ("LIST-STATUS", "IMAP4rev2"),  # RFC 5819 2
    }
)
_MODIFIERS = frozenset({"RECURSIVEMATCH", "REMOTE"})
_SELECT = frozenset({"CONDSTORE", "QRESYNC"})


def select(*, read_only: bool) -> Callable[[Args], c.Command]:
    """SELECT and EXAMINE with parameters (RFC 4466 2.1)."""

    def read(args: Args) -> c.Command:
        mailbox, condstore = args.mailbox(), False
        if args.more:
            inner = args.nested()
            while inner.more:
                # We answer NOMODSEQ, so the values need no look; eM Client sends (CONDSTORE QRESYNC (1 1)).
                if inner.word() not in _SELECT:
                    raise BadArgument("Unknown SELECT parameter")
                condstore = True
                if isinstance(inner.peek(), List):
                    inner.nested()
        return c.Select(mailbox, read_only, condstore)

    return read


def create(args: Args) -> c.Command:
    """CREATE, with the special uses of RFC 6154 3; whether a use is one is for the service to say (NO [USEATTR])."""
    # RFC 9051 6.3.4: a delimiter at the end says that names below it will follow; any mailbox here may have some.
    given, use = args.mailbox(), []
    mailbox = given.removesuffix(DELIMITER) or given
    if args.more:
        inner = args.nested()
        if inner.word() != "USE":
            raise BadArgument("Unknown CREATE parameter")
        args.need("CREATE-SPECIAL-USE")
        uses = inner.nested()
        while uses.more:
            use.append(uses.bare().decode("ascii", "replace"))
        inner.end()
    return c.Create(mailbox, tuple(dict.fromkeys(use)))


def status_items(args: Args) -> tuple[str, ...]:
    """The items of STATUS, each once."""
    items = args.words()
    if not items:
        raise BadArgument("Unknown STATUS item")
    for item in items:
        needs = STATUS_ITEMS.get(item)
        if needs is None:
            raise BadArgument("Unknown STATUS item")
        args.need(*needs)
    return tuple(dict.fromkeys(items))


def status(args: Args) -> c.Command:
    """RFC 9051 6.3.11."""
    return c.Status(args.mailbox(), status_items(args))


def list_mailboxes(args: Args) -> c.Command:
    """LIST, extended or not (RFC 9051 6.3.9, RFC 5258 3)."""
    selection: list[str] = []
    extended = False
    if isinstance(args.peek(), List):  # RFC 9051 6.3.9.1
        extended, selection = True, args.words()
        for option in selection:
            _known(args, _SELECTION, option)
        if "RECURSIVEMATCH" in selection and _MODIFIERS.issuperset(selection):
            raise BadArgument("RECURSIVEMATCH needs another option")  # RFC 5258 3.1
    reference = args.pattern()
    if isinstance(args.peek(), List):
        extended, inner, patterns = True, args.nested(), []
        while inner.more:
            patterns.append(inner.pattern())
        if not patterns:
            raise BadArgument("Empty list of patterns")
        if len(patterns) > MOST_PATTERNS:
            raise BadArgument("Too many patterns")
    else:
        patterns = [args.pattern()]
    returns: list[str] = []
    items: tuple[str, ...] | None = None
    if args.more:
        if args.word() != "RETURN":
            raise BadArgument("Too many arguments")
        extended, inner = True, args.nested()
        while inner.more:
            option = inner.word()
            _known(args, _RETURN, option)
            if option == "STATUS":
                items = status_items(inner)
            else:
                returns.append(option)
    return c.ListMailboxes(
        reference,
        tuple(patterns),
        selection=frozenset(selection),
        returns=frozenset(returns),
        status=items,
        extended=extended,
    )


def _known(args: Args, options: MappingProxyType[str, tuple[str, ...]], option: str) -> None:
    needs = options.get(option)
    if needs is None:
        raise BadArgument("Unknown LIST option")
    args.need(*needs)


def lsub(args: Args) -> c.Command:
    """RFC 3501 6.3.9."""
    return c.ListMailboxes(args.pattern(), (args.pattern(),), lsub=True)


def get_quota(args: Args) -> c.Command:
    """GETQUOTA; a quota root may be the empty string."""
    return c.GetQuota(_root(args))


def set_quota(args: Args) -> c.Command:
    """SETQUOTA, whether or not anybody here may."""
    root, inner = _root(args), args.nested()
    limits: list[tuple[str, int]] = []
    while inner.more:
        limits.append((inner.word(), inner.number()))
        if len(limits) > MOST_LIMITS:
            raise BadArgument("Too many limits")
    return c.SetQuota(root, tuple(limits))


def _root(args: Args) -> str:
    return args.astring().decode("utf-8", "replace")
