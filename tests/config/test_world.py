"""The section about mail for the world, and the settings that it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.config import ConfigFaults
from relay.config.load import parse
from relay.core.errors import ConfigFault
from relay.primary.settings import TlsMode
from relay.wiring_world import way_out

NODE = '[node]\nhostname = "mx1.example.org"\n'


def test_nothing_said_is_mx_with_every_protection() -> None:
    config = parse(NODE)
    settings = way_out(config)
    assert settings.world.smarthost is None
    assert settings.world.hostname == "mx1.example.org"
    assert (settings.world.mta_sts, settings.world.dane, settings.dns.validates) == (True, True, False)
    assert settings.keys == ()


def test_addresses_that_are_listened_on_are_our_own() -> None:
    text = (
        f'{NODE}[domains]\naccept = ["example.org"]\n[listen]\nmx = ["192.0.2.25:25", "0.0.0.0:2525", "localhost:26"]\n'
    )
    assert way_out(parse(text)).world.own_addresses == ("192.0.2.25",)


def test_everything_said(tmp_path: Path) -> None:
    secret, key = tmp_path / "secret", tmp_path / "dkim.pem"
    secret.write_text("open sesame\n")
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    text = f"""{NODE}
        [world]
        hold = true
        dns_servers = ["127.0.0.1", "::1"]
        dns_validates = true
        own_addresses = ["192.0.2.25"]
        [world.smarthost]
        host = "smtp.example.net"
        tls = "implicit"
        port = 465
        user = "relay"
        password_file = "{secret}"
        connections = 3
        [[world.dkim]]
        domain = "example.org"
        selector = "standby"
        key_file = "{key}"
        """
    config = parse(text)
    settings = way_out(config)
    smarthost = settings.world.smarthost
    assert smarthost is not None
    assert (smarthost.endpoint.host, smarthost.endpoint.port) == ("smtp.example.net", 465)
    assert smarthost.endpoint.tls is TlsMode.IMPLICIT
    assert smarthost.credentials is not None
    assert smarthost.credentials.password == "open sesame"
    assert settings.world.pool.connections == settings.world.connections == 3
    assert settings.world.own_addresses == ("192.0.2.25",)
    assert (settings.dns.servers, settings.dns.validates) == (("127.0.0.1", "::1"), True)
    assert [(one.domain, one.selector, one.key.algorithm) for one in settings.keys] == [
        ("example.org", "standby", "ed25519-sha256")
    ]
    key.write_text("nonsense")
    with pytest.raises(ConfigFault, match=r"^world\.dkim\.key_file: no private key"):
        way_out(config)
    key.unlink()
    with pytest.raises(ConfigFault, match=r"^world\.dkim\.key_file: .* cannot be read"):
        way_out(config)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ('dns_servers = ["dns.example.org"]', "is not an IP address"),
        ('own_addresses = ["192.0.2.0/24"]', "is not an IP address"),
        ('[world.smarthost]\nhost = "a.example"\nuser = "x"', "user needs password_file"),
        ('[world.smarthost]\nhost = "a.example"\nuser = "x"\npassword_file = "p"\ntls = "none"', "out in clear"),
    ],
)
def test_what_cannot_be_meant(lines: str, fault: str) -> None:
    with pytest.raises(ConfigFaults, match=fault):
        parse(f"{NODE}[world]\n{lines}\n")
