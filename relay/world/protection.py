"""How the connection to a server of the world must be protected: what its domain publishes in, a `Protection` out.

1. DANE first: where the DNS vouches for the way and for TLSA records, they decide, and MTA-STS is not asked
   (RFC 8461 2); records of which none is usable ask for encryption, and leave the rest to MTA-STS (RFC 7672 2.2).
2. MTA-STS `enforce`: only hosts that the policy names, only with a valid certificate. `testing` changes nothing.
3. Otherwise encryption where it works (RFC 7435).
4. What cannot be known (the TLSA question fails) is no permission: the host is passed over for now (RFC 7672 2.1.2).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from relay.core.clock import Clock
from relay.core.reply import Reply, reply
from relay.obs.logs import logger
from relay.primary.settings import Endpoint, TlsMode
from relay.primary.tls import CertificateCheck
from relay.world.dane import Tlsa, permits, usable
from relay.world.mta_sts import StsPolicies
from relay.world.resolver import Found, Resolver, State
from relay.world.routing import Host, Way
from relay.world.settings import WorldSettings
from relay.world.sts_policy import Mode, Policy

_log = logger("world.protection")

TLSA_UNKNOWN = reply(451, "4.7.5 The DNS did not answer how the server is to be recognised")
NOT_IN_POLICY = reply(451, "4.7.5 The server is not in its domain's MTA-STS policy")


class Level(StrEnum):
    """What a connection must have."""

    OPPORTUNISTIC = "opportunistic"
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"
    DANE = "dane"


class Protection(msgspec.Struct, frozen=True):
    """For one server of one domain. Connections are shared only under equal ones."""

    level: Level = Level.OPPORTUNISTIC
    records: tuple[Tlsa, ...] = ()
    names: tuple[str, ...] = ()
    """With DANE-TA: who the server may be."""

    def endpoint(self, host: Host, address: str, port: int, ca_file: str | None) -> Endpoint:
        """Where to connect to, and what to ask of TLS."""
        verified = self.level is Level.VERIFIED
        return Endpoint(
            address,
            port,
            TlsMode.OPPORTUNISTIC if self.level is Level.OPPORTUNISTIC else TlsMode.STARTTLS,
            verify=verified,
            ca_file=ca_file if verified else None,
            server_name=host.name,
        )

    def check(self, clock: Clock) -> CertificateCheck | None:
        """What to ask of the certificate beyond that."""
        if self.level is not Level.DANE:
            return None
        return lambda chain: permits(self.records, chain, self.names, clock.now())


class Protector:
    """Decides."""

    def __init__(self, resolver: Resolver, policies: StsPolicies | None, settings: WorldSettings) -> None:
        self._resolver = resolver
        self._policies = policies
        self._settings = settings

    async def policy(self, way: Way) -> Policy | None:
        """The MTA-STS policy of the domain."""
        if self._policies is None or not self._settings.mta_sts or way.domain.startswith("["):
            return None
        return await self._policies.policy(way.domain)

    async def of(self, way: Way, host: Host, policy: Policy | None) -> Protection | Reply:
        """For one server; a reply where it must not be used now."""
        level = Level.OPPORTUNISTIC
        if self._settings.dane and way.secure and host.secure:
            found, base = await self._tlsa(host)
            if found.state is State.FAILED:
                return TLSA_UNKNOWN
            if found.state is State.FOUND and found.secure:
                records = usable(found.values)
                if records:
                    # RFC 7672 3.2.2: the base domain, and the next-hop domain, since the way to it is secure.
                    return Protection(Level.DANE, records, tuple(dict.fromkeys((base, host.name, way.domain))))
                level = Level.ENCRYPTED
        if policy is None or policy.mode is Mode.NONE:
            return Protection(level)
        named = policy.names(host.name)
        if policy.mode is Mode.TESTING:
            if not named:
                _log.info("policy_not_kept", mode=policy.mode.value, reason="the server is not named")
            return Protection(level)
        return Protection(Level.VERIFIED) if named else NOT_IN_POLICY

    async def _tlsa(self, host: Host) -> tuple[Found[Tlsa], str]:
        """RFC 7672 2.2.2, 2.2.3: at the end of the CNAME first, then at the name itself."""
        found: Found[Tlsa] = Found(State.NO_NAME)
        for base in dict.fromkeys((host.canonical or host.name, host.name)):
            found = await self._resolver.tlsa(base, self._settings.port)
            if found.state is State.FAILED or (found.state is State.FOUND and found.secure):
                return found, base
        return found, host.name
