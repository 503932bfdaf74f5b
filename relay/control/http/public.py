"""HTTPS for strangers: uvicorn on the node's own certificate, with a bound on connections and on how long each lasts.

1. The context is the node's own: after a reload new handshakes see the new certificate.
2. A connection that is one too many is cut, and none lasts longer than `_LIFE_SECONDS`, whatever it sends or does not
   send: a page is small, and whoever wants another may connect again.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from relay.control.http.server import HttpServer
from relay.listen.sockets import bind

_MOST = 100
_LIFE_SECONDS = 30.0


class PublicServer:
    """One port. `start` binds it."""

    def __init__(self, app: Starlette, host: str, port: int, context: ssl.SSLContext | None, *, shared: bool) -> None:
        if context is None:
            raise ValueError("HTTPS needs a certificate")
        self._app = app
        self._host = host
        self._port = port
        self._context = context
        self._shared = shared
        self._server: HttpServer | None = None

    @property
    def port(self) -> int:
        """The port in use; helpful where 0 was configured."""
        if self._server is None:
            raise RuntimeError("not started")
        return self._server.port

    async def start(self) -> None:
        """Bind and answer. OSError."""
        bound = bind(self._host, self._port, shared=self._shared, backlog=_MOST)
        self._server = HttpServer(self._app, [bound], context=self._context, protocol=_Bounded)
        await self._server.start()

    async def stop(self) -> None:
        """Close, within a few seconds. Idempotent."""
        if self._server is not None:
            await self._server.stop()


class _Bounded(H11Protocol):
    """Invariant 2."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        super().connection_made(stream)
        if len(self.connections) > _MOST:
            stream.abort()
            return
        self._end = self.loop.call_later(_LIFE_SECONDS, stream.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)
