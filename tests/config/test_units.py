"""Values with units: what an operator writes is what is meant."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.units import (
    Address,
    format_duration,
    format_size,
    parse_address,
    parse_domain,
    parse_duration,
    parse_host,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("1.5s", 1.5),
        ("10 m", 600),
        ("12h", 43_200),
        ("30d", 2_592_000),
        ("1w", 604_800),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "s", "-1s", "2 seconds", "2s2", "1e3s", "٣s", "inf", "2S"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="a time with a unit"):
        parse_duration(text)


@given(st.integers(0, 10**10))
def test_durations_are_printed_as_they_parse(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("512kB", 512_000), ("50MB", 50_000_000), ("1GiB", 2**30), ("1.5MB", 1_500_000)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "50", "50mb", "MB", "-1B", "50 megabytes"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="a size with a unit"):
        parse_size(text)


@given(st.integers(0, 10**14))
def test_sizes_are_printed_as_they_parse(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:25", "0.0.0.0", 25),
        ("[::]:25", "::", 25),
        ("[2001:db8::1]:0", "2001:db8::1", 0),
        ("localhost:8080", "localhost", 8080),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("text", ["25", ":25", "0.0.0.0", "0.0.0.0:", "::1:25", "a b:25", "h:65536", "[::g]:1", "h:²"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match='"'):
        parse_address(text)


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_every_address_is_printed_as_it_parses(address: ipaddress.IPv4Address, port: int) -> None:
    made = Address(str(address), port)
    assert parse_address(str(made)) == made


def test_hosts_and_domains() -> None:
    assert parse_host("mx1.example.org.") == "mx1.example.org"
    assert parse_host("2001:DB8::1") == "2001:db8::1"
    assert parse_domain("Bücher.Example.") == "xn--bcher-kva.example"
    for text in ("", "a b", "-a", "a\r\nb", "x" * 64 + ".org\n", "../etc"):
        with pytest.raises(ValueError, match="neither"):
            parse_host(text)
    for text in ("", ".", "a b", "a@b", "a..b"):
        with pytest.raises(ValueError, match="domain"):
            parse_domain(text)
