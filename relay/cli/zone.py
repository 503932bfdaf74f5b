"""The second half of `relay check`: the DNS records that lead mail clients here, beside what the DNS says today.

Hints, never failures: who publishes no such record has users who type the server names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from relay.cli.common import safe, table

if TYPE_CHECKING:
    from rich.table import Table

    from relay.config import Config
    from relay.control.setup.records import Record
    from relay.primary.lookup import Dns

_DNS_SECONDS = 3.0


class ZoneLine(msgspec.Struct, frozen=True):
    """One record to set."""

    name: str
    kind: str
    value: str
    now: Literal["set", "missing", "different", "not asked", "no answer"]
    found: tuple[str, ...] = ()
    """What the DNS has instead."""


async def zone_lines(config: Config, *, ask_dns: bool) -> list[ZoneLine]:
    """Every record for the domains of the configuration; none where users are not served."""
    from relay import wiring
    from relay.control.setup.records import records
    from relay.primary.lookup import Dns

    setup = wiring.client_setup(config)
    if not setup.imap and not setup.submission:
        return []
    wanted = list(records(setup))
    if not ask_dns:
        return [ZoneLine(one.name, one.kind, one.value, "not asked") for one in wanted]
    try:
        resolver = Dns(_DNS_SECONDS)
    except OSError:
        return [ZoneLine(one.name, one.kind, one.value, "no answer") for one in wanted]
    return list(await asyncio.gather(*(_compare(resolver, one) for one in wanted)))


def as_table(lines: Sequence[ZoneLine]) -> Table:
    """For people; the first three columns can be pasted into a zone file."""
    shown = table("DNS to set", "", "", "now")
    for line in lines:
        told = f"{line.now}: {', '.join(line.found)}" if line.found else line.now
        shown.add_row(safe(line.name), f"IN {line.kind}", safe(line.value), safe(told))
    return shown


async def _compare(resolver: Dns, wanted: Record) -> ZoneLine:
    found = await resolver.records(wanted.name, wanted.kind)
    if found is None:
        return ZoneLine(wanted.name, wanted.kind, wanted.value, "no answer")
    if found == [wanted.value.lower()]:
        return ZoneLine(wanted.name, wanted.kind, wanted.value, "set")
    if wanted.kind == "CNAME" and not found:
        # An address of its own does as well, if it is the same one.
        ours, theirs = await resolver.addresses(wanted.name), await resolver.addresses(wanted.value)
        if ours:
            same = set(ours) == set(theirs or ())
            return ZoneLine(wanted.name, wanted.kind, wanted.value, "set" if same else "different", tuple(sorted(ours)))
    now: Literal["different", "missing"] = "different" if found else "missing"
    return ZoneLine(wanted.name, wanted.kind, wanted.value, now, tuple(found))
