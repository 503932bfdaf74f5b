"""The whole configuration: the sections, where they come from, and what they must agree on.

Sections whose default is None are absent unless one of their keys is set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from relay.config.faults import wrong
from relay.config.login import LoginSection
from relay.config.sections import (
    ClientsSection,
    DiskSection,
    DomainsSection,
    FailoverSection,
    ImapSection,
    LimitsSection,
    ListenSection,
    LogSection,
    NodeSection,
    PrimarySection,
    ProxyProtocolSection,
    ReplaySection,
    RetentionSection,
    StoreSection,
    TlsSection,
    UnknownRecipients,
    VaultSection,
)
from relay.config.submission import SubmissionSection
from relay.config.types import REQUIRED, key
from relay.config.world import WorldSection


class Config(BaseSettings):
    """Everything a node is told."""

    model_config = SettingsConfigDict(
        env_prefix="RELAY_",
        env_nested_delimiter="__",
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    node: NodeSection = key(REQUIRED, "")
    store: StoreSection = StoreSection()
    vault: VaultSection = VaultSection()
    tls: TlsSection = TlsSection()
    domains: DomainsSection = DomainsSection()
    primary: PrimarySection | None = None
    listen: ListenSection = ListenSection()
    imap: ImapSection = ImapSection()
    login: LoginSection = LoginSection()
    submission: SubmissionSection = SubmissionSection()
    clients: ClientsSection = ClientsSection()
    failover: FailoverSection = FailoverSection()
    replay: ReplaySection = ReplaySection()
    retention: RetentionSection = RetentionSection()
    world: WorldSection = WorldSection()
    limits: LimitsSection = LimitsSection()
    disk: DiskSection = DiskSection()
    proxy_protocol: ProxyProtocolSection = ProxyProtocolSection()
    log: LogSection = LogSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which comes as arguments."""
        return env_settings, init_settings

    @property
    def database(self) -> Path:
        """File of the embedded store."""
        return Path(self.store.url.removeprefix("sqlite:///")) if self.store.url else self.node.data_dir / "relay.db"

    @property
    def home_domain(self) -> str:
        """The domain of bare logins and recipients; empty where there is none."""
        return self.domains.default_domain or next(iter(self.domains.accept), "")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """What two sections must agree on. The first fault only: each of them needs a decision before the next."""
        if self.tls.certificate is None and (self.listen.imaps or self.listen.submissions or self.listen.https):
            raise wrong(
                "listen.imaps, listen.submissions and listen.https need a certificate",
                "Set tls.certificate and tls.private_key, or empty these lists",
            )
        if self.tls.certificate is None and self.imap.plaintext_auth == "never" and self.listen.imap:
            raise wrong(
                "nobody could log in on listen.imap: no TLS, and imap.plaintext_auth = never",
                "Set tls.certificate and tls.private_key",
            )
        listening = self.listen.submission and not self.listen.submissions
        if listening and self.tls.certificate is None and self.imap.plaintext_auth == "never":
            raise wrong(
                "nobody could log in on listen.submission: no TLS, and imap.plaintext_auth = never",
                "Set tls.certificate and tls.private_key",
            )
        if self.listen.mx and not self.domains.accept:
            raise wrong("listen.mx would refuse every message: domains.accept is empty", "Name your domains there")
        if self.domains.unknown_recipients is UnknownRecipients.REJECT and self.domains.recipients_file is None:
            raise wrong(
                "domains.unknown_recipients = reject without a list would refuse good mail for good",
                "Set domains.recipients_file, or unknown_recipients = tempfail",
            )
        if self.retention.warn >= self.retention.spool:
            raise wrong("retention.warn must be shorter than retention.spool", "Nobody would be warned in time")
        return self
