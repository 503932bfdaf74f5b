"""The sections: every key with its type, its default and the sentence that explains it.

The sample file (`sample`) and the reference (`reference`) are printed from here, so a key is described once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, field_validator

from relay.config.faults import wrong
from relay.config.types import (
    REQUIRED,
    Binds,
    Domains,
    Duration,
    File,
    Host,
    Networks,
    NodeName,
    Port,
    Section,
    Size,
    key,
    split_list,
)
from relay.primary.settings import Forward, ForwardClient, TlsMode
from relay.proto.imap.names import creatable


class UnknownRecipients(StrEnum):
    """What happens to a recipient that the directory does not know while the primary is away."""

    AUTO = "auto"
    ACCEPT = "accept"
    TEMPFAIL = "tempfail"
    REJECT = "reject"


class Access(StrEnum):
    """How the relay may look into mailboxes of the primary."""

    NONE = "none"
    MASTER = "master"
    USER = "user"


class NodeSection(Section):
    """This relay."""

    name: NodeName = key(
        "", "Name in logs and in the queue; unique among nodes. Empty = the host name.", example="edge-1"
    )
    hostname: Host = key(
        REQUIRED, "The name that senders and clients know: in greetings and Received lines.", example="mx1.example.org"
    )
    data_dir: File = key("/var/lib/relay", "Where the spool lives. On a local disk that honours fsync.")
    workers: int = key(
        1, "Processes that share the ports and the store. More than one where one core is not enough.", ge=1, le=64
    )


class StoreSection(Section):
    """Where messages are kept."""

    url: str = key("", "Empty = relay.db in node.data_dir.", example="sqlite:////var/lib/relay/relay.db")

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        if url and not url.startswith("sqlite:///"):
            raise wrong(
                f'"{url.partition("://")[0]}" is not a store that this version has',
                "Write url = sqlite:///relative/path or sqlite:////absolute/path",
            )
        return url


class VaultSection(Section):
    """The key that everything at rest is sealed with."""

    key_file: File = key(
        "/run/secrets/relay.key",
        "Made by `relay keys init`. Keep a copy elsewhere: without it the spool cannot be read by anybody.",
    )


class PairSection(Section):
    """One more certificate."""

    certificate: File = key(REQUIRED, "PEM chain, leaf first.", example="certs/imap.pem")
    private_key: File = key(REQUIRED, "PEM key of the certificate.", example="certs/imap.key")


class TlsSection(Section):
    """The certificate that senders and clients see. Read again on HUP."""

    certificate: File | None = key(
        None, "PEM chain, leaf first. Without it no TLS is offered.", example="certs/server.pem"
    )
    private_key: File | None = key(None, "PEM key of the certificate.", example="certs/server.key")
    more: Annotated[tuple[PairSection, ...], BeforeValidator(split_list)] = key(
        [],
        """Further pairs, for those who ask for one of their names (SNI); everybody else sees the one above. May also be
        written as [[tls.more]] tables.""",
        example=[{"certificate": "certs/imap.pem", "private_key": "certs/imap.key"}],
    )


class DomainsSection(Section):
    """Whose mail is taken."""

    accept: Domains = key(
        [], "Domains that mail is accepted for; mail for all others is refused.", example=["example.org"]
    )
    unknown_recipients: UnknownRecipients = key(
        "auto",
        """While the primary is away, a recipient that is not known: auto accepts until the domain's directory is mature
        (a list, or mature_after of traffic), then answers 450; accept, tempfail (450) and reject (550) force it.""",
    )
    recipients_file: File | None = key(
        None, "One valid address per line; read again on HUP.", example="/etc/relay/recipients"
    )
    mature_after: Duration = key(
        "14d",
        "With auto: how long a domain's recipients are learned from the primary's "
        "answers before an unknown one is doubted.",
    )
    default_domain: str = key(
        "", "Added to logins and recipients without one. Empty = the first of accept.", example="example.org"
    )
    subaddress_separator: str = key("+", "user+detail@ is read by user@ (RFC 5233). Empty = off.", max_length=1)


class UpstreamSection(Section):
    """A server that the relay connects to."""

    host: Host = key(REQUIRED, "Name or address.", example="10.0.0.5")
    port: Port = key(25, "Port.")
    tls: TlsMode = key(
        "opportunistic",
        "none; opportunistic (encrypts where it can, verifies nothing); "
        "starttls or implicit (verified, or no connection).",
    )
    verify: bool = key(True, "With starttls or implicit: the certificate must be valid for host.")
    ca_file: File | None = key(
        None, "Trust this authority instead of the system's.", example="/etc/relay/primary-ca.pem"
    )


class PrimarySmtpSection(UpstreamSection):
    """Where inbound mail goes."""

    forward: Forward = key(
        "none",
        "How the sender's address and name reach the primary, so that its SPF and "
        "reputation checks work: none, xclient, xforward or proxy (PROXY protocol).",
    )
    connections: int = key(
        20,
        "Connections per worker, cut-through and replay together. All workers' together must be fewer than the primary "
        "takes (Postfix: default_process_limit, 100), for it has other clients, and our probes are among them.",
        ge=1,
        le=1000,
    )
    open_timeout: Duration = key("10s", "For connect, greeting, EHLO and TLS.", least="100ms")
    command_timeout: Duration = key("30s", "For the answer to MAIL and RCPT.", least="100ms")
    final_timeout: Duration = key(
        "30s",
        "Cut-through: for the answer to the whole message. Later the message is spooled and its delivery verified.",
        least="100ms",
    )


class PrimaryImapSection(UpstreamSection):
    """Where users read, and where logins are tried."""

    port: Port = key(143, "Port.")
    tls: TlsMode = key("starttls", "As for primary.smtp.")
    forward_client: ForwardClient = key(
        "auto",
        "How users' addresses reach the primary when they are passed through: id (an ID command with x-originating-ip, "
        "which Dovecot heeds from login_trusted_networks), none, or auto (id where the primary announces ID).",
    )
    access: Access = key(
        "none",
        "How the relay may look into mailboxes (to verify deliveries): none or master (a master user of the primary). "
        "user is refused: it would have the relay keep users' passwords in a form that can be read back.",
    )
    master_user: str = key("", "With access = master: LOGIN user<separator>master_user.", example="relay")
    master_separator: str = key("*", "With access = master.")
    master_password_file: File | None = key(None, "With access = master.", example="/run/secrets/primary-master")
    probe_user: str | None = key(
        None,
        "Account that the login probe uses; not set = logins are judged by live traffic only.",
        example="probe@example.org",
    )
    probe_password_file: File | None = key(None, "Its password.", example="/run/secrets/primary-probe")

    @field_validator("access")
    @classmethod
    def _offered(cls, access: Access) -> Access:
        if access is Access.USER:
            raise wrong(
                "access = user is not offered: of users' passwords only verifiers are kept, and these open no mailbox",
                "Give the relay a master user (access = master), or access = none",
            )
        return access


class PrimarySubmissionSection(UpstreamSection):
    """Where users' own mail goes while the primary is up, under their own logins."""

    port: Port = key(587, "Port.")
    tls: TlsMode = key("starttls", "As for primary.smtp, but not opportunistic: passwords go this way.")
    open_timeout: Duration = key("10s", "For connect, greeting, EHLO, TLS and login.", least="100ms")
    command_timeout: Duration = key("30s", "For the answer to MAIL and RCPT.", least="100ms")
    final_timeout: Duration = key(
        "30s", "For the answer to the whole message. Later it is taken by the relay.", least="100ms"
    )

    @field_validator("tls")
    @classmethod
    def _protected(cls, tls: TlsMode) -> TlsMode:
        if tls is TlsMode.OPPORTUNISTIC:
            raise wrong("tls = opportunistic would let anybody on the way have users' passwords", "Write starttls")
        return tls


class PrimarySection(Section):
    """The mail platform behind this relay. Without it the relay is a standby that never hands anything on."""

    smtp: PrimarySmtpSection | None = None
    imap: PrimaryImapSection | None = None
    submission: PrimarySubmissionSection | None = None


class ListenSection(Section):
    """Where the relay listens (a list each; empty = not served), and what it asks about who connects."""

    mx: Binds = key([], "Mail from other servers.", example=["0.0.0.0:25"])
    submission: Binds = key([], "Mail from users, STARTTLS.", example=["0.0.0.0:587"])
    submissions: Binds = key([], "Mail from users, TLS from the first byte.", example=["0.0.0.0:465"])
    imap: Binds = key([], "Mail readers, STARTTLS.", example=["0.0.0.0:143"])
    imaps: Binds = key([], "Mail readers, TLS from the first byte.", example=["0.0.0.0:993"])
    http: Binds = key(["127.0.0.1:8080"], "Metrics, health and status; read-only, without passwords: keep it inside.")
    https: Binds = key(
        [],
        "Set-up of mail clients (autoconfig, Autodiscover, Apple profiles), and nothing else.",
        example=["0.0.0.0:443"],
    )
    client_names: bool = key(
        True,
        "Ask the DNS for the names of SMTP clients: for Received lines, and with primary.smtp.forward for the checks "
        "of the primary. An answer is waited for at MAIL, 3 seconds at most.",
    )
    client_names_except: Networks = key(
        ["127.0.0.0/8", "::1/128"], "Clients that have no name, so that nothing is asked about them."
    )


class ProxyProtocolSection(Section):
    """Networks whose connections start with a PROXY header (v1 or v2): the load balancers in front of the relay."""

    mx: Networks = key([], "For listen.mx.", example=["10.0.0.0/24"])
    submission: Networks = key([], "For listen.submission and listen.submissions.", example=["10.0.0.0/24"])
    imap: Networks = key([], "For listen.imap and listen.imaps.", example=["10.0.0.0/24"])


class UsualFoldersSection(Section):
    """Mailboxes that every account has on the standby: name them as the primary does. Empty = there is none."""

    drafts: str = key("Drafts", "Drafts; its special use is told to clients, as those of the others are.")
    sent: str = key("Sent", "Mail that was sent.", example="Sent Items")
    trash: str = key("Trash", "Deleted mail.", example="Deleted Items")
    junk: str = key("Junk", "Spam.", example="Junk Email")
    archive: str = key("Archive", "Mail that was put away.")

    @field_validator("*")
    @classmethod
    def _named(cls, name: str) -> str:
        if name and (name.upper() == "INBOX" or not creatable(name)):
            raise wrong("no mailbox can have this name", "Write it as mail clients show it, levels separated by /")
        return name


class ImapSection(Section):
    """The IMAP service."""

    plaintext_auth: Literal["never", "loopback"] = key(
        "loopback", "Where LOGIN (and AUTH on submission) without TLS is allowed."
    )
    login_timeout: Duration = key("60s", "From connection to login.", least="1s")
    idle_timeout: Duration = key("30m", "Without a command; RFC 9051 5.4 asks for 30 minutes at least.", least="1m")
    append_limit: Size = key(
        "50MB", "Largest message that a client may put into a mailbox, announced as APPENDLIMIT.", least="64kB"
    )
    quota: Size | None = key(
        None,
        "What an account may hold on the standby; mail that arrives is never refused for it. Not set = no limit.",
        example="10GB",
        least="1MB",
    )
    folders: UsualFoldersSection = UsualFoldersSection()
    rev2: bool = key(False, "Offer IMAP4rev2 (RFC 9051) on the standby too; clients that see it may behave otherwise.")


class ClientsSection(Section):
    """What mail clients are told when they set themselves up; see docs/clients.md."""

    imap_host: Host | None = key(None, "Where they read. Not set = node.hostname.", example="mail.example.org")
    smtp_host: Host | None = key(None, "Where they send. Not set = node.hostname.", example="mail.example.org")
    web_host: Host | None = key(
        None, "Where listen.https is found from outside. Not set = node.hostname.", example="mail.example.org"
    )
    display_name: str = key("", "Of the service, as people see it. Empty = the domain.", example="Example Mail")
    username: Literal["address", "local"] = key(
        "address", "What users log in with: the whole address, or what stands before the @."
    )
    imap_port: Port = key(143, "Of listen.imap, as clients see it.")
    imaps_port: Port = key(993, "Of listen.imaps, the same.")
    submission_port: Port = key(587, "Of listen.submission, the same.")
    submissions_port: Port = key(465, "Of listen.submissions, the same.")


class LimitsSection(Section):
    """What one peer, and all of them together, may use."""

    message_size: Size = key("50MB", "Largest message, announced as SIZE.", least="64kB")
    recipients: int = key(1000, "Per message; RFC 5321 4.5.3.1.8 asks for 100 at least.", ge=100)
    connections: int = key(1000, "On listen.mx, per worker.", ge=1)
    connections_per_address: int = key(
        50, "The same per client address (IPv6: /64), which is one mail server; 0 = no limit.", ge=0
    )
    user_connections: int = key(
        5000, "Mail readers (imap, imaps), per worker; and as many senders (submission, submissions).", ge=1
    )
    user_connections_per_address: int = key(
        1000,
        """The same per client address: a whole office sits behind one, with five to ten connections each; 0 = no
        limit.""",
        ge=0,
    )
    memory: Size = key("128MB", "Message bytes held in memory per worker; senders wait beyond it.", least="1MB")
    errors: int = key(10, "Bad commands per connection before it is closed.", ge=1)
    command_timeout: Duration = key("5m", "For the next command (RFC 5321 4.5.3.2.7).", least="1s")
    data_timeout: Duration = key("3m", "For the next block of a message (RFC 5321 4.5.3.2.5).", least="1s")
    min_rate: Size = key("100B", "Bytes per second that a message must arrive with, on average.")


class FailoverSection(Section):
    """When the primary is taken for dead and for alive."""

    probe_interval: Duration = key("2s", "Between two probes of a service.", least="100ms")
    failures: int = key(2, "Failures in a row that open the standby.", ge=1, le=100)
    successes: int = key(2, "Good probes in a row that start the recovery.", ge=1, le=100)
    timeout: Duration = key("3s", "For one whole probe; a primary that accepts and hangs is down.", least="100ms")


class ReplaySection(Section):
    """How the queue goes to the primary when it is back."""

    messages_per_second: float = key(0, "0 = as fast as the primary takes it.", ge=0)
    concurrency: int = key(10, "Messages at a time.", ge=1, le=1000)
    canaries: int = key(3, "Messages that go alone, one by one, before the queue opens.", ge=1, le=100)
    unknown_wait: Duration = key(
        "10m",
        "How long a message whose reply was lost waits to be found on the primary before it is sent again.",
        least="1s",
    )
    first_delay: Duration = key("5s", "Before the second attempt; doubles from there.", least="100ms")
    most_delay: Duration = key("15m", "The longest wait between two attempts.", least="100ms")
    final_timeout: Duration = key("10m", "For the primary's answer to a message (RFC 5321 4.5.3.2.6).", least="1s")


class RetentionSection(Section):
    """How long things are kept."""

    spool: Duration = key(
        "30d", "A message that could not be delivered for so long is held for the operator.", least="1h"
    )
    warn: Duration = key("3d", "From this age on, waiting messages are reported.", least="1m")
    shadow: Duration = key("14d", "Copies of delivered messages.")
    ledger: Duration = key("90d", "The record of what became of each message.", least="1d")


class DiskSection(Section):
    """Back-pressure before the disk is full."""

    reserve: Size = key("256MB", "Free space below which senders are told to try later (452).")
    reserve_inodes: int = key(1024, "Free inodes, the same.", ge=0)


class LogSection(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = key("info", "Lines below are not written.")
    format: Literal["auto", "json", "text"] = key("auto", "auto = text on a terminal, JSON elsewhere.")
