"""From the configuration to the settings of each part: pure translation, one function per part.

Nobody below `config` imports it; here its sections become the small frozen values that the parts were written for.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.accounts.directory import DirectorySettings, Unknown
from relay.accounts.hashing import HashingSettings
from relay.accounts.login import LoginSettings
from relay.accounts.names import Naming, NamingSettings
from relay.accounts.oauth import OAuthSettings
from relay.accounts.throttle import ThrottleSettings
from relay.config.model import Config
from relay.config.secrets import read_secret
from relay.config.sections import Access as ConfiguredAccess
from relay.config.sections import PrimaryImapSection, PrimarySmtpSection, UpstreamSection
from relay.config.units import Address
from relay.control.probing import ProbeSettings
from relay.control.setup.settings import ClientSetup, Security, Server
from relay.core.errors import ConfigFault
from relay.core.mode import Hysteresis, Service
from relay.core.retry import Backoff
from relay.inbound import settings as inbound
from relay.inbound.policy import LocalDomainsOnly
from relay.listen.certificates import Pair
from relay.listen.settings import Crowd, Network, Port
from relay.obs.logs import LogSettings
from relay.primary.client_names import ClientNamesSettings
from relay.primary.imap import Access, ImapSettings
from relay.primary.imap_raw import RawSettings
from relay.primary.pacing import PacingSettings
from relay.primary.settings import Deadlines, Endpoint, PoolSettings, SmtpSettings
from relay.proto.sasl.bearer import refusal
from relay.proto.sasl.credentials import Credentials
from relay.replay.retention import RetentionSettings
from relay.replay.settings import ReplaySettings
from relay.serve import settings as serve
from relay.spool.pressure import PressureSettings


def log(config: Config, worker: int) -> LogSettings:
    """How the log is written."""
    as_json = {"auto": None, "json": True, "text": False}[config.log.format]
    number = worker if config.node.workers > 1 else None
    return LogSettings(level=config.log.level, json=as_json, node=config.node.name, worker=number)


def pressure(config: Config) -> PressureSettings:
    """When the disk counts as full."""
    return PressureSettings(reserve_bytes=config.disk.reserve, reserve_inodes=config.disk.reserve_inodes)


def hysteresis(config: Config) -> Hysteresis:
    """How much evidence a change of mode needs."""
    return Hysteresis(config.failover.failures, config.failover.successes)


def probes(config: Config) -> ProbeSettings:
    """How often the primary is asked."""
    return ProbeSettings(interval=config.failover.probe_interval, timeout=config.failover.timeout)


def certificates(config: Config) -> list[Pair]:
    """What listeners show: the pair for everybody first, then those that are asked for by name."""
    tls = config.tls
    if tls.certificate is None or tls.private_key is None:
        return []
    more = [Pair(one.certificate, one.private_key, f"tls.more[{n}]") for n, one in enumerate(tls.more)]
    return [Pair(tls.certificate, tls.private_key), *more]


# --- inbound ----------------------------------------------------------------------------------------------------------


def inbound_settings(config: Config) -> inbound.InboundSettings:
    """The SMTP listeners."""
    limits = config.limits
    return inbound.InboundSettings(
        hostname=config.node.hostname,
        domains=config.domains.accept,
        limits=inbound.Limits(
            message_size=limits.message_size,
            recipients=limits.recipients,
            connections=limits.connections,
            connections_per_address=limits.connections_per_address or limits.connections,
            errors=limits.errors,
            in_flight=limits.memory,
        ),
        deadlines=inbound.Deadlines(
            command=limits.command_timeout, block=limits.data_timeout, minimum_rate=limits.min_rate
        ),
        plaintext_auth=config.imap.plaintext_auth,
        token_refusal=token_refusal(config),
    )


def senders(config: Config) -> Crowd:
    """How many users may be connected to submission: apart from other servers, which must not take their places."""
    limits = config.limits
    return Crowd(limits.user_connections, limits.user_connections_per_address or limits.user_connections)


def client_names(config: Config) -> ClientNamesSettings:
    """Whose names are looked up."""
    return ClientNamesSettings(excluded=config.listen.client_names_except)


def smtp_listeners(config: Config) -> list[inbound.ListenerSettings]:
    """One per address in `listen`."""
    shared = config.node.workers > 1
    users = config.proxy_protocol.submission

    def ports(name: inbound.ListenerName, binds: tuple[Address, ...], proxy_from: tuple[Network, ...]) -> None:
        found.extend(
            inbound.ListenerSettings(
                name=name,
                host=bind.host,
                port=bind.port,
                implicit_tls=name == "submissions",
                proxy_from=proxy_from,
                reuse_port=shared,
            )
            for bind in binds
        )

    found: list[inbound.ListenerSettings] = []
    ports("mx", config.listen.mx, config.proxy_protocol.mx)
    ports("submission", config.listen.submission, users)
    ports("submissions", config.listen.submissions, users)
    return found


# --- serve ------------------------------------------------------------------------------------------------------------


def serve_settings(config: Config, version: str) -> serve.ServeSettings:
    """The IMAP listeners."""
    limits = config.limits
    return serve.ServeSettings(
        hostname=config.node.hostname,
        plaintext_auth=config.imap.plaintext_auth,
        rev2=config.imap.rev2,
        append_limit=config.imap.append_limit,
        signed_tokens=config.login.oauth is not None,
        token_refusal=token_refusal(config),
        version=version,
        limits=serve.Limits(
            connections=limits.user_connections,
            connections_per_address=limits.user_connections_per_address or limits.user_connections,
            errors=limits.errors,
        ),
        deadlines=serve.Deadlines(login=config.imap.login_timeout, idle=config.imap.idle_timeout),
    )


def imap_listeners(config: Config) -> list[Port[serve.ListenerName]]:
    """One per address in `listen`."""
    names: tuple[tuple[serve.ListenerName, tuple[Address, ...]], ...] = (
        ("imap", config.listen.imap),
        ("imaps", config.listen.imaps),
    )
    return [
        Port(
            name=name,
            host=bind.host,
            port=bind.port,
            implicit_tls=name == "imaps",
            proxy_from=config.proxy_protocol.imap,
            reuse_port=config.node.workers > 1,
        )
        for name, binds in names
        for bind in binds
    ]


def client_setup(config: Config) -> ClientSetup:
    """What mail clients are told; only services that are listened for are named."""
    clients, listen, host = config.clients, config.listen, config.node.hostname
    encrypted = config.tls.certificate is not None

    def servers(named: str | None, *ports: tuple[tuple[Address, ...], int, Security]) -> tuple[Server, ...]:
        # A port without TLS is not offered: the client would send its password in clear.
        return tuple(Server(named or host, port, security) for binds, port, security in ports if binds and encrypted)

    return ClientSetup(
        domains=config.domains.accept,
        imap=servers(
            clients.imap_host,
            (listen.imaps, clients.imaps_port, Security.IMPLICIT),
            (listen.imap, clients.imap_port, Security.STARTTLS),
        ),
        submission=servers(
            clients.smtp_host,
            (listen.submissions, clients.submissions_port, Security.IMPLICIT),
            (listen.submission, clients.submission_port, Security.STARTTLS),
        ),
        web_host=clients.web_host or host,
        display_name=clients.display_name,
        username=clients.username,
    )


# --- the primary ------------------------------------------------------------------------------------------------------


def endpoint(section: UpstreamSection) -> Endpoint:
    """Where a server is and how to speak to it."""
    return Endpoint(
        host=section.host,
        port=section.port,
        tls=section.tls,
        verify=section.verify,
        ca_file=str(section.ca_file) if section.ca_file else None,
    )


def smtp_primary(config: Config, section: PrimarySmtpSection, *, final_timeout: float) -> SmtpSettings:
    """The primary's SMTP; live senders wait shorter for the last reply than replay does."""
    return SmtpSettings(
        endpoint=endpoint(section),
        helo=config.node.hostname,
        forward=section.forward,
        deadlines=Deadlines(
            open=section.open_timeout, command=section.command_timeout, block=final_timeout, final=final_timeout
        ),
    )


def cut_through_pool(section: PrimarySmtpSection, timeout: float) -> PoolSettings:
    """Connections for live senders. They wait for a free one no longer than for a failing primary."""
    return PoolSettings(connections=section.connections, wait=timeout)


def replay_pool(config: Config) -> PoolSettings:
    """Connections for the queue: one per lane."""
    return PoolSettings(connections=config.replay.concurrency, wait=60.0)


def imap_primary(section: PrimaryImapSection) -> ImapSettings:
    """The primary's IMAP, as far as we ask it ourselves. ConfigFault when a secret cannot be read."""
    master = None
    if section.access is ConfiguredAccess.MASTER:
        if section.master_password_file is None:
            raise ConfigFault("primary.imap.master_password_file: missing. Name the file that holds the password")
        password = read_secret(section.master_password_file, "primary.imap.master_password_file")
        master = Credentials(section.master_user, password.encode())
    probe = None
    if section.probe_user and section.probe_password_file is not None:
        password = read_secret(section.probe_password_file, "primary.imap.probe_password_file")
        probe = Credentials(section.probe_user, password.encode())
    return ImapSettings(
        endpoint=endpoint(section),
        access=Access(section.access.value),
        master=master,
        separator=section.master_separator,
        probe=probe,
    )


def pass_through(section: PrimaryImapSection, timeout: float) -> RawSettings:
    """The primary's IMAP, as users are passed through to it."""
    return RawSettings(endpoint=endpoint(section), open_seconds=timeout, forward_client=section.forward_client)


# --- replay -----------------------------------------------------------------------------------------------------------


def replay(config: Config, owner: str) -> ReplaySettings:
    """The queue runner."""
    section = config.replay
    return ReplaySettings(
        owner=owner,
        concurrency=section.concurrency,
        canaries=section.canaries,
        backoff=Backoff(first=section.first_delay, most=section.most_delay),
        unknown_wait=section.unknown_wait,
    )


def retention(config: Config) -> RetentionSettings:
    """How long things are kept."""
    section = config.retention
    return RetentionSettings(
        spool=section.spool,
        warn=section.warn,
        shadow=section.shadow,
        ledger=section.ledger,
        remembered=config.login.max_age,
        tokens=config.login.token_max_age,
    )


def pacing(config: Config) -> PacingSettings:
    """How fast the primary is fed."""
    return PacingSettings(most=config.replay.messages_per_second)


# --- who and whom -----------------------------------------------------------------------------------------------------


def services(config: Config) -> frozenset[Service]:
    """What the primary offers, as far as we are told."""
    primary = config.primary
    found = set()
    if primary is not None and primary.smtp is not None:
        found.add(Service.SMTP)
    if primary is not None and primary.imap is not None:
        found |= {Service.IMAP, Service.LOGIN}
    if primary is not None and primary.submission is not None:
        found.add(Service.SUBMISSION)
    return frozenset(found)


def naming(config: Config) -> NamingSettings:
    """Which account a name belongs to."""
    return NamingSettings(default_domain=config.home_domain, separator=config.domains.subaddress_separator)


def reader_of(config: Config, names: Naming) -> Callable[[str], str | None]:
    """Who reads mail for an address on the standby; None where it is not ours (a notice to a foreign sender)."""
    ours = LocalDomainsOnly(config.domains.accept)
    return lambda address: None if ours.refuses(address, login=None) else names.account_of(address)


def directory(config: Config) -> DirectorySettings:
    """Which recipients exist. ConfigFault when the list cannot be read."""
    return DirectorySettings(
        domains=frozenset(config.domains.accept),
        unknown=Unknown(config.domains.unknown_recipients.value),
        recipients=recipients(config),
        mature_after=config.domains.mature_after,
    )


def recipients(config: Config) -> frozenset[str]:
    """The operator's list: an address per line, `#` begins a comment. ConfigFault."""
    path = config.domains.recipients_file
    if path is None:
        return frozenset()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigFault(
            f"domains.recipients_file: {path} cannot be read ({problem}). Write one address per line"
        ) from None
    found = (line.partition("#")[0].strip() for line in lines)
    return frozenset(address for address in found if address)


def logins(config: Config) -> LoginSettings:
    """Passwords for the outage."""
    section = config.login
    primary = config.primary
    return LoginSettings(
        remember=section.remember,
        max_age=section.max_age,
        token_max_age=section.token_max_age,
        authoritative=primary is None or primary.imap is None,
        most_delayed=section.delayed,
        hashing=HashingSettings(concurrency=section.verify_concurrency),
        throttle=ThrottleSettings(failures=section.failures, window=section.window, exempt=section.exempt_networks),
    )


def oauth(config: Config) -> OAuthSettings | None:
    """Whose tokens are believed; None = nobody's."""
    section = config.login.oauth
    if section is None:
        return None
    return OAuthSettings(
        issuer=section.issuer,
        audiences=section.audience,
        jwks_url=section.jwks_url,
        jwks_file=section.jwks_file,
        user_claims=section.user_claims,
        algorithms=section.algorithms,
        scopes=section.scopes,
        leeway=section.leeway,
        refresh=section.refresh,
        keys_max_age=section.keys_max_age,
        timeout=section.timeout,
        ca_file=str(section.ca_file) if section.ca_file else None,
    )


def token_refusal(config: Config) -> bytes:
    """What a client whose token is refused is told."""
    issuer = oauth(config)
    return refusal() if issuer is None else refusal(scopes=issuer.scopes, discovery=issuer.discovery)
