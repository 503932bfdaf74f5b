"""The section about mail that users send while the primary is away."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BeforeValidator

from relay.config.faults import wrong
from relay.config.sections import UpstreamSection
from relay.config.types import REQUIRED, Domain, Domains, File, Port, Section, key, split_list
from relay.primary.settings import TlsMode


def _addresses(given: object) -> object:
    listed = split_list(given)
    for one in listed if isinstance(listed, list | tuple) else ():
        try:
            ipaddress.ip_address(one)
        except ValueError:
            raise wrong(f"{one!r} is not an IP address", 'Write "192.0.2.1" or "2001:db8::1"') from None
    return listed


Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]


class SmarthostSection(UpstreamSection):
    """A server that all mail to the world goes through. Without it, mail goes to the MX of each domain."""

    port: Port = key(587, "Port.")
    tls: TlsMode = key("starttls", "As for primary.smtp.")
    user: str = key("", "Login; empty = none. PLAIN or LOGIN, whichever the server has.", example="relay")
    password_file: File | None = key(None, "Its password.", example="/run/secrets/smarthost")
    connections: int = key(10, "Connections at a time.", ge=1, le=1000)


class DkimSection(Section):
    """A key that mail is signed with."""

    domain: Domain = key(REQUIRED, "Mail with a From address of this domain or below it.", example="example.org")
    selector: Domain = key(REQUIRED, "The key is published at selector._domainkey.domain.", example="standby")
    key_file: File = key(REQUIRED, "RSA or Ed25519, PEM.", example="/run/secrets/dkim-example.org.pem")


class WorldSection(Section):
    """Mail that users send to other domains while the primary is away."""

    hold: bool = key(False, "Keep it for the primary instead of sending it.")
    smarthost: SmarthostSection | None = None
    port: Port = key(25, "Where MX hosts are connected to.")
    mta_sts: bool = key(True, "Keep to the policies that domains publish (MTA-STS).")
    dane: bool = key(True, "Keep to TLSA records; takes effect with dns_validates only.")
    dns_servers: Addresses = key([], "Name servers that are asked; empty = the system's.", example=["127.0.0.1"])
    dns_port: Port = key(53, "Their port.")
    dns_validates: bool = key(
        False,
        """The name servers validate DNSSEC and nobody can come between them and us (a resolver on this host): their
        word is trusted.""",
    )
    own_names: Domains = key(
        [],
        "Further names that MX records may call this relay by: never delivered to; their postmaster is ours.",
        example=["mx2.example.org"],
    )
    own_addresses: Addresses = key(
        [],
        "Addresses of this relay, the same; those that listen.mx names need not be repeated.",
        example=["192.0.2.25"],
    )
    connections: int = key(40, "Connections at a time, over all servers.", ge=1, le=1000)
    dkim: Annotated[tuple[DkimSection, ...], BeforeValidator(split_list)] = key(
        [],
        """Keys that mail is signed with; all of those of the nearest domain sign. May also be written as [[world.dkim]]
        tables.""",
        example=[
            {"domain": "example.org", "selector": "standby", "key_file": "/run/secrets/dkim-example.org.pem"},
        ],
    )
