"""What a connection knows about its peer: a `Session` of aiosmtpd's with our fields, reset as RFC 3207 4.2 asks."""

from __future__ import annotations

import asyncio

from aiosmtpd.smtp import Session as BaseSession

from relay.core.envelope import Origin
from relay.core.ids import ItemId
from relay.inbound.body import Body
from relay.inbound.mailing import Mailing
from relay.listen.front import Peer
from relay.primary.client_names import NO_NAME, ClientName
from relay.primary.smtp import SmtpPool

_PARAMETERS = frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "DSN"})


class Session(BaseSession):
    """One SMTP session; `hello` begins it anew."""

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: Peer, listener: str) -> None:
        super().__init__(loop)
        self.client = peer
        self.name: ClientName | None = NO_NAME
        """By the DNS, so STARTTLS does not change it; None while it is looked up."""
        self.listener = listener
        self.tls: str | None = None
        self.login: str | None = None
        """The account."""
        self.upstream: SmtpPool | None = None
        """The primary's submission, logged in as the user."""
        self.helo = ""
        self.mailing: Mailing | None = None
        self.body: Body | None = None
        """With BDAT: the message so far."""
        self.chunks_failed = False
        self.unconfirmed: ItemId | None = None
        """We said 250 for it; the next command shows that the sender heard."""
        self.messages = 0
        self.errors = 0
        self.refused = 0
        self.failed_logins = 0

    def secured(self, tls: str) -> None:
        """TLS is up: nothing said in clear counts any more (RFC 3207 4.2)."""
        self.tls = tls
        self.helo = ""
        self.host_name = None
        self.extended_smtp = False

    @property
    def parameters(self) -> frozenset[str]:
        """Extensions whose parameters are allowed; none after HELO."""
        if not self.extended_smtp:
            return frozenset()
        return _PARAMETERS if self.login is None else _PARAMETERS | {"AUTH"}

    def origin(self, *, smtputf8: bool) -> Origin:
        """For the message that begins now."""
        name = self.name or NO_NAME
        return Origin(
            client_address=self.client.address,
            client_port=self.client.port,
            helo=self.helo,
            client_name=name.name,
            client_name_deferred=name.deferred,
            protocol=self._protocol(smtputf8),
            tls=self.tls,
            login=self.login,
            listener=self.listener,
        )

    def _protocol(self, smtputf8: bool) -> str:
        # RFC 3848, RFC 6531 4.3
        if not self.extended_smtp:
            return "SMTP"
        name = "UTF8SMTP" if smtputf8 else "ESMTP"
        return name + ("S" if self.tls else "") + ("A" if self.login else "")


def tls_of(transport: asyncio.BaseTransport) -> str | None:
    """`TLSv1.3 TLS_AES_256_GCM_SHA384`; None in clear."""
    session = transport.get_extra_info("ssl_object")
    if session is None:
        return None
    cipher = session.cipher()
    return f"{session.version()} {cipher[0] if cipher else ''}".strip()
