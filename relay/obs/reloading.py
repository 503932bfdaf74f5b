"""HUP: files are read again one after another; one that does not load stops no other, is logged, and stays counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from prometheus_client import Gauge

from relay.core.errors import ConfigFault
from relay.obs.instruments import Family, Maker
from relay.obs.logs import logger

Part = Literal["tls", "keys", "recipients"]

_log = logger("reloading")


def reload_failed(make: Maker) -> Family[Part, Gauge]:
    """A gauge and no counter: the old file stays in use until a later reload succeeds, and so does the alert."""
    return make.gauges(
        "relay_node_reload_failed",
        "Workers that keep an older file in use because the newer one did not load: 'tls' the certificates, 'keys' the "
        "key file, 'recipients' the valid addresses. Not 0: the log says why (not_reloaded). Mend it, send HUP.",
        part=get_args(Part),
    )


class Reloading:
    """What one worker reads again."""

    def __init__(
        self,
        failed: Family[Part, Gauge],
        *,
        tls: Callable[[], None],
        keys: Callable[[], None],
        recipients: Callable[[], None],
    ) -> None:
        """Each reads its files again, or raises ConfigFault and keeps what it had."""
        self._parts: dict[Part, Callable[[], None]] = {"tls": tls, "keys": keys, "recipients": recipients}
        self._failed = failed

    def all(self) -> None:
        """Once through all of them."""
        for part, read in self._parts.items():
            try:
                read()
            except ConfigFault as fault:
                self._failed[part].set(1)
                _log.error("not_reloaded", part=part, problem=str(fault), remedy="mend it, then reload again (HUP)")
            else:
                self._failed[part].set(0)
                _log.info("reloaded", part=part)
