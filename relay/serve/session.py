"""A logged-in client on the standby: commands in order, each answered once (RFC 9051 5.5).

1. A command is looked up in the table of `proto/imap/commands` and runs only in a state that allows it.
2. EXPUNGE is told only where the table allows it, and never while more commands are waiting in the pipe, because those
   were written with the old numbers in mind.
3. What goes wrong is answered by fault (`core.errors`); a bug is "not now", with its trace in the log. No error of one
   command ends the conversation, unless half a response has gone out.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Set
from types import MappingProxyType
from typing import Any

from relay.core.errors import Damaged, NotNow, PeerFault, Refused, RelayError
from relay.obs.logs import logger
from relay.obs.metrics import CommandResult
from relay.proto.imap import capabilities, encode, grammar, responses
from relay.proto.imap import commands as c
from relay.proto.imap.limits import AFTER_LOGIN
from relay.proto.imap.receiver import Event, Frame, LiteralOffered, Rejected
from relay.serve import changing, fetching, folders, idling, searching, selecting
from relay.serve.answers import DONE, Answer, HalfSaid, no
from relay.serve.capabilities import after_login, understood
from relay.serve.common import identify
from relay.serve.ports import Services
from relay.serve.selected import Selected
from relay.serve.summary import Summaries
from relay.serve.talk import Gone, Talk
from relay.serve.telling import tell
from relay.spool.mailboxes import Account

_log = logger("serve.session")
_OFFERED = 1 << 40
"""APPEND's literals are offered to us whatever their size, and refused: nothing is kept."""


class Session:
    """One logged-in connection."""

    def __init__(self, talk: Talk, services: Services, account: Account) -> None:
        self.talk = talk
        self.services = services
        self.account = account
        self.summaries = Summaries(services.mailboxes)
        self.selected: Selected | None = None
        self.offers: Set[str] = understood(services.settings)
        """Extensions that this session understands."""
        self.enabled: frozenset[str] = frozenset()
        """What ENABLE has switched on."""
        self.tag = ""
        """Of the command under way."""
        self.name = secrets.token_hex(8)
        """Names this session in the journal."""
        talk.receiver.widen(AFTER_LOGIN.with_stream(_OFFERED))

    @property
    def utf8(self) -> bool:
        """Mailbox names are UTF-8 on the wire (RFC 6855 3, RFC 9051 5.1)."""
        return not self.enabled.isdisjoint(("UTF8=ACCEPT", "IMAP4rev2"))

    @property
    def rev2(self) -> bool:
        """The client speaks IMAP4rev2 from now on (RFC 9051 6.3.1)."""
        return "IMAP4rev2" in self.enabled

    async def run(self) -> None:
        """Until the client leaves. Gone."""
        seconds = self.services.settings.deadlines.idle
        self.services.metrics.sessions["standby"].inc()
        try:
            while True:
                await self._event(await self.talk.event(seconds))
                await self.talk.settle()
        finally:
            self.services.metrics.sessions["standby"].dec()
            self.unselect()

    def unselect(self) -> None:
        """No mailbox is selected any more."""
        if self.selected is not None:
            self.selected.close()
            self.selected = None

    @property
    def mailbox(self) -> Selected:
        """The selected mailbox; the table has seen to it that there is one."""
        assert self.selected is not None
        return self.selected

    async def _event(self, event: Event) -> None:
        if isinstance(event, Frame):
            started = time.monotonic()
            name, status = await self._frame(event)
            metrics = self.services.metrics
            metrics.command_seconds.observe(time.monotonic() - started)
            result: CommandResult = "ok" if status == "OK" else "no" if status == "NO" else "bad"
            metrics.commands.known((name.removeprefix("UID "), result), ("OTHER", result)).inc()
        elif isinstance(event, LiteralOffered):
            await self._offered(event)
        elif isinstance(event, Rejected):
            await self.talk.rejected(event)

    async def _offered(self, offered: LiteralOffered) -> None:
        """An APPEND (RFC 9051 6.3.12): mail of users' own comes with the full service."""
        head = grammar.parse_append(offered.tokens)
        self.talk.receiver.refuse_literal()
        if isinstance(head, grammar.Invalid):
            await self.talk.bad(offered.tag, head.text)
        else:
            self.talk.no(offered.tag, "Messages cannot be stored during the outage", b"CANNOT")

    async def _frame(self, frame: Frame) -> tuple[str, str]:
        """Name and status, for the figures."""
        parsed, tag = grammar.parse(frame.tokens, utf8=self.utf8, offers=self.offers), frame.tag
        self.tag = tag
        if isinstance(parsed, grammar.Invalid):
            if parsed.bad_charset:
                self.talk.no(tag, parsed.text, b"BADCHARSET (US-ASCII UTF-8)")  # RFC 9051 6.4.4
                return parsed.name or "", "NO"
            await self.talk.bad(tag, parsed.text)
            return parsed.name or "", "BAD"
        state = c.State.AUTHENTICATED if self.selected is None else c.State.SELECTED
        if state not in parsed.row.states:
            wrong = "Select a mailbox first" if parsed.row.states is c.State.SELECTED else "Not allowed now"
            await self.talk.bad(tag, wrong)
            return parsed.name, "BAD"
        answer = await self._run(tag, parsed)
        await self._tell(expunges=parsed.row.may_expunge and not self.talk.pipelined)
        if answer.status == "BAD":
            await self.talk.bad(tag, answer.text)
        else:
            self.talk.send(encode.condition(tag, answer.status, answer.text, answer.code))
        if isinstance(parsed.command, c.Logout):
            self.talk.flush()
            raise Gone
        return parsed.name, answer.status

    async def _run(self, tag: str, parsed: grammar.Parsed) -> Answer:
        handler = HANDLERS[type(parsed.command)]
        try:
            return await handler(self, parsed.command)
        except (Gone, asyncio.CancelledError):
            raise
        except HalfSaid as cut:
            _log.error("response_cut", session=self.name, command=parsed.name, exc_info=cut.__cause__)
            self.talk.stream.abort()
            raise Gone from None
        except Damaged as damage:
            _log.error("damage_met", session=self.name, command=parsed.name, exc_info=damage)
            return no(damage.public, b"UNAVAILABLE")
        except Refused as refusal:
            return no(refusal.public, b"CANNOT")
        except PeerFault as fault:
            return Answer("BAD", fault.public)
        except NotNow as later:
            _log.warning("command_put_off", session=self.name, command=parsed.name, exc_info=later)
            return no(later.public, b"UNAVAILABLE")
        except Exception as bug:  # whatever it is, the client hears one answer and stays
            _log.exception("command_failed", session=self.name, command=parsed.name, exc_info=bug)
            return no(RelayError.public, b"UNAVAILABLE")

    async def _tell(self, *, expunges: bool) -> None:
        """Everything that may be told about the selected mailbox before a tagged response."""
        if self.selected is not None and self.selected.dirty:
            try:
                await tell(self.talk, self.selected, expunges=expunges)
            except NotNow as later:
                # The next command tells it.
                _log.warning("updates_put_off", session=self.name, exc_info=later)


# --- commands that need no file of their own ---


async def _capability(session: Session, command: c.Capability) -> Answer:
    session.talk.untagged(after_login(session.offers, session.services.offer.shown))
    return DONE


async def _noop(session: Session, command: c.Noop | c.Check) -> Answer:
    return DONE


async def _logout(session: Session, command: c.Logout) -> Answer:
    session.unselect()
    await session.talk.bye("Goodbye")
    return Answer("OK", "Logged out")


async def _id(session: Session, command: c.Id) -> Answer:
    identify(session.talk, session.services.settings)
    return DONE


async def _enable(session: Session, command: c.Enable) -> Answer:
    words = capabilities.enabled(command.names, session.offers)
    session.enabled |= set(words)
    session.talk.send(responses.enabled(words))  # RFC 5161 3.1: what we do not have is passed over
    return DONE


async def _not_here(session: Session, command: Any) -> Answer:
    return no("Not possible during the outage", b"CANNOT")


HANDLERS: MappingProxyType[type, Callable[[Session, Any], Awaitable[Answer]]] = MappingProxyType(
    {
        c.Capability: _capability,
        c.Noop: _noop,
        c.Check: _noop,
        c.Logout: _logout,
        c.Id: _id,
        c.Enable: _enable,
        c.ListMailboxes: folders.list_mailboxes,
        c.Namespace: folders.namespace,
        c.Status: folders.status,
        c.Select: selecting.select,
        c.Idle: idling.idle,
        c.Close: changing.close,
        c.Expunge: changing.expunge,
        c.StoreFlags: changing.store,
        c.Fetch: fetching.fetch,
        c.Search: searching.search,
        c.Sort: searching.sort,
        c.Thread: searching.thread,
        c.Create: _not_here,
        c.Delete: _not_here,
        c.Rename: _not_here,
        c.Subscribe: _not_here,
        c.Copy: _not_here,
    }
)
"""How each command of the table is answered."""
