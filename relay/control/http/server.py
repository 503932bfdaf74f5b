"""uvicorn inside our own event loop: our sockets, our signals, our log."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

_STOP_SECONDS = 5.0
_START_POLLS = 500


class _Server(uvicorn.Server):
    """A server that leaves the process's signals to the node."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


class HttpServer:
    """Serves an application on bound sockets."""

    def __init__(
        self,
        app: Starlette,
        sockets: Sequence[socket.socket],
        *,
        context: ssl.SSLContext | None = None,
        protocol: type[H11Protocol] = H11Protocol,
    ) -> None:
        """With a `context` it is HTTPS."""
        self._sockets = list(sockets)
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http=protocol,
                ssl_context_factory=None if context is None else lambda _config, _default: context,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                limit_concurrency=100,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=int(_STOP_SECONDS),
                h11_max_incomplete_event_size=16 * 1024,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Of the first socket."""
        return int(self._sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Answer from now on."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(self._sockets), name="http")
        for _ in range(_START_POLLS):
            if self._server.started:
                return
            if self._task.done():
                break
            await asyncio.sleep(0.01)
        await self._task
        raise RuntimeError("the HTTP server ended before it began")

    async def stop(self) -> None:
        """Finish what is being answered, within a few seconds."""
        if self._task is None:
            return
        self._server.should_exit = True
        done, _ = await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        if not done:
            self._server.force_exit = True
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
