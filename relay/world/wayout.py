"""The way out, put together: settings and collaborators in, a `World` with what it must close out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay.core.clock import Clock
from relay.obs.world_metrics import WorldMetrics
from relay.world.delivery import Trace, World
from relay.world.dkim_signer import DkimKey, Signer
from relay.world.keeping import Keeping
from relay.world.mta_sts import StsPolicies
from relay.world.pools import Pools
from relay.world.protection import Protector
from relay.world.resolver import Resolver
from relay.world.routing import Router
from relay.world.settings import DnsSettings, StsSettings, WorldSettings

STS_MEMORY = "world.mta_sts"
"""Setting that the policies are kept in."""


class WayOutSettings(msgspec.Struct, frozen=True):
    """All of them."""

    world: WorldSettings
    dns: DnsSettings = DnsSettings()
    sts: StsSettings = StsSettings()
    keys: tuple[DkimKey, ...] = ()


class WayOut:
    """One per process that takes mail to the world."""

    def __init__(
        self,
        settings: WayOutSettings,
        clock: Clock,
        *,
        keeping: Keeping,
        trace: Trace,
        metrics: WorldMetrics | None = None,
    ) -> None:
        """OSError: the system names no DNS server, and neither do the settings."""
        world = settings.world
        self.resolver = Resolver(settings.dns, clock)
        self.router = Router(self.resolver, world)
        self.policies = StsPolicies(
            self.resolver, settings.sts, clock, keeping=keeping, permitted=self.router.permitted, metrics=metrics
        )
        self.pools = Pools(world.pool, clock, connections=world.connections, pools=world.pools)
        self.signer = Signer(settings.keys, clock)
        self.world = World(
            router=self.router,
            protector=Protector(self.resolver, self.policies, world),
            pools=self.pools,
            signer=self.signer,
            settings=world,
            trace=trace,
            metrics=metrics,
        )

    async def close(self) -> None:
        """Let idle connections go; transactions under way end by themselves."""
        await self.pools.close()
        await self.policies.close()


def published_keys(keys: Sequence[DkimKey]) -> list[tuple[str, str]]:
    """Names and values of the TXT records that the keys need (RFC 6376 3.6.2)."""
    return [(f"{one.selector}._domainkey.{one.domain}", one.key.public) for one in keys]
