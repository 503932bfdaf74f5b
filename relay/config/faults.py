"""What is wrong with a configuration, all at once, in the operator's words."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, get_args, get_origin

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticUndefinedType

from relay.core.errors import ConfigFault


class Fault(msgspec.Struct, frozen=True):
    """One problem and its remedy."""

    key: str
    """Dotted path, as in the file: `primary.smtp.port`."""
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}" + (f". {self.hint}" if self.hint else "")


class ConfigFaults(ConfigFault):
    """Every fault of a configuration."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def wrong(problem: str, hint: str = "") -> PydanticCustomError:
    """What a validator raises."""
    # The texts are handed over as values, so that braces in them are not taken for placeholders.
    return PydanticCustomError("relay", "{problem}", {"problem": problem, "hint": hint})


def translate(errors: Iterable[ErrorDetails], root: type[BaseModel], environ: Mapping[str, str]) -> list[Fault]:
    """Pydantic's findings as faults, in their order."""
    return [_fault(details, root, environ) for details in errors if not _is_section_missing(details, root)]


def dotted(path: tuple[int | str, ...]) -> str:
    """`listen.mx[0]`."""
    joined = ".".join(f"[{part}]" if isinstance(part, int) else part for part in path)
    return joined.replace(".[", "[") or "configuration"


def from_environment(path: str, hint: str, environ: Mapping[str, str]) -> str:
    """The hint, and which variable set the key if one did."""
    words = [word for part in path.split(".") if (word := part.partition("[")[0])]
    variable = "RELAY_" + "__".join(words).upper()
    return f"{hint} (it was set by {variable})".lstrip() if variable in environ else hint


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for an unknown key."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else f"Known here: {', '.join(known)}"


def _is_section_missing(details: ErrorDetails, root: type[BaseModel]) -> bool:
    """Of such a one the keys are named instead, which are missing as well."""
    path = details["loc"]
    section = section_at(root, path[:-1])
    info = section.model_fields.get(str(path[-1])) if section is not None and path else None
    return details["type"] == "missing" and info is not None and submodel(info) is not None


def _fault(details: ErrorDetails, root: type[BaseModel], environ: Mapping[str, str]) -> Fault:
    path = details["loc"]
    problem, hint = _words(details, section_at(root, path[:-1]), path)
    key = dotted(path)
    return Fault(key, problem, from_environment(key, hint, environ))


def _words(details: ErrorDetails, section: type[BaseModel] | None, path: tuple[int | str, ...]) -> tuple[str, str]:
    context: dict[str, Any] = details.get("ctx", {})
    given = details["input"]
    name = str(path[-1]) if path else ""
    info = section.model_fields.get(name) if section else None
    match details["type"]:
        case "relay":
            return context["problem"], context["hint"] or _example(name, info)
        case "extra_forbidden":
            return "no such key", nearest(name, list(section.model_fields) if section else [])
        case "missing":
            return "missing", _example(name, info)
        case "literal_error" | "enum":
            return f"{_shown(given)} is not possible", f"Choose {context['expected']}"
        case "model_type" | "model_attributes_type" | "dict_type":
            below = ".".join(part for part in path if isinstance(part, str))
            heading = f"[[{below}]]" if path and isinstance(path[-1], int) else f"[{below}]"
            return "must be a section", f"Write {heading} and its keys below"
        case "bool_type" | "bool_parsing":
            return f"{_shown(given)} is neither true nor false", "Write true or false, without quotes"
        case "int_type" | "int_parsing" | "int_from_float" | "int_parsing_size":
            return f"{_shown(given)} is not a whole number", _bounds(info)
        case "float_type" | "float_parsing" | "finite_number":
            return f"{_shown(given)} is not a number", _bounds(info)
        case "greater_than_equal":
            return f"{_shown(given)} is too small", _bounds(info)
        case "less_than_equal":
            return f"{_shown(given)} is too large", _bounds(info)
        case "string_type":
            return f"{_shown(given)} is not text", f'Write it in quotes: "{_plain(given)}"'
        case "string_too_long":
            return f"{_shown(given)} is too long", f"Write {context['max_length']} character or less"
        case "tuple_type":
            return f"{_shown(given)} is not a list", _example(name, info, listed=True)
        case _:
            message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return f"{_shown(given)}: {message}", _example(name, info)


def _example(name: str, info: FieldInfo | None, *, listed: bool = False) -> str:
    """`Write port = 25`, from the example or the default of a key."""
    value = example(info) if info is not None else None
    if isinstance(value, Enum):
        value = value.value
    if listed and not value:
        value = ["a", "b"]
    if value is None or isinstance(value, PydanticUndefinedType):
        return "See: relay config sample"
    return f"Write {name} = {toml_value(value)}"


def _bounds(info: FieldInfo | None) -> str:
    """`Write a number from 1 to 64`."""
    limits = info.metadata if info is not None else []
    least = next((limit.ge for limit in limits if hasattr(limit, "ge")), None)
    most = next((limit.le for limit in limits if hasattr(limit, "le")), None)
    if least is not None and most is not None:
        return f"Write a number from {least} to {most}"
    return f"Write {least} or more" if least is not None else "Write a number, without quotes"


def section_at(root: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that the path leads to; None where it leads into something else."""
    model: type[BaseModel] = root
    for part in path:
        if isinstance(part, int):
            continue  # a place in a list of sections
        info = model.model_fields.get(part)
        inner = (submodel(info) or element(info)) if info else None
        if inner is None:
            return None
        model = inner
    return model


def submodel(info: FieldInfo) -> type[BaseModel] | None:
    """The section that a field is, if it is one (`Section` or `Section | None`)."""
    return None if _is_list(info) else _first_model(info)


def element(info: FieldInfo) -> type[BaseModel] | None:
    """The section that a field is a list of, if it is one."""
    return _first_model(info) if _is_list(info) else None


def _is_list(info: FieldInfo) -> bool:
    return get_origin(info.annotation) is tuple


def _first_model(info: FieldInfo) -> type[BaseModel] | None:
    for candidate in (info.annotation, *get_args(info.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def example(info: FieldInfo) -> Any:
    """What the sample file shows for a key."""
    return info.examples[0] if info.examples else info.get_default(call_default_factory=False)


def toml_value(value: Any) -> str:
    """A value as TOML writes it (strings, numbers and booleans are JSON too)."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {toml_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _plain(given: object) -> str:
    return str(given).lower() if isinstance(given, bool) else str(given)


def _shown(given: object) -> str:
    text = _plain(given) if isinstance(given, bool) else repr(given)
    return text if len(text) <= 60 else text[:57] + "..."
