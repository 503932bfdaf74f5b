"""Values with units, as an operator writes them: "2s", "30d", "50MB", "0.0.0.0:25".

Pure: text in, numbers out, and back. `parse_x(format_x(v)) == v`. ValueError carries a text for the operator.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_BYTES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([A-Za-z]{1,3})")
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Address(NamedTuple):
    """Where a listener is bound."""

    host: str
    """IP address, or a name that the system resolves; no brackets."""
    port: int
    """0 = any free port."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_duration(text: str) -> float:
    """Seconds of "500ms", "2s", "10m", "12h", "30d", "2w"."""
    amount, factor = _quantity(text, _SECONDS, 'a time with a unit, such as "2s", "10m" or "30d"')
    return round(amount * factor, 6)


def format_duration(seconds: float) -> str:
    """The shortest text that means the same."""
    for unit in ("d", "h", "m", "s"):  # not weeks: "14d" is how retention is spoken of
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    milliseconds = seconds * 1000
    return "0s" if not seconds else f"{milliseconds:.3f}".rstrip("0").rstrip(".") + "ms"


def parse_size(text: str) -> int:
    """Bytes of "512kB", "50MB", "1GiB"."""
    amount, factor = _quantity(text, _BYTES, 'a size with a unit, such as "50MB" or "1GiB"')
    return int(amount * factor)


def format_size(size: int) -> str:
    """The shortest text that means the same."""
    for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "kB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def parse_address(text: str) -> Address:
    """Host and port of "0.0.0.0:25", "[::1]:25", "localhost:8080"."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ValueError(f'"{text}" is not host:port, such as "0.0.0.0:25" or "[::]:25"')
    if host.startswith("[") and host.endswith("]"):
        try:
            return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        except ValueError:
            raise ValueError(f'"{host}" is not an IPv6 address') from None
    if ":" in host:
        raise ValueError(f'"{text}": write an IPv6 address in brackets, such as "[{host}]:{port}"')
    return Address(parse_host(host), int(port))


def parse_host(text: str) -> str:
    """An IP address or a host name, without a trailing dot."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    name = text.removesuffix(".")
    if not _is_host(name):
        raise ValueError(f'"{text}" is neither a host name nor an IP address')
    return name


def parse_domain(text: str) -> str:
    """A domain as it is compared: lower case, A-labels, no trailing dot."""
    try:
        name = text.strip().removesuffix(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError(f'"{text}" is not a domain name') from None
    if not _is_host(name):
        raise ValueError(f'"{text}" is not a domain name')
    return name


def parse_network(text: str) -> Network:
    """An address range such as "10.0.0.0/8"."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError:
        raise ValueError(f'"{text}" is not a network, such as "10.0.0.0/8" or "2001:db8::/32"') from None


def _is_host(name: str) -> bool:
    return 0 < len(name) <= 253 and all(map(_LABEL.fullmatch, name.split(".")))


def _quantity(text: str, units: Mapping[str, float], wanted: str) -> tuple[float, float]:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units:
        raise ValueError(f'"{text}" is not {wanted}; units: {", ".join(units)}')
    return float(match[1]), units[match[2]]
