"""The kinds of values that keys have, as annotated types: text from the operator in, typed values out."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
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

    @field_validator("*")
    @classmethod
    def _within(cls, value: Any, info: ValidationInfo) -> Any:
        """The limits of times and sizes: those of numbers are the validator's own, but say nothing about units."""
        limits = limits_of(cls.model_fields[info.field_name or ""])
        if value is not None and limits is not None:
            for wanted, most, below in ((limits.least, False, "less"), (limits.most, True, "more")):
                if wanted is not None and ((value > _quantity(wanted)) if most else (value < _quantity(wanted))):
                    written = format_duration(value) if isinstance(value, float) else format_size(value)
                    hint = f'Write "{wanted}" or {"less" if most else "more"}'
                    raise wrong(f'"{written}" is {below} than "{wanted}"', hint)
        return value


class Limits(NamedTuple):
    """The least and the most that a time or a size may be, as the operator writes them."""

    least: str | None
    most: str | None


def limits_of(info: FieldInfo) -> Limits | None:
    """Of a key that is a time or a size."""
    extra = info.json_schema_extra
    if not isinstance(extra, dict):
        return None
    least, most = extra.get("least"), extra.get("most")
    return Limits(least if isinstance(least, str) else None, most if isinstance(most, str) else None)


def _quantity(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        return parse_size(text)


def key(
    default: Any,
    description: str,
    *,
    example: Any = None,
    least: str | None = None,
    most: str | None = None,
    **limits: Any,
) -> Any:
    """One key. `default` is written as the operator would; `example` is what the sample shows instead of it.

    `least` and `most` are for times and sizes ("100ms", "64kB"), which are printed with them.
    """
    return Field(
        default,
        description=" ".join(description.split()),
        examples=None if example is None else [example],
        json_schema_extra={"least": least, "most": most} if least or most else None,
        **limits,
    )


def _from_text(parse: Callable[[str], T], kind: type | UnionType, *, such_as: str, unit: str = "") -> BeforeValidator:
    """Text is parsed; what is already of the kind (a default that was validated before) passes."""

    def validate(given: Any) -> Any:
        if isinstance(given, str):
            try:
                return parse(given)
            except ValueError as error:
                raise wrong(str(error), f"Write {such_as}") from None
        if isinstance(given, kind) and not isinstance(given, bool | int | float):
            return given
        if unit and isinstance(given, int | float) and not isinstance(given, bool):
            raise wrong(
                f"{given!r} is not text", f'Write it in quotes, with its unit where it has one: "{given}{unit}"'
            )
        raise wrong(f"{given!r} is not text", f"Write it in quotes: {such_as}")

    return BeforeValidator(validate)


def _file(given: Any) -> Any:
    if isinstance(given, Path) or (isinstance(given, str) and given and "\0" not in given):
        return given
    problem = "is empty" if given == "" else f"{given!r} is not a path"
    raise wrong(problem, "Write a path in quotes, or leave the key out where there is no file")


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
Duration: TypeAlias = Annotated[
    float, _from_text(parse_duration, float, such_as='"2s", "10m" or "30d"', unit="s"), PlainSerializer(format_duration)
]
"""Seconds."""
Size: TypeAlias = Annotated[
    int, _from_text(parse_size, int, such_as='"512kB" or "50MB"', unit="MB"), PlainSerializer(format_size)
]
"""Bytes."""
Host: TypeAlias = Annotated[str, _from_text(parse_host, str, such_as='"mx1.example.org" or "10.0.0.5"')]
Domain: TypeAlias = Annotated[str, _from_text(parse_domain, str, such_as='"example.org"')]
Port: TypeAlias = Annotated[int, BeforeValidator(_port)]
Bind: TypeAlias = Annotated[
    Address, _from_text(parse_address, Address, such_as='"0.0.0.0:25" or "[::]:25"'), PlainSerializer(str)
]
Binds: TypeAlias = Annotated[tuple[Bind, ...], BeforeValidator(split_list)]
Domains: TypeAlias = Annotated[tuple[Domain, ...], BeforeValidator(split_list)]
Range: TypeAlias = Annotated[
    Network, _from_text(parse_network, Network, such_as='"10.0.0.0/8" or "2001:db8::/32"'), PlainSerializer(str)
]
Networks: TypeAlias = Annotated[tuple[Range, ...], BeforeValidator(split_list)]
File: TypeAlias = Annotated[Path, BeforeValidator(_file), PlainSerializer(str)]
