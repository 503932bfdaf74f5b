"""From a TOML file and the environment to a `Config`, or to every fault at once."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from relay.config.faults import ConfigFaults, Fault, nearest
from relay.config.model import Config

_PREFIX = "RELAY_"
_MAX_BYTES = 1_000_000


def load(path: Path | None) -> Config:
    """Read `path` (None = the environment alone), let the environment win, check. Raises ConfigFaults."""
    data = _read(path) if path is not None else {}
    faults = _strange_variables()
    try:
        config = Config(**data)
    except ConfigFaults as more:
        raise ConfigFaults([*faults, *more.faults]) from None
    if faults:
        raise ConfigFaults(faults)
    return config


def parse(text: str) -> Config:
    """A configuration from the text of a file; raises ConfigFaults."""
    return Config(**_toml(text, "configuration"))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES)
    except OSError as error:
        hint = "Print one with: relay config sample" if isinstance(error, FileNotFoundError) else ""
        raise ConfigFaults([Fault(str(path), f"cannot be read ({error.strerror})", hint)]) from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigFaults([Fault(str(path), "is not UTF-8", "Save it as UTF-8 text")]) from None
    return _toml(text, str(path))


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigFaults([Fault(name, f"is not TOML: {error}", 'Strings need quotes: name = "edge-1"')]) from None


def _strange_variables() -> list[Fault]:
    """Variables that look like keys of a section that does not exist: without this they would be passed over."""
    sections = [name.upper() for name in Config.model_fields]
    faults = []
    for name in sorted(os.environ):
        head, delimiter, _ = name.removeprefix(_PREFIX).partition("__")
        if name.startswith(_PREFIX) and delimiter and head.upper() not in sections:
            faults.append(Fault(name, "no such section", nearest(head.upper(), sections)))
    return faults
