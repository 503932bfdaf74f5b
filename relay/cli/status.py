"""`relay status`: how the node is, in one screen."""

from __future__ import annotations

import ipaddress
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import (
    OK,
    PROBLEM,
    UNREACHABLE,
    Unreachable,
    ago,
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
    span,
    table,
)

if TYPE_CHECKING:
    from relay.config import Config

_SECONDS = 5.0
_DAY = 86_400
_LONG_CANARY = 60.0
"""Seconds for which the first messages may take: they wait for a look into the primary's mailboxes."""


@click.command()
@click.option("--live", is_flag=True, help="Only ask whether the node answers; for health checks.")
@config_option
@json_option
def status(*, live: bool, path: Path | None, as_json: bool) -> int:
    """Show mode, queue, disk and certificate of the node.

    Exit code 0: it runs and can accept mail; 1: it runs, but something needs you; 3: it does not answer (what its store
    says is shown then).

    \b
    Example:
      relay status
    """
    config = load_config(path)
    if live:
        return _live(config, as_json=as_json)
    try:
        found = json.loads(_get(config, "/api/v1/status"))
        running = True
    except Unreachable as unreachable:
        click.echo(f"relay: {unreachable}", err=True)
        found = run_async(_from_store(config))
        running = False
    troubles = _troubles(found) if running else []
    if as_json:
        print_json({**found, "running": running, "troubles": troubles})
    else:
        _print(found, troubles)
    return UNREACHABLE if not running else PROBLEM if troubles else OK


def _live(config: Config, *, as_json: bool) -> int:
    _get(config, "/livez")
    if as_json:
        print_json({"live": True})
    return OK


def _get(config: Config, path: str) -> bytes:
    """A page of the running node; Unreachable."""
    if not config.listen.http:
        raise Unreachable("listen.http is empty, so the node cannot be asked. Set it to 127.0.0.1:8080")
    address = config.listen.http[0]
    host = address.host
    try:
        if ipaddress.ip_address(host).is_unspecified:  # bound to all: ask on loopback
            host = "::1" if ":" in host else "127.0.0.1"
    except ValueError:
        pass
    where = f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{where}{path}", timeout=_SECONDS) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as refusal:
        with refusal:
            raise Unreachable(f"the node at {where} answered {refusal.code}; see its log") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        text = getattr(reason, "strerror", None) or "no answer"
        raise Unreachable(f"the node does not answer at {where} ({text}). Is it running? See its log") from None


async def _from_store(config: Config) -> dict[str, Any]:
    """What can be said without the node."""
    from relay.cli.mode import read_modes
    from relay.control.disk import disk
    from relay.control.sampler import canary_status, replay_status
    from relay.replay.settings import PAUSED
    from relay.spool.replaying import SENT_AGAIN, decode_sent_again
    from relay.store.records import Route

    async with data(config) as opened:
        room = disk(config.node.data_dir)
        modes = await read_modes(config, opened)
        counts = await opened.store.counts()
        canaries = await canary_status(opened.store)
        routes = await opened.store.routes()
        paused = bool(await opened.store.setting(PAUSED))
        replay = await replay_status(opened.store, routes[Route.PRIMARY], paused=paused)
        again = decode_sent_again(await opened.store.setting(SENT_AGAIN))
        return {
            "node": config.node.name,
            "at": opened.clock.now(),
            "ready": False,
            "modes": modes["modes"],
            "queue": {s: {"items": c.items, "bytes": c.size, "oldest": c.oldest} for s, c in counts.items()},
            "routes": {route: said.owed for route, said in routes.items()},
            "disk": {name: getattr(room, name) for name in room.__struct_fields__},
            "certificate_expires": None,
            "canaries": None if canaries is None else {n: getattr(canaries, n) for n in canaries.__struct_fields__},
            "sent_again": {"count": again.count, "last": again.last},
            "replay_paused": paused,
            "replay": {name: getattr(replay, name) for name in replay.__struct_fields__},
            "events": modes["events"],
        }


def _troubles(found: dict[str, Any]) -> list[str]:
    """What needs the operator; a primary that is down does not make the relay unwell."""
    troubles = [f"not ready: {name}" for name, well in found["readiness"].items() if not well]
    queue = found["queue"] or {}
    for state, remedy in (
        ("quarantined", "damaged"),
        ("held", "refused by the primary, at retention, or by an operator"),
    ):
        count = queue.get(state, {}).get("items", 0)
        if count:
            troubles.append(f"{count} {state} ({remedy}): relay queue list --state {state}")
    for service, said in found["modes"].items():
        if said["configured"] and not said["ever_reached"]:
            troubles.append(f"the primary's {service} has never answered: relay check")
    if found["replay_paused"]:
        troubles.append("replay is paused: relay replay resume")
    elif (standstill := _standstill(found)) is not None:
        troubles.append(standstill)
    expires = found["certificate_expires"]
    if expires is not None and expires - found["at"] < 14 * _DAY:
        troubles.append(f"the certificate expires in {span(expires - found['at'])}: renew it and send HUP")
    return troubles


def _standstill(found: dict[str, Any]) -> str | None:
    """Why the queue does not move although the primary answers; None where it moves, or the mode keeps it."""
    replay, now = found.get("replay"), found["at"]
    waiting = (found["queue"] or {}).get("pending", {}).get("items", 0)
    mode = found["modes"]["smtp"]["mode"]
    if replay is None or not waiting or mode not in ("recovery", "normal"):
        return None
    if replay["resting"]:
        return (
            f"replay rests after errors at the primary ({replay['trips']} in a row), next try in "
            f"{span(max(0.0, replay['next_try'] - now))}: relay queue list --state pending shows its answers"
        )
    if replay["gate"] == "canary" and mode == "recovery" and now - replay["since"] > _LONG_CANARY:
        return (
            f"replay lets out one message at a time since {span(now - replay['since'])}, and none of them gets "
            "through: relay queue list --state pending shows the primary's answers"
        )
    return None


def _print(found: dict[str, Any], troubles: list[str]) -> None:
    out = console()
    now = found["at"]
    if "started" in found:
        ready = "ready" if found["ready"] else "NOT READY"
        out.print(f"{found['node']}  {ready}  version {found['version']}  up {span(now - found['started'])}")
    else:
        out.print(f"{found['node']}  not running; this is what its store says")
    modes = table("service", "mode", "since", "why", title="\nprimary")
    for service, said in found["modes"].items():
        forced = "" if said["override"] == "auto" else " (set by you)"
        modes.add_row(service, f"{said['mode']}{forced}", ago(said["since"], now), safe(said["reason"]))
    out.print(modes)
    if found["queue"] is not None:
        queue = table("state", "messages", "size", "oldest", title="\nqueue" + (" (paused)" * found["replay_paused"]))
        for state, said in found["queue"].items():
            if said["items"]:
                queue.add_row(state, str(said["items"]), size(said["bytes"]), ago(said["oldest"], now))
        out.print(queue if queue.row_count else "\nqueue\nempty")
        going = ", ".join(f"{count} to the {route}" for route, count in (found["routes"] or {}).items() if count)
        if going:
            out.print(f"owed: {going}")
    if found.get("replay") is not None:
        out.print(f"replay  {_replay(found['replay'], now)}")
    if found["canaries"] is not None:
        out.print(f"\ncanaries  {_canaries(found['canaries'], now)}")
    if found["sent_again"]["count"]:
        again = found["sent_again"]
        out.print(
            f"\nsent again  {again['count']} without proof that the first attempt had failed, the last "
            f"{ago(again['last'], now)} ago: they may have arrived twice. `relay audit` names them"
        )
    if found["disk"] is not None:
        room = found["disk"]
        out.print(f"\ndisk  {size(room['free_bytes'])} free of {size(room['size_bytes'])}")
    if found["certificate_expires"] is not None:
        out.print(f"certificate  valid until {clock(found['certificate_expires'])}")
    for trouble in troubles:
        out.print(f"! {trouble}")


def _replay(said: dict[str, Any], now: float) -> str:
    """How far the gate is open, in words."""
    text = str(said["gate"])
    if said["since"] is not None:
        text += f" since {span(max(0.0, now - said['since']))}"
    if said["trips"]:
        text += f", closed by errors {said['trips']} times in a row"
    if said["next_try"] is not None:
        due = said["next_try"] - now
        text += f", next try in {span(due)}" if due > 0 else ", next try now"
    return text


def _canaries(said: dict[str, Any], now: float) -> str:
    """Those that went ahead of the queue, in words."""
    delivered = said["delivered"]
    text = f"{delivered} taken by the primary {ago(said['at'], now)} ago"
    if not said["looked_for"]:
        return f"{text}; its mailboxes cannot be looked into (primary.imap.access)"
    left = "" if said["seen"] == delivered else "; the others were not found" if said["over"] else "; still looking"
    return f"{text}, {said['seen']} seen in its mailboxes{left}"
