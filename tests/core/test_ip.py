"""One reading of an address, however it is written."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from relay.core.ip import is_loopback, parsed


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1", "::1"),
    ],
)
def test_an_address_is_read(text: str, address: str) -> None:
    assert parsed(text) == ip_address(address)


@pytest.mark.parametrize("text", ["", "mx1.example.org", "192.0.2", "192.0.2.1:25", "[::1]", "%eth0"])
def test_what_is_none_is_none(text: str) -> None:
    assert parsed(text) is None


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("2001:db8::1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_this_machine_is_told_from_others(text: str, here: bool) -> None:
    assert is_loopback(text) is here
