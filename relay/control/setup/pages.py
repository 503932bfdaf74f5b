"""The set-up documents over HTTP: a table of paths, for the public HTTPS listener and for the inner one.

1. Nothing is answered for a domain that is not ours; for one that is, every address gets the same kind of answer.
2. A body is read up to a limit and within a deadline.
3. These routes need nothing of the node but its settings and the time: whoever serves them shows nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from relay.control.setup import autodiscover
from relay.control.setup.autoconfig import client_config
from relay.control.setup.profile import CONTENT_TYPE, profile
from relay.control.setup.settings import ClientSetup, Mailbox, domain_of, mailbox
from relay.core.clock import Clock
from relay.obs.logs import logger

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_XML = "text/xml; charset=utf-8"
_BODY_SECONDS = 10.0
_log = logger("control.setup")
_Page = Callable[[Request], Awaitable[Response]]


def setup_app(setup: ClientSetup, clock: Clock) -> Starlette:
    """The application of the public listener: these pages and nothing else."""

    async def failed(_request: Request, error: Exception) -> Response:
        """A bug: the trace is in the log, not on the wire."""
        _log.exception("http_failed", exc_info=error)
        return PlainTextResponse("Internal error\n", status_code=500, headers=_HEADERS)

    return Starlette(routes=setup_routes(setup, clock), exception_handlers={Exception: failed})


def setup_routes(setup: ClientSetup, clock: Clock) -> list[Route]:
    """The pages; none where no mail service is offered to users."""
    if not setup.imap or not setup.submission:
        return []
    pages = _Pages(setup, clock)
    # Outlook writes the path in whatever case it likes.
    any_case: dict[tuple[str, str], _Page] = {
        ("GET", "mail/config-v1.1.xml"): pages.autoconfig,
        ("GET", "mail/apple.mobileconfig"): pages.profile,
        ("GET", "autodiscover/autodiscover.json"): pages.pointer,
        ("POST", "autodiscover/autodiscover.xml"): pages.autodiscover,
        ("GET", "autodiscover/autodiscover.xml"): pages.autodiscover,
    }

    async def versioned(request: Request) -> Response:
        document = f"{request.path_params['folder']}/{request.path_params['document']}".casefold()
        return await pages.pointer(request) if document == "autodiscover/autodiscover.json" else _not_found()

    async def page(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        path = f"{request.path_params['folder']}/{request.path_params['document']}".casefold()
        found = any_case.get((method, path))
        return await found(request) if found is not None else _not_found()

    return [
        Route("/.well-known/autoconfig/mail/config-v1.1.xml", pages.autoconfig),
        Route("/{folder}/{document}/v1.0/{address}", versioned),
        Route("/{folder}/{document}", page, methods=["GET", "POST"]),
    ]


class _Pages:
    """The handlers."""

    def __init__(self, setup: ClientSetup, clock: Clock) -> None:
        self._setup = setup
        self._clock = clock

    async def autoconfig(self, request: Request) -> Response:
        """By the address where it is given; newer clients name the domain by the host alone."""
        typed = _query(request, "emailaddress")
        asked = self._mailbox(typed)
        domain = asked.domain if asked is not None else None if typed else self._domain_of_host(request)
        if domain is None:
            return _not_found()
        return Response(client_config(self._setup, domain), headers=_HEADERS | {"Content-Type": _XML})

    async def profile(self, request: Request) -> Response:
        """For iPhone and Mac."""
        asked = self._mailbox(_query(request, "emailaddress"))
        if asked is None:
            return _not_found()
        told = {"Content-Type": CONTENT_TYPE, "Content-Disposition": 'attachment; filename="mail.mobileconfig"'}
        return Response(profile(self._setup, asked), headers=_HEADERS | told)

    async def pointer(self, request: Request) -> Response:
        """Autodiscover v2: only the first version's protocol is found here."""
        asked = self._mailbox(request.path_params.get("address") or _query(request, "email"))
        protocol = _query(request, "protocol")
        if asked is None:
            return _json(404, {"ErrorCode": "UserNotFound", "ErrorMessage": "The address is not of this service"})
        if protocol.casefold() != "autodiscoverv1":
            return _json(400, {"ErrorCode": "InvalidProtocol", "ErrorMessage": "Supported: AutodiscoverV1"})
        return _json(200, autodiscover.pointer(self._setup))

    async def autodiscover(self, request: Request) -> Response:
        """Autodiscover v1. Errors are documents too, with status 200, as its clients expect."""
        try:
            asked = autodiscover.read(await _body(request))
        except autodiscover.Unusable:
            return self._refusal(autodiscover.INVALID)
        if autodiscover.SCHEMA not in asked.schemas:
            return self._refusal(autodiscover.OTHER_SCHEMA)
        found = self._mailbox(asked.address)
        if found is None:
            return self._refusal(autodiscover.NOT_OURS)
        return Response(autodiscover.answer(self._setup, found), headers=_HEADERS | {"Content-Type": _XML})

    def _mailbox(self, typed: str) -> Mailbox | None:
        return mailbox(typed, self._setup.domains)

    def _refusal(self, why: tuple[int, str]) -> Response:
        content = autodiscover.refusal(*why, now=self._clock.now())
        return Response(content, headers=_HEADERS | {"Content-Type": _XML})

    def _domain_of_host(self, request: Request) -> str | None:
        host = request.headers.get("host", "").partition(":")[0].lower()
        ours = self._setup.domains
        return domain_of(host.removeprefix("autoconfig."), ours) or (ours[0] if len(ours) == 1 else None)


def _query(request: Request, name: str) -> str:
    """A parameter, whatever the case of its name."""
    return next((value for key, value in request.query_params.items() if key.casefold() == name), "")


async def _body(request: Request) -> bytes:
    """Invariant 2. Unusable."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for block in request.stream():
                body += block
                if len(body) > autodiscover.MOST:
                    raise autodiscover.Unusable("too long")
    except (TimeoutError, ClientDisconnect) as error:
        raise autodiscover.Unusable("cut") from error
    return bytes(body)


def _json(status: int, value: dict[str, str]) -> Response:
    content = msgspec.json.encode(value)
    return Response(content, status_code=status, headers=_HEADERS | {"Content-Type": "application/json"})


def _not_found() -> Response:
    return PlainTextResponse("Not found\n", status_code=404, headers=_HEADERS)
