"""The kinds of values that keys have, as annotated types: text from the operator in, typed values out."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic_core import PydanticUndefined

from relay.config.faults import wrong
from relay.config.units import (
    Address,
    Network,
    format_duration,
    format_size,
    parse_address,
    parse_domain,
    parse_duration,
    parse_host,
    parse_network,
    parse_size,
)

T = TypeVar("T")
REQUIRED = PydanticUndefined
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Section(BaseModel):
    """A group of keys: no unknown ones, not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=False)


def key(default: Any, description: str, *, example: Any = None, **limits: Any) -> Any:
    """One key. `default` is written as the operator would; `example` is what the sample shows instead of it."""
    return Field(
        default, description=" ".join(description.split()), examples=None if example is None else [example], **limits
    )


def _from_text(parse: Callable[[str], T], kind: type | UnionType) -> BeforeValidator:
    """Text is parsed; what is already of the kind (a default that was validated before) passes."""

    def validate(given: Any) -> Any:
        if isinstance(given, str):
            try:
                return parse(given)
            except ValueError as error:
                raise wrong(str(error)) from None
        if isinstance(given, kind) and not isinstance(given, bool | int | float):
            return given
        raise wrong(f"{given!r} is not text", f'Write it in quotes, with its unit where it has one: "{given}s"')

    return BeforeValidator(validate)


def split_list(given: Any) -> Any:
    """From the environment a list comes as "a, b" or as JSON."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        try:
            return json.loads(given)
        except ValueError:
            raise wrong(f"{given!r} is not a list", 'Write ["a", "b"] or: a, b') from None
    return [part.strip() for part in given.split(",") if part.strip()]


def _port(given: Any) -> Any:
    if isinstance(given, str) and given.isascii() and given.isdigit():
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= 65_535:
        return given
    raise wrong(f"{given!r} is not a port", "Write a number from 1 to 65535")


def _node_name(given: Any) -> Any:
    if given == "":
        given = platform.node().partition(".")[0] or "relay"
    if isinstance(given, str) and _NAME.fullmatch(given):
        return given
    raise wrong(f"{given!r} is not a name", "Write letters, digits and . _ -, 64 at most")


NodeName: TypeAlias = Annotated[str, BeforeValidator(_node_name)]
Duration: TypeAlias = Annotated[float, _from_text(parse_duration, float), PlainSerializer(format_duration)]
"""Seconds."""
Size: TypeAlias = Annotated[int, _from_text(parse_size, int), PlainSerializer(format_size)]
"""Bytes."""
Host: TypeAlias = Annotated[str, _from_text(parse_host, str)]
Domain: TypeAlias = Annotated[str, _from_text(parse_domain, str)]
Port: TypeAlias = Annotated[int, BeforeValidator(_port)]
Bind: TypeAlias = Annotated[Address, _from_text(parse_address, Address), PlainSerializer(str)]
Binds: TypeAlias = Annotated[tuple[Bind, ...], BeforeValidator(split_list)]
Domains: TypeAlias = Annotated[tuple[Domain, ...], BeforeValidator(split_list)]
Range: TypeAlias = Annotated[Network, _from_text(parse_network, Network), PlainSerializer(str)]
Networks: TypeAlias = Annotated[tuple[Range, ...], BeforeValidator(split_list)]
File: TypeAlias = Annotated[Path, PlainSerializer(str)]
