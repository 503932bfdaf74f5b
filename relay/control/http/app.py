"""Routes of the inner listener: `/metrics`, `/livez`, `/readyz`, `/api/v1/status`, and what is public anyway.

1. GET and HEAD only; no cookies, no CORS, nothing cached.
2. The API answers only to a Host that no web page on the internet can have (an IP address, a single label, our own
   names): a browser inside the network cannot be made to read it by DNS rebinding.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from relay.control.sampler import Sampler
from relay.obs.logs import logger
from relay.obs.metrics import Metrics

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_REBIND = "Ask by IP address or by the node's own name.\n"


def make_app(sampler: Sampler, metrics: Metrics, *, names: Collection[str], more: Sequence[Route] = ()) -> Starlette:
    """The ASGI application; `names` are the host names that the node knows itself by; `more` comes behind."""
    own = frozenset(name.casefold() for name in names)

    async def livez(_request: Request) -> Response:
        """The loop turns; restart the container when this stays silent."""
        return PlainTextResponse("alive\n", headers=_HEADERS)

    async def readyz(_request: Request) -> Response:
        """200 when mail can be durably accepted, else 503 with what is missing."""
        found = await sampler.readiness()
        lines = [f"{name}: {'ok' if getattr(found, name) else 'FAILED'}\n" for name in found.__struct_fields__]
        return PlainTextResponse("".join(lines), status_code=200 if found.ready else 503, headers=_HEADERS)

    async def page(_request: Request) -> Response:
        """For Prometheus."""
        return Response(await sampler.page(metrics), headers=_HEADERS | {"Content-Type": _EXPOSITION})

    async def status(request: Request) -> Response:
        """For `relay status` and for scripts."""
        if not _trusted(request.headers.get("host", ""), own):
            return PlainTextResponse(_REBIND, status_code=421, headers=_HEADERS)
        return _json(await sampler.status())

    async def failed(_request: Request, error: Exception) -> Response:
        """A bug: the trace is in the log, not on the wire."""
        logger("relay.control").exception("http_failed", exc_info=error)
        return PlainTextResponse("Internal error\n", status_code=500, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", page),
            Route("/api/v1/status", status),
            *more,
        ],
        exception_handlers={Exception: failed},
    )


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), headers=_HEADERS | {"Content-Type": "application/json"})


def _trusted(host: str, own: Collection[str]) -> bool:
    """Invariant 2."""
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name.casefold() in own or (name and "." not in name and ":" not in name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
