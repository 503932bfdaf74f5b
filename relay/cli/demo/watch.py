"""Looks at both nodes several times a second, as an operator's monitoring would, and puts what it sees on the board."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

from relay.cli.demo.board import Board, Kind, Sample
from relay.cli.demo.site import HOST, Site
from relay.cli.demo.traffic import Traffic

_INTERVAL = 0.2
_DEADLINE = 2.0
_OWED = ("pending", "intent", "unknown", "held", "quarantined")


class Watcher:
    """A thread that samples until `stop`."""

    def __init__(self, site: Site, traffic: Traffic, board: Board) -> None:
        self._site, self._traffic, self._board = site, traffic, board
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def start(self) -> None:
        """From now on the board is fresh."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the sample under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        mode = ""
        while not self._stop.wait(_INTERVAL):
            sample = self._sample()
            self._board.put(sample)
            if sample.mode != mode:
                if mode:
                    self._board.say(f"the relay's mode: {mode.upper()} → {sample.mode.upper()}", _KIND[sample.mode])
                mode = sample.mode

    def _sample(self) -> Sample:
        """One look; what could not be asked stays as it was."""
        before = self._board.now
        relay = status(self._site.relay.http_port)
        primary = status(self._site.primary.http_port) if self._site.primary.running else None
        return Sample(
            at=self._board.elapsed,
            mode=smtp_mode(relay) if relay else before.mode,
            waiting=owed(relay, before.waiting),
            accepted=len(self._traffic.accepted),
            present=owed(primary, before.present),
            primary_up=primary is not None,
        )


_KIND = {"normal": Kind.GOOD, "suspect": Kind.NOTE, "standby": Kind.BAD, "recovery": Kind.GOOD}


def status(port: int) -> dict[str, Any] | None:
    """`/api/v1/status` of a node; None when it does not answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_DEADLINE)
    try:
        connection.request("GET", "/api/v1/status")
        answer = connection.getresponse()
        body = answer.read()
        return dict(json.loads(body)) if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def smtp_mode(node: dict[str, Any]) -> str:
    """Mode of the service that carries mail."""
    return str(node["modes"]["smtp"]["mode"])


def owed(node: dict[str, Any] | None, before: int) -> int:
    """Messages that a node holds for somebody; `before` when it cannot say. One without a primary holds all it got."""
    if node is None or node["queue"] is None:
        return before
    return sum(int(node["queue"][state]["items"]) for state in _OWED)
