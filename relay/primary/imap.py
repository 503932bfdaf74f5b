"""What we ask of the primary's IMAP: are you there, is this password right, is this message in that mailbox?

1. `verify` says REFUSED only when the server judged the credentials; everything else is UNAVAILABLE.
2. `look` says FOUND or ABSENT only of what it has seen: a folder that cannot be opened or is too big to read makes
   ABSENT into UNSEEN.
3. Nothing is changed on the primary: EXAMINE and BODY.PEEK only.
"""

from __future__ import annotations

import time
from enum import StrEnum
from types import MappingProxyType

import msgspec

from relay.core.envelope import split_address
from relay.core.ids import ItemId
from relay.primary import imap_raw
from relay.primary.errors import NoContact
from relay.primary.imap_client import CHUNK, Answer, ImapGone, Session
from relay.primary.imap_raw import Judgement, RawSettings
from relay.primary.settings import Endpoint
from relay.proto.sasl.credentials import Credentials

_DAY = 86_400.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LATER = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "CONTACTADMIN", "PRIVACYREQUIRED"})
"""RFC 5530 3: codes of a NO that say nothing about the password."""


class Access(StrEnum):
    """How the relay may look into mailboxes."""

    NONE = "none"
    MASTER = "master"
    """Log in as the user with the master's password: `user*master`, or SASL PLAIN with the user as authzid."""
    USER = "user"
    """Only with the password that a user has given us."""


class ImapSettings(msgspec.Struct, frozen=True):
    """The primary's IMAP server, and what we may do there."""

    endpoint: Endpoint
    access: Access = Access.NONE
    master: Credentials | None = None
    separator: str = "*"
    """Between user and master in LOGIN; empty = SASL PLAIN with authzid."""
    probe: Credentials | None = None
    """The account that the login probe uses."""
    probe_user: str | None = None
    """Whose mailbox the login probe enters as master; None = the master's own, if it has one."""
    seconds: float = 10.0
    """Deadline of each command."""
    most_headers: int = 5000
    """How many recent messages of one folder are read when searching does not find."""


class Verdict(StrEnum):
    """What the primary thinks of a password."""

    OK = "ok"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


_OF_RAW = MappingProxyType(
    {
        Judgement.OK: Verdict.OK,
        Judgement.REFUSED: Verdict.REFUSED,
        Judgement.LATER: Verdict.UNAVAILABLE,
    }
)


class Sight(StrEnum):
    """What was seen of a message."""

    FOUND = "found"
    ABSENT = "absent"
    UNSEEN = "unseen"
    """It cannot be told: nobody lets us look, or there is too much to look at."""
    TROUBLE = "trouble"
    """It could not be told just now."""


class Mark(msgspec.Struct, frozen=True):
    """How to recognise a message that we sent: our item id is in the Received line that we put in front."""

    item: ItemId
    since: float
    """Unix seconds of the first attempt."""
    message_id: str | None = None
    """`<...>`, to narrow the search; None when it has none or is not plain ASCII."""


class ImapPrimary:
    """Small conversations; each opens its own connection."""

    def __init__(self, settings: ImapSettings) -> None:
        self.settings = settings

    @property
    def sees_mailboxes(self) -> bool:
        """Whether `look` needs no password of the user."""
        return self.settings.access is Access.MASTER and self.settings.master is not None

    async def greet(self, seconds: float) -> None:
        """Connect, TLS, CAPABILITY. ImapGone."""
        async with Session(self.settings.endpoint, seconds):
            pass

    async def verify(self, user: str, password: str) -> Verdict:
        """Try a login."""
        try:
            async with Session(self.settings.endpoint, self.settings.seconds) as session:
                if session.preauth:
                    return Verdict.UNAVAILABLE
                return _verdict(await session.login(user, password))
        except (ImapGone, ValueError):
            return Verdict.UNAVAILABLE

    async def verify_token(self, mechanism: str, message: bytes, dismissal: bytes) -> Verdict:
        """Try a token; UNAVAILABLE also where the server does not take tokens in this way."""
        settings = RawSettings(self.settings.endpoint, self.settings.seconds, self.settings.seconds)
        try:
            session = await imap_raw.connect(settings)
        except NoContact:
            return Verdict.UNAVAILABLE
        try:
            if f"AUTH={mechanism}" not in session.capabilities:
                return Verdict.UNAVAILABLE
            return _OF_RAW[(await session.authenticate(mechanism, message, dismissal)).judgement]
        except NoContact:
            return Verdict.UNAVAILABLE
        finally:
            session.close()

    async def look(self, address: str, mark: Mark, *, password: str | None = None) -> Sight:
        """Whether the mailbox of `address` holds the message; `password` with access = user."""
        try:
            async with Session(self.settings.endpoint, self.settings.seconds) as session:
                if session.preauth or not await self._enter(session, address, password):
                    return Sight.UNSEEN
                return await self._look(session, mark)
        except ImapGone:
            return Sight.TROUBLE
        except ValueError:
            return Sight.UNSEEN

    async def enter_as_master(self, seconds: float) -> Verdict:
        """Whether the master gets in."""
        master, user = self.settings.master, self.settings.probe_user
        if master is None:
            return Verdict.UNAVAILABLE
        try:
            async with Session(self.settings.endpoint, seconds) as session:
                if session.preauth:
                    return Verdict.UNAVAILABLE
                if user is not None:
                    return Verdict.OK if await self._enter(session, user, None) else Verdict.REFUSED
                return _verdict(await session.login(master.login, master.password))
        except (ImapGone, ValueError):
            return Verdict.UNAVAILABLE

    async def _enter(self, session: Session, address: str, password: str | None) -> bool:
        """Whether the mailbox of `address` is open to us. ImapGone where that cannot be said now."""
        master, separator = self.settings.master, self.settings.separator
        # Some primaries name their users by address, some by local part; asking both is cheaper than a setting.
        for user in (address, split_address(address)[0]):
            if self.settings.access is Access.MASTER and master is not None:
                if separator:
                    answer = await session.login(f"{user}{separator}{master.login}", master.password)
                else:
                    answer = await session.login(master.login, master.password, authzid=user)
            elif self.settings.access is Access.USER and password is not None:
                answer = await session.login(user, password)
            else:
                return False
            match _verdict(answer):
                case Verdict.OK:
                    return True
                case Verdict.UNAVAILABLE:
                    raise ImapGone("server cannot judge a login now")
                case Verdict.REFUSED:
                    continue
        return False

    async def _look(self, session: Session, mark: Mark) -> Sight:
        everything = True
        for folder in await session.folders():
            if not await session.examine(folder):
                everything = False
                continue
            sight = await self._look_into_folder(session, mark)
            if sight is Sight.FOUND:
                return sight
            everything = everything and sight is Sight.ABSENT
        return Sight.ABSENT if everything else Sight.UNSEEN

    async def _look_into_folder(self, session: Session, mark: Mark) -> Sight:
        # First what the server's own search says; it may be wrong (Exchange), so that only a hit counts.
        criteria = ["HEADER", "Received", str(mark.item)]
        if mark.message_id is not None and _quotable(mark.message_id):
            criteria = ["HEADER", "Message-ID", f'"{mark.message_id}"']
        hits = await session.search(*criteria)
        if hits and await self._any_is(session, hits[-CHUNK:], mark):
            return Sight.FOUND
        recent = await session.search("SINCE", _date(mark.since - _DAY))
        if recent is None:
            return Sight.UNSEEN
        for start in range(len(recent), max(0, len(recent) - self.settings.most_headers), -CHUNK):
            if await self._any_is(session, recent[max(0, start - CHUNK) : start], mark):
                return Sight.FOUND
        return Sight.ABSENT if len(recent) <= self.settings.most_headers else Sight.UNSEEN

    async def _any_is(self, session: Session, uids: list[int], mark: Mark) -> bool:
        wanted = mark.item.encode("ascii")
        return any(wanted in header for header in (await session.headers(uids, "RECEIVED")).values())


def _verdict(answer: Answer) -> Verdict:
    if answer.ok:
        return Verdict.OK
    # A bare NO is how most servers, Exchange among them, say "wrong password".
    return Verdict.REFUSED if answer.status == "NO" and answer.code not in _LATER else Verdict.UNAVAILABLE


def _quotable(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text) <= 900 and '"' not in text and "\\" not in text


def _date(unix: float) -> str:
    """RFC 9051 9, `date-text`."""
    moment = time.gmtime(max(0.0, unix))
    return f"{moment.tm_mday}-{_MONTHS[moment.tm_mon - 1]}-{moment.tm_year}"
