"""Mozilla's autoconfig, version 1.1 (Thunderbird, K-9, Evolution, KMail and others). Leaves: an XML document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from relay.control.setup.settings import ClientSetup, Security, Server

_SOCKET = {Security.IMPLICIT: "SSL", Security.STARTTLS: "STARTTLS"}
_USERNAME = {"address": "%EMAILADDRESS%", "local": "%EMAILLOCALPART%"}
"""Filled in by the client: the answer is the same for everybody in a domain."""


def client_config(setup: ClientSetup, domain: str) -> bytes:
    """The document for a domain of ours."""
    return "\n".join(_lines(setup, domain)).encode()


def _lines(setup: ClientSetup, domain: str) -> Iterator[str]:
    title = escape(setup.title(domain))
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<clientConfig version="1.1">'
    yield f" <emailProvider id={quoteattr(domain)}>"
    yield f"  <domain>{escape(domain)}</domain>"
    yield f"  <displayName>{title}</displayName>"
    yield f"  <displayShortName>{title}</displayShortName>"
    for server in setup.imap:
        yield from _server("incomingServer", "imap", server, setup)
    for server in setup.submission:
        yield from _server("outgoingServer", "smtp", server, setup)
    yield " </emailProvider>"
    yield "</clientConfig>\n"


def _server(
    element: Literal["incomingServer", "outgoingServer"], kind: str, server: Server, setup: ClientSetup
) -> Iterator[str]:
    yield f'  <{element} type="{kind}">'
    yield f"   <hostname>{escape(server.host)}</hostname>"
    yield f"   <port>{server.port}</port>"
    yield f"   <socketType>{_SOCKET[server.security]}</socketType>"
    yield "   <authentication>password-cleartext</authentication>"
    yield f"   <username>{_USERNAME[setup.username]}</username>"
    yield f"  </{element}>"
