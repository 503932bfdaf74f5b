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
from relay.serve import (
    appending,
    changing,
    fetching,
    folders,
    idling,
    listing,
    quotas,
    searching,
    selecting,
    transferring,
)
from relay.serve.answers import DONE, Answer, HalfSaid, no
from relay.serve.appending import Upload
from relay.serve.capabilities import after_login, understood
from relay.serve.common import identify
from relay.serve.ports import Services
from relay.serve.refusals import refused
from relay.serve.selected import Selected
from relay.serve.talk import Gone, Talk
from relay.serve.telling import tell
from relay.spool.mailboxes import Account, Folder

_log = logger("serve.session")


class Session:
    """One logged-in connection."""

    def __init__(self, talk: Talk, services: Services, account: Account) -> None:
        self.talk = talk
        self.services = services
        self.account = account
        self.summaries = services.summaries
        self.selected: Selected | None = None
        self.offers: Set[str] = understood(services.settings)
        """Extensions that this session understands."""
        self.enabled: frozenset[str] = frozenset()
        """What ENABLE has switched on."""
        self.tag = ""
        """Of the command under way."""
        self.name = secrets.token_hex(8)
        """Names this session in the journal."""
        self.filed: dict[str, Folder] = {}
        """The mailbox that APPEND named last, by that name; it may have been renamed or deleted since."""
        self._upload: Upload | None = None
        talk.receiver.widen(AFTER_LOGIN.with_stream(services.settings.append_limit))

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

    async def end_if_lost(self) -> None:
        """Gone where the selected mailbox is not there any more. Dovecot ends its session too: nothing else says it."""
        if self.selected is not None and self.selected.lost:
            await self.talk.bye("The selected mailbox is not there any more, connect again")
            raise Gone

    @property
    def upload(self) -> Upload:
        """The messages of the APPEND or REPLACE under way."""
        assert self._upload is not None
        return self._upload

    @property
    def mailbox(self) -> Selected:
        """The selected mailbox; the table has seen to it that there is one."""
        assert self.selected is not None
        return self.selected

    async def _event(self, event: Event) -> None:
        await self.end_if_lost()
        if isinstance(event, LiteralOffered):
            async with Upload(self) as self._upload:
                await self._command(event.tag, await self._upload.receive(event))
            self._upload = None
        elif isinstance(event, (Frame, Rejected)):
            await self._command("", event)

    async def _command(self, tag: str, end: Frame | Rejected | Answer) -> None:
        """Answer what has come, and count it; `tag` is of an upload that was refused before its end."""
        started = time.monotonic()
        if isinstance(end, Rejected):
            await self.talk.rejected(end)
            return
        if isinstance(end, Answer):
            name, status = "APPEND", await self._conclude(tag, end, expunges=not self.talk.pipelined)
        else:
            name, status = await self._frame(end)
        metrics = self.services.metrics
        metrics.command_seconds.observe(time.monotonic() - started)
        result: CommandResult = "ok" if status == "OK" else "no" if status == "NO" else "bad"
        metrics.commands.known((name.removeprefix("UID "), result), ("OTHER", result)).inc()

    async def _frame(self, frame: Frame) -> tuple[str, str]:
        """Name and status, for the figures."""
        self.tag = tag = frame.tag
        parsed: grammar.Parsed | grammar.Invalid | None = None
        if self._upload is not None:
            parsed = self._upload.parsed(frame)
        if parsed is None:
            parsed = grammar.parse(frame.tokens, utf8=self.utf8, offers=self.offers)
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
        answer = await self.guarded(parsed.name, HANDLERS[type(parsed.command)](self, parsed.command))
        await self._conclude(tag, answer, expunges=parsed.row.may_expunge and not self.talk.pipelined)
        if isinstance(parsed.command, c.Logout):
            self.talk.flush()
            raise Gone
        return parsed.name, answer.status

    async def _conclude(self, tag: str, answer: Answer, *, expunges: bool) -> str:
        """What happened meanwhile, then the tagged response; its status."""
        await self._tell(expunges=expunges)
        if answer.status == "BAD":
            await self.talk.bad(tag, answer.text)
        else:
            if answer.status == "OK":
                self.talk.forgive()
            self.talk.send(encode.condition(tag, answer.status, answer.text, answer.code))
        return answer.status

    async def guarded(self, name: str, work: Awaitable[Answer]) -> Answer:
        """The work of a command, with every error as an answer. Gone."""
        try:
            return await work
        except (Gone, asyncio.CancelledError):
            raise
        except HalfSaid as cut:
            _log.error("response_cut", session=self.name, command=name, exc_info=cut.__cause__)
            self.talk.stream.abort()
            raise Gone from None
        except Damaged as damage:
            _log.error("damage_met", session=self.name, command=name, exc_info=damage)
            return no(damage.public, b"UNAVAILABLE")
        except Refused as refusal:
            return refused(refusal)
        except PeerFault as fault:
            return Answer("BAD", fault.public)
        except NotNow as later:
            _log.warning("command_put_off", session=self.name, command=name, exc_info=later)
            return no(later.public, b"UNAVAILABLE")
        except Exception as bug:  # whatever it is, the client hears one answer and stays
            _log.exception("command_failed", session=self.name, command=name, exc_info=bug)
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
    session.talk.untagged(after_login(session.services.settings, session.services.offer.shown))
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


HANDLERS: MappingProxyType[type, Callable[[Session, Any], Awaitable[Answer]]] = MappingProxyType(
    {
        c.Capability: _capability,
        c.Noop: _noop,
        c.Check: _noop,
        c.Logout: _logout,
        c.Id: _id,
        c.Enable: _enable,
        c.ListMailboxes: listing.list_mailboxes,
        c.Namespace: listing.namespace,
        c.Status: listing.status,
        c.Select: selecting.select,
        c.Idle: idling.idle,
        c.Close: changing.close,
        c.Expunge: changing.expunge,
        c.StoreFlags: changing.store,
        c.Fetch: fetching.fetch,
        c.Search: searching.search,
        c.Sort: searching.sort,
        c.Thread: searching.thread,
        c.Create: folders.create,
        c.Delete: folders.delete,
        c.Rename: folders.rename,
        c.Subscribe: folders.subscribe,
        c.Copy: transferring.transfer,
        c.Append: appending.append,
        c.Replace: appending.replace,
        c.GetQuota: quotas.get_quota,
        c.GetQuotaRoot: quotas.get_quota_root,
        c.SetQuota: quotas.set_quota,
    }
)
"""How each command of the table is answered."""
