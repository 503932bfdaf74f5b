"""Secrets come from files, so that they are in no command line, environment or configuration file."""

from __future__ import annotations

from pathlib import Path

from relay.core.errors import ConfigFault

_MAX_BYTES = 4096


def read_secret(path: Path, key: str) -> str:
    """The first line of a secret file; ConfigFault names `key` and the remedy, never the content."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigFault(f"{key}: {path} cannot be read ({error.strerror}). Let the relay's user read it") from None
    if len(raw) > _MAX_BYTES:
        raise ConfigFault(f"{key}: {path} is too long for a password. Name the right file")
    lines = raw.splitlines()
    if not lines or not lines[0]:
        raise ConfigFault(f"{key}: {path} is empty. Write the password into its first line")
    try:
        return lines[0].decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigFault(f"{key}: {path} is not UTF-8 text. Save it as UTF-8") from None
