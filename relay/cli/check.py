"""`relay check`: tries what the configuration says, so that the first outage is not the first test.

Every step says what was tried and what came of it; `fail` means that it cannot work so, `warn` that it will hurt one
day. Nothing is changed, and no message is sent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from relay.cli.common import (
    OK,
    PROBLEM,
    become_owner,
    clock,
    config_option,
    console,
    data,
    json_option,
    load_config,
    print_json,
    run_async,
    safe,
    size,
    table,
)
from relay.cli.zone import ZoneLine, as_table, zone_lines
from relay.config import ConfigFaults
from relay.core.clock import SystemClock
from relay.core.errors import ConfigFault, Damaged, RelayError

if TYPE_CHECKING:
    from relay.config import Config

_DAY = 86_400
_CERTIFICATE_DAYS = 14
_DNS_SECONDS = 5.0
_PROBE_FACTOR = 3
"""A first look may be slower than a probe; more than this times failover.timeout is a failure."""


class Step(msgspec.Struct, frozen=True):
    """One thing that was tried."""

    what: str
    result: Literal["ok", "warn", "fail"]
    detail: str


@click.command()
@click.option("--no-dns", is_flag=True, help="Do not ask the DNS.")
@config_option
@json_option
def check(*, no_dns: bool, path: Path | None, as_json: bool) -> int:
    """Try the configuration, the key, the disk, the certificate, the primary, the token issuer and the DNS.

    Exit code 1 when something fails; warnings do not count.

    \b
    Example:
      relay check -c /etc/relay/relay.toml
    """
    zone: list[ZoneLine] = []
    try:
        config = load_config(path)
    except ConfigFaults as faults:
        steps = [Step(fault.key, "fail", f"{fault.problem}. {fault.hint}".strip()) for fault in faults.faults]
    else:
        steps, zone = run_async(_both(config, ask_dns=not no_dns))
    well = all(step.result != "fail" for step in steps)
    if as_json:
        print_json({"ok": well, "steps": steps, "dns_to_set": zone})
    else:
        shown = table("", "", "")
        for step in steps:
            shown.add_row(step.result.upper() if step.result != "ok" else "ok", safe(step.what), safe(step.detail))
        console().print(shown)
        if zone:
            console().print(as_table(zone))
    return OK if well else PROBLEM


async def _both(config: Config, *, ask_dns: bool) -> tuple[list[Step], list[ZoneLine]]:
    return await _check(config, ask_dns=ask_dns), await zone_lines(config, ask_dns=ask_dns)


async def _check(config: Config, *, ask_dns: bool) -> list[Step]:
    steps = [Step("configuration", "ok", "reads well")]
    steps += _files(config)
    steps += await _spool(config)
    steps += _certificates(config)
    steps += await _primary(config)
    steps += await _issuer(config)
    if ask_dns:
        steps += await _dns(config)
    return steps


def _files(config: Config) -> Iterator[Step]:
    """Whatever is named by a file must be readable; the key first of all."""
    from relay import wiring
    from relay.vault.keys import KeyRing

    become_owner(config.node.data_dir)
    try:
        ring = KeyRing.load(config.vault.key_file)
        yield Step("key file", "ok", f"{len(ring.names)} keys, {ring.active} is active")
    except ConfigFault as fault:
        yield Step("key file", "fail", str(fault))
    if config.domains.recipients_file is not None:
        try:
            yield Step("recipient list", "ok", f"{len(wiring.recipients(config))} addresses")
        except ConfigFault as fault:
            yield Step("recipient list", "fail", str(fault))


async def _spool(config: Config) -> list[Step]:
    from relay.control.disk import disk

    directory = config.node.data_dir
    try:
        room = disk(directory)
    except OSError as error:
        return [Step("data directory", "warn", f"{directory}: {error.strerror}; the first start makes it")]
    steps = []
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return [Step("data directory", "fail", f"{directory}: not ours to write. Let the relay's user own it")]
    enough = room.free_bytes > 2 * config.disk.reserve
    told = f"{size(room.free_bytes)} free of {size(room.size_bytes)}"
    steps.append(Step("data directory", "ok" if enough else "fail", told + ("" if enough else "; free some space")))
    if not config.database.exists():
        return [*steps, Step("spool", "ok", "is made by the first start")]
    try:
        async with data(config) as opened:
            owed = sum(count.items for state, count in (await opened.store.counts()).items() if state != "purged")
            steps.append(Step("spool", "ok", f"opens with this key; {owed} messages"))
    except (RelayError, Damaged) as error:
        steps.append(Step("spool", "fail", str(error)))
    return steps


def _certificates(config: Config) -> Iterator[Step]:
    from relay import wiring
    from relay.listen.certificates import load

    pairs, leaves = wiring.certificates(config), []
    if not pairs:
        yield Step("certificate", "warn", "tls.certificate is not set: senders and clients get no encryption")
        return
    for pair in pairs:
        what = "certificate" if pair is pairs[0] else f"certificate {pair.where}"
        try:
            leaf = load(pair).leaf
        except ConfigFault as fault:
            yield Step(what, "fail", str(fault))
            return
        leaves.append(leaf)
        yield _validity(what, leaf.not_after)
    clients = config.clients
    asked = {"clients.imap_host": clients.imap_host, "clients.smtp_host": clients.smtp_host}
    asked["clients.web_host"] = clients.web_host if config.listen.https else None
    # Servers often send no server name, so theirs must be in the first; clients do, and see whichever fits.
    wanted = [("node.hostname", config.node.hostname, leaves[:1]), *((*item, leaves) for item in asked.items())]
    for key, host, shown in wanted:
        if host is not None and not any(leaf.covers(host) for leaf in shown):
            names = ", ".join(name for leaf in shown for name in leaf.names) or "no name"
            yield Step("certificate", "warn", f"is for {names}, not for {key} {host}")


def _validity(what: str, ends: float) -> Step:
    left = (ends - SystemClock().now()) / _DAY
    if left < 0:
        return Step(what, "fail", f"expired on {clock(ends)}. Renew it")
    if left < _CERTIFICATE_DAYS:
        return Step(what, "warn", f"expires in {int(left)} days. Renew it")
    return Step(what, "ok", f"valid until {clock(ends)}")


async def _primary(config: Config) -> list[Step]:
    """The same questions as the node's own probes, and the answers in full."""
    from relay import wiring, wiring_submission
    from relay.core.mode import Service
    from relay.primary.health import Prober
    from relay.primary.imap import ImapPrimary

    primary = config.primary
    if primary is None:
        return [Step("primary", "warn", "none is configured: this relay is always a standby and hands nothing on")]
    timeout = config.failover.timeout * _PROBE_FACTOR
    try:
        smtp = wiring.smtp_primary(config, primary.smtp, final_timeout=timeout) if primary.smtp else None
        imap = ImapPrimary(wiring.imap_primary(primary.imap)) if primary.imap else None
        submission = wiring_submission.primary(config)
        prober = Prober(smtp, imap, submission, timeout=timeout, clock=SystemClock())
    except (ConfigFault, OSError) as error:
        return [Step("primary", "fail", str(error))]
    asked = []
    if primary.smtp:
        asked.append((Service.SMTP, f"{primary.smtp.host}:{primary.smtp.port}", prober.smtp))
    if primary.imap:
        where = f"{primary.imap.host}:{primary.imap.port}"
        asked += [(Service.IMAP, where, prober.imap), (Service.LOGIN, where, prober.login)]
    if primary.submission:
        asked.append((Service.SUBMISSION, f"{primary.submission.host}:{primary.submission.port}", prober.submission))
    steps = []
    for (service, where, _), probe in zip(asked, await asyncio.gather(*(ask() for *_, ask in asked)), strict=True):
        slow = probe.ok and probe.seconds > config.failover.timeout
        told = f"{where}: {probe.reason}, {probe.seconds:.2f} s"
        if slow:
            told += "; slower than failover.timeout: it would be taken for dead"
        steps.append(Step(f"primary {service}", "fail" if not probe.ok or slow else "ok", told))
    return steps


async def _issuer(config: Config) -> list[Step]:
    """The keys that judge tokens, fetched as the node fetches them."""
    from relay import wiring
    from relay.accounts.issuer import Issuer
    from relay.accounts.jwks import KeySet

    settings = wiring.oauth(config)
    if settings is None:
        return []
    what = "token issuer"
    try:
        keys = KeySet.parse(await Issuer(settings).fetch())
    except (RelayError, ValueError) as error:
        return [Step(what, "fail", f"{settings.issuer}: {error}")]
    fitting = [algorithm for algorithm in settings.algorithms if keys.fitting(None, algorithm)]
    if not fitting:
        return [Step(what, "fail", f"{settings.issuer}: has no key for {', '.join(settings.algorithms)}")]
    return [Step(what, "ok", f"{settings.issuer}: has keys for {', '.join(fitting)}")]


async def _dns(config: Config) -> list[Step]:
    """Hints: what the world will see. Nobody answering is a warning, since a test network has no DNS."""
    from relay.primary.lookup import Dns

    host = config.node.hostname.casefold()
    try:
        resolver = Dns(_DNS_SECONDS)
    except OSError as error:
        return [Step("DNS", "warn", f"{error}; nothing is checked there")]
    found = await resolver.addresses(host)
    if found is None:
        return [Step("DNS", "warn", "does not answer; nothing is checked there")]
    steps = []
    if not found:
        steps.append(Step("DNS", "warn", f"{host} has no address: senders cannot find it, and some refuse its mail"))
    for address in found:
        back = await resolver.names(address) or []
        well = host in back
        told = (
            f"{address} is {host} and back" if well else f"{address} has no PTR to {host}: some servers refuse its mail"
        )
        steps.append(Step("DNS", "ok" if well else "warn", told))
    for domain in config.domains.accept:
        exchangers = await resolver.mail_exchangers(domain)
        well = any(one.host == host for one in exchangers or ())
        told = (
            f"MX of {domain} names {host}" if well else f"MX of {domain} does not name {host}: mail does not come here"
        )
        steps.append(Step("DNS", "ok" if well else "warn", told))
    return steps
