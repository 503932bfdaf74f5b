"""A log in memory, read as the values of its lines."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import structlog

from relay.obs import logs
from relay.obs.logs import Level, LogSettings, configure


class Written:
    """What was written."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        """As it stands."""
        return self.stream.getvalue()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Of one event, or all of them."""
        found: list[dict[str, Any]] = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in found if event in (None, line["event"])]

    def short(self, event: str, *keys: str) -> list[tuple[Any, ...]]:
        """Some values of each line of an event."""
        return [tuple(line.get(key) for key in keys) for line in self.lines(event)]


@contextlib.contextmanager
def written(level: Level = "debug") -> Iterator[Written]:
    """The log of this process goes there, and nowhere afterwards."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    into = Written()
    configure(LogSettings(level=level, json=True, node="edge-1"), into.stream)
    try:
        yield into
    finally:
        logs.forget()
        structlog.reset_defaults()
        root.handlers[:] = handlers
