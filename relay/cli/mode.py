"""`relay mode`: what the relay thinks of the primary, and the operator's hand over it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import (
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
    table,
)
from relay.core.mode import Mode, Override, Service

if TYPE_CHECKING:
    from relay.config import Config
    from relay.node import Data

_service_option = click.option(
    "--service",
    "services",
    type=click.Choice([service.value for service in Service]),
    multiple=True,
    help="Only this service (repeatable); default: all.",
)


@click.group()
def mode() -> None:
    """Whether the primary is used: decided by evidence (auto), or by you (standby, normal).

    \b
    Example:
      relay mode show
    """


@mode.command()
@config_option
@json_option
def show(*, path: Path | None, as_json: bool) -> None:
    """Show the mode of each service, since when and why, and the last changes.

    \b
    Example:
      relay mode show
    """
    config = load_config(path)

    async def work() -> dict[str, Any]:
        async with data(config) as opened:
            return await read_modes(config, opened)

    found = run_async(work())
    if as_json:
        print_json(found)
        return
    shown = table("service", "mode", "since", "why")
    for service, said in found["modes"].items():
        forced = "" if said["override"] == Override.AUTO else f" (set by you; evidence says {said['evidence']})"
        shown.add_row(service, f"{said['mode']}{forced}", ago(said["since"], found["at"]), safe(said["reason"]))
    console().print(shown)
    if found["events"]:
        events = table("", "service", "from", "to", "why", title="\nlast changes")
        for event in found["events"][-10:]:
            at = clock(event["at"])
            events.add_row(at, event["service"], event["old"], event["new"], safe(event["reason"]))
        console().print(events)


async def read_modes(config: Config, opened: Data) -> dict[str, Any]:
    """What the store says about the modes: for `mode show`, and for `status` while the node is down."""
    from relay import wiring
    from relay.control.coordinator import (
        HISTORY,
        OVERRIDE,
        decode_history,
        decode_overrides,
        decode_state,
        state_setting,
    )

    store = opened.store
    overrides = decode_overrides(await store.setting(OVERRIDE))
    configured = wiring.services(config)
    modes = {}
    for service in Service:
        state = decode_state(await store.setting(state_setting(service)))
        evidence = state.mode if service in configured else Mode.STANDBY
        forced = overrides[service] is not Override.AUTO and service in configured
        modes[service.value] = {
            "mode": Mode(overrides[service].value) if forced else evidence,
            "evidence": evidence,
            "override": overrides[service],
            "since": state.since,
            "reason": state.reason if service in configured else "not configured",
        }
    history = decode_history(await store.setting(HISTORY))
    events = [{name: getattr(event, name) for name in event.__struct_fields__} for event in history]
    return {"at": opened.clock.now(), "modes": modes, "events": events}


def _set(override: Override, path: Path | None, services: tuple[str, ...], *, as_json: bool) -> None:
    config = load_config(path)
    chosen = [Service(name) for name in services] or list(Service)

    async def work() -> None:
        from relay.control.coordinator import change_override

        async with data(config) as opened:
            await change_override(opened.store, chosen, override, now=opened.clock.now())

    run_async(work())
    if as_json:
        print_json({"override": override, "services": chosen})
    else:
        said = "by evidence" if override is Override.AUTO else f"{override.value}, until `relay mode auto`"
        click.echo(f"{', '.join(chosen)}: {said}.")


@mode.command()
@_service_option
@config_option
@json_option
def standby(*, services: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """Do not use the primary, whatever the evidence says; before planned maintenance.

    \b
    Example:
      relay mode standby
    """
    _set(Override.STANDBY, path, services, as_json=as_json)


@mode.command()
@_service_option
@config_option
@json_option
def normal(*, services: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """Use the primary, whatever the evidence says.

    \b
    Example:
      relay mode normal --service login
    """
    _set(Override.NORMAL, path, services, as_json=as_json)


@mode.command()
@_service_option
@config_option
@json_option
def auto(*, services: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """Let the evidence decide again.

    \b
    Example:
      relay mode auto
    """
    _set(Override.AUTO, path, services, as_json=as_json)
