"""The MTA-STS policies of the domains that we send to (RFC 8461): fetched, kept for their time, kept over restarts.

A domain enters; the policy in force, or None, leaves. Failing to learn a policy is never an error for the mail.

1. A policy that was fetched is in force for its max_age, whatever happens to the record or the web server meanwhile
   (RFC 8461 3.3, 10.2): an attacker who blocks them wins nothing.
2. A fetch is one HTTPS request with a valid certificate, no redirect, no proxy, a bounded answer and one deadline; it
   goes only to addresses that `permitted` lets pass.
3. One fetch at a time for a domain; after one that failed there is none for `again_after` seconds.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable

import httpx
import msgspec

from relay.core.clock import Clock
from relay.obs.logs import logger
from relay.obs.world_metrics import WorldMetrics
from relay.world.keeping import Keeping
from relay.world.resolver import Resolver, State
from relay.world.settings import StsSettings
from relay.world.sts_policy import Mode, Policy, parse_policy, record_id

_log = logger("world.mta_sts")


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    id: str
    policy: Policy
    until: float
    """Unix seconds."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(dict[str, _Kept])


class StsPolicies:
    """One per process."""

    def __init__(
        self,
        resolver: Resolver,
        settings: StsSettings,
        clock: Clock,
        *,
        keeping: Keeping,
        permitted: Callable[[str], bool],
        metrics: WorldMetrics | None = None,
    ) -> None:
        """`permitted` says of an IP address whether it may be connected to."""
        self._resolver = resolver
        self._settings = settings
        self._clock = clock
        self._keeping = keeping
        self._permitted = permitted
        self._metrics = metrics
        self._memory: OrderedDict[str, _Kept] = OrderedDict()
        self._not_before: OrderedDict[str, float] = OrderedDict()
        self._loaded = False
        self._locks: dict[str, asyncio.Lock] = {}
        self._client: httpx.AsyncClient | None = None

    async def policy(self, domain: str) -> Policy | None:
        """The policy in force for a domain (A-labels); None where it has none, or wants none to be applied."""
        lock = self._locks.setdefault(domain, asyncio.Lock())
        try:
            async with lock:
                found = await self._policy(domain)
        finally:
            # The last one out: nobody holds it, nobody waits for it.
            if not lock.locked() and self._locks.get(domain) is lock:
                del self._locks[domain]
        return None if found is None or found.mode is Mode.NONE else found

    async def close(self) -> None:
        """Let the connections go."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _policy(self, domain: str) -> Policy | None:
        await self._load()
        now = self._clock.now()
        kept = self._memory.get(domain)
        if kept is not None and kept.until <= now:
            kept = None
        record = await self._resolver.texts(f"_mta-sts.{domain}")
        current = record_id(record.values) if record.state is State.FOUND else None
        unchanged = kept is not None and kept.id == current
        if current is None or unchanged or self._not_before.get(domain, 0.0) > self._clock.monotonic():
            return None if kept is None else kept.policy
        policy = await self._fetch(domain)
        if self._metrics is not None:
            self._metrics.policy_fetches["failed" if policy is None else "ok"].inc()
        if policy is None:
            self._not_before[domain] = self._clock.monotonic() + self._settings.again_after
            if len(self._not_before) > self._settings.remembered:
                self._not_before.popitem(last=False)
            return None if kept is None else kept.policy
        self._memory[domain] = _Kept(current, policy, now + policy.max_age)
        self._memory.move_to_end(domain)
        if len(self._memory) > self._settings.remembered:
            self._memory.popitem(last=False)
        await self._keeping.save(_ENCODER.encode(self._memory))
        return policy

    async def _load(self) -> None:
        if self._loaded:
            return
        data = await self._keeping.load()
        self._loaded = True
        try:
            self._memory.update({} if data is None else _DECODER.decode(data))
        except msgspec.MsgspecError:
            _log.warning("policies_not_readable")

    async def _fetch(self, domain: str) -> Policy | None:
        host = f"mta-sts.{domain}"
        try:
            async with asyncio.timeout(self._settings.seconds):
                addresses = (await self._resolver.addresses(host)).values
                address = next(filter(self._permitted, addresses), None)
                text = None if address is None else await self._get(host, address)
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:  # TimeoutError is an OSError
            _log.info("policy_not_fetched", error=type(error).__name__)
            return None
        policy = None if text is None else parse_policy(text)
        if policy is None:
            _log.info("policy_not_fetched", error="no policy in the answer")
        return policy

    async def _get(self, host: str, address: str) -> str | None:
        literal = f"[{address}]" if ":" in address else address
        request = self._http().build_request(
            "GET",
            f"https://{literal}:{self._settings.port}/.well-known/mta-sts.txt",
            headers={"Host": host, "Accept-Encoding": "identity"},
            # The name in the certificate is the policy host's, wherever the DNS says it lives.
            extensions={"sni_hostname": host},
        )
        answer = await self._http().send(request, stream=True)
        try:
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if answer.status_code != 200 or kind != "text/plain":  # RFC 8461 3.2, 3.3
                return None
            body = bytearray()
            async for block in answer.aiter_raw():
                body += block
                if len(body) > self._settings.most_bytes:
                    return None
        finally:
            await answer.aclose()
        return body.decode("utf-8")

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            context = ssl.create_default_context(cafile=self._settings.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._client = httpx.AsyncClient(
                verify=context,
                follow_redirects=False,
                trust_env=False,
                timeout=self._settings.seconds,
                limits=httpx.Limits(max_connections=10, max_keepalive_connections=0),
            )
        return self._client
