"""SMTP as a listener speaks it: one `Verbs` for each connection that was let in."""

from __future__ import annotations

import asyncio
import ssl

from relay.inbound import replies
from relay.inbound.ports import Services
from relay.inbound.settings import ListenerName, ListenerSettings
from relay.inbound.verbs import Verbs
from relay.listen.front import Peer, hand_over
from relay.listen.listener import Listener


class SmtpFront:
    """One port's; `services` are shared by all ports of a worker."""

    busy = replies.BUSY.encode()

    def __init__(self, services: Services, port: ListenerSettings, context: ssl.SSLContext | None) -> None:
        self._services = services
        self._port = port
        self._context = context

    def begin(self, transport: asyncio.Transport, peer: Peer) -> Verbs:
        """Greet."""
        connection = Verbs(self._services, self._port, self._context, peer)
        hand_over(transport, connection)
        return connection

    def handshake_failed(self) -> None:
        """Count it."""
        self._services.metrics.faults["tls"].inc()

    async def drain(self) -> None:
        """Commits outlive their connections."""
        await self._services.finishing.drain()


def smtp_listener(services: Services, port: ListenerSettings, context: ssl.SSLContext | None) -> Listener[ListenerName]:
    """A port of SMTP."""
    return Listener(
        port,
        SmtpFront(services, port, context),
        gate=services.gate,
        deadlines=services.settings.deadlines,
        metrics=services.metrics,
        context=context,
    )
