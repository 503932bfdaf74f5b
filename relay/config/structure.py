"""The sections together, and where their values come from. What they must agree on is said in `agreement`.

Sections whose default is None are absent unless one of their keys is set.
"""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

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
    VaultSection,
)
from relay.config.submission import SubmissionSection
from relay.config.types import REQUIRED, key
from relay.config.world import WorldSection


class Structure(BaseSettings):
    """Every section, each right in itself."""

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

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """Addresses of this relay by the look of the configuration; a wildcard says nothing."""
        listened = set()
        for bind in self.listen.mx:
            with contextlib.suppress(ValueError):  # a name, which own_names are for
                if not ipaddress.ip_address(bind.host).is_unspecified:
                    listened.add(bind.host)
        return (*self.world.own_addresses, *sorted(listened))
