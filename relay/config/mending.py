"""Values for what could not be read, so that the rest of a configuration can be judged too. Pure.

What was mended is named, and nothing that rests on it is believed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from relay.config.faults import example, section_at


def mended(
    data: dict[str, Any], errors: Iterable[ErrorDetails], root: type[BaseModel]
) -> tuple[dict[str, Any], set[str]]:
    """A copy without the values that the errors are about, and the dotted keys that were touched."""
    data = copy.deepcopy(data)
    touched = set()
    for error in errors:
        path = _whole(error["loc"])
        if not path:
            continue
        touched.add(".".join(path))
        inside: Any = data
        for part in path[:-1]:
            inside = inside.setdefault(part, {}) if isinstance(inside, dict) else {}
        if not isinstance(inside, dict):
            continue
        inside.pop(path[-1], None)
        section = section_at(root, path[:-1])
        info = section.model_fields.get(path[-1]) if section is not None else None
        if info is not None and info.is_required():
            inside[path[-1]] = example(info) if info.examples else {}
    return data, touched


def rests_on(keys: Iterable[str], touched: Iterable[str]) -> bool:
    """Whether one of the keys was touched, as itself or as a part of a section that was."""
    wrong = set(touched)
    return any(key == one or key.startswith(f"{one}.") for key in keys for one in wrong)


def _whole(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Up to the first list: a list with a bad element is bad."""
    path: list[str] = []
    for part in location:
        if isinstance(part, int):
            break
        path.append(part)
    return tuple(path)
