"""The DNS records that lead a mail client here (RFC 6186, RFC 8314 5.1), for the operator to set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from relay.control.setup.settings import ClientSetup, Security, Server

_HTTPS = 443


class Record(msgspec.Struct, frozen=True):
    """One record as a zone file writes it, without the class; names end in a dot."""

    name: str
    kind: Literal["SRV", "CNAME"]
    value: str


def records(setup: ClientSetup) -> Iterator[Record]:
    """Every record, domain by domain."""
    for domain in setup.domains:
        yield _service("_imaps", domain, _of(setup.imap, Security.IMPLICIT), 0)
        yield _service("_imap", domain, _of(setup.imap, Security.STARTTLS), 10)
        yield _service("_submissions", domain, _of(setup.submission, Security.IMPLICIT), 0)
        yield _service("_submission", domain, _of(setup.submission, Security.STARTTLS), 10)
        yield Record(f"_autodiscover._tcp.{domain}.", "SRV", f"0 1 {_HTTPS} {setup.web_host}.")
        for alias in ("autoconfig", "autodiscover"):
            yield Record(f"{alias}.{domain}.", "CNAME", f"{setup.web_host}.")


def _service(label: str, domain: str, server: Server | None, priority: int) -> Record:
    # RFC 6186 3.4: a service that is not there is said to be not there.
    value = f"{priority} 1 {server.port} {server.host}." if server else "0 0 0 ."
    return Record(f"{label}._tcp.{domain}.", "SRV", value)


def _of(servers: Sequence[Server], security: Security) -> Server | None:
    return next((server for server in servers if server.security is security), None)
