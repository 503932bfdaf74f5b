"""What is wrong with a configuration, all at once, in the operator's words."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

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


def translate(error: ValidationError, root: type[BaseModel], environ: Mapping[str, str]) -> list[Fault]:
    """Pydantic's findings as faults, in the order of the structure."""
    return [_fault(details, root, environ) for details in error.errors(include_url=False)]


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for an unknown key."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else f"Known here: {', '.join(known)}"


def _fault(details: ErrorDetails, root: type[BaseModel], environ: Mapping[str, str]) -> Fault:
    path = details["loc"]
    dotted = ".".join(f"[{part}]" if isinstance(part, int) else part for part in path)
    key = dotted.replace(".[", "[") or "configuration"
    section = _section(root, path[:-1])
    problem, hint = _words(details, section, path)
    variable = "RELAY_" + "__".join(str(part).upper() for part in path if isinstance(part, str))
    if variable in environ:
        hint = f"{hint}{' ' if hint else ''}(it was set by {variable})"
    return Fault(key, problem, hint)


def _words(details: ErrorDetails, section: type[BaseModel] | None, path: tuple[int | str, ...]) -> tuple[str, str]:
    context: dict[str, Any] = details.get("ctx", {})
    given = details["input"]
    match details["type"]:
        case "relay":
            return context["problem"], context["hint"]
        case "extra_forbidden":
            return "no such key", nearest(str(path[-1]), list(section.model_fields) if section else [])
        case "missing":
            info = section.model_fields.get(str(path[-1])) if section else None
            return "missing", f"Write {path[-1]} = {toml_value(example(info))}" if info else ""
        case "literal_error" | "enum":
            return f"{_shown(given)} is not possible", f"Choose {context['expected']}"
        case "model_type" | "model_attributes_type" | "dict_type":
            name = ".".join(part for part in path if isinstance(part, str))
            return (
                "must be a section",
                f"Write {f'[[{name}]]' if isinstance(path[-1], int) else f'[{name}]'} and its keys below",
            )
        case _:
            message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return f"{_shown(given)}: {message}", ""


def _section(root: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
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


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."
