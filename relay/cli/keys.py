"""`relay keys`: make, rotate and look at the key file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.cli.common import (
    Problem,
    alone,
    become_owner,
    config_option,
    console,
    data,
    json_option,
    load_config,
    print_json,
    run_async,
    running_workers,
    table,
)

if TYPE_CHECKING:
    from relay.config import Config
    from relay.node import Data

_PATIENCE = 10.0
"""Seconds that a running node has to read a new key file."""


@click.group()
def keys() -> None:
    """The key file that everything at rest is sealed with.

    \b
    Example:
      relay keys status
    """


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@config_option
@json_option
def init(*, file: Path | None, path: Path | None, as_json: bool) -> None:
    """Make a key file, at FILE or where the configuration says.

    Whoever has it can read the spool; without it nobody can. Keep a copy in another place.

    \b
    Example:
      relay keys init /run/secrets/relay.key
    """
    from relay.vault.keys import init_key_file

    where = file if file is not None else load_config(path).vault.key_file
    ring = init_key_file(where)
    if as_json:
        print_json({"file": str(where), "active": ring.active})
    else:
        click.echo(f"{where} made, with the key {ring.active}. Keep a copy of it in another place.")


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@json_option
def add(*, file: Path, as_json: bool) -> None:
    """Add a key to FILE and make it the active one; touches nothing else.

    For a key file that is mounted read-only where the node runs: add a key to its copy, mount that one, and take it
    into use with `relay keys rotate --mounted`. Elsewhere `relay keys rotate` does all of it.

    \b
    Example:
      relay keys add ./relay.key
    """
    from relay.vault.keys import add_key

    active = add_key(file).active
    if as_json:
        print_json({"file": str(file), "active": active})
    else:
        click.echo(f"{active} is the active key of {file}.")


@keys.command()
@click.option("--mounted", is_flag=True, help="The file has its new key already; only take it into use.")
@config_option
@json_option
def rotate(*, mounted: bool, path: Path | None, as_json: bool) -> None:
    """Add a key, make it the active one, and wrap every message key with it. The node may run meanwhile.

    A running node reads the file first, and only then anything is wrapped with the new key. No message body is written
    again, so this takes seconds. Old keys stay in the file; take one out only when `relay keys status` says that
    nothing uses it. May be repeated: what a rotation left undone, the next one does.

    \b
    Example:
      relay keys rotate -c /etc/relay/relay.toml
    """
    config = load_config(path)
    active, done = run_async(_rotate(config, mounted=mounted))
    if as_json:
        print_json({"active": active, "rewrapped": done})
    else:
        click.echo(f"{active} is the active key; {done} keys were wrapped with it.")
        click.echo(f"Copy {config.vault.key_file} to its other place now.")


async def _rotate(config: Config, *, mounted: bool) -> tuple[str, int]:
    from relay.spool.rekeying import announce, rewrap
    from relay.vault.keys import add_key

    async with data(config) as opened:  # it is the right key file, and the store is well: else nothing is changed
        with alone(config, "rotate"):
            if not mounted:
                add_key(config.vault.key_file)
            opened.ring.refresh()
            active = opened.ring.active
            await announce(opened.store, active, now=opened.clock.now())
            await _until_loaded(config, opened, active)
            made = await rewrap(opened.store, opened.vault, opened.ring, now=opened.clock.now())
    if made.damaged:
        some = ", ".join(made.damaged[:5])
        raise Problem(f"{len(made.damaged)} message keys do not open and were left as they are: {some}")
    return active, made.done


async def _until_loaded(config: Config, opened: Data, key: str) -> None:
    """Every running worker has the key; Problem when one has not within the deadline."""
    from relay.spool.rekeying import has_loaded

    waiting = running_workers(config)
    store, end = opened.store, opened.clock.monotonic() + _PATIENCE
    while True:
        seen = await store.last_change()
        waiting = [worker for worker in waiting if not await has_loaded(store, worker, key)]
        left = end - opened.clock.monotonic()
        if not waiting:
            return
        if left <= 0:
            raise Problem(
                f"{', '.join(waiting)} did not take {key} into use, so nothing was wrapped with it. See the log of the "
                f"node: can it read {config.vault.key_file}? Then, or after a restart of the node: "
                "relay keys rotate --mounted"
            )
        await store.wait_change(after=seen, timeout=min(left, 1.0))


@keys.command()
@config_option
@json_option
def status(*, path: Path | None, as_json: bool) -> None:
    """Show which keys there are and what still uses them.

    \b
    Example:
      relay keys status
    """
    from relay.vault.keys import KeyRing

    config = load_config(path)
    become_owner(config.node.data_dir)  # whether the key file is open to others is judged from the relay's place
    ring = KeyRing.load(config.vault.key_file)
    used = run_async(_used(config)) if config.database.exists() else Counter[str]()
    missing = sorted(set(used) - set(ring.names))
    rows = [
        {"key": name, "active": name == ring.active, "in_file": name in ring.names, "used_by": used[name]}
        for name in (*ring.names, *missing)
    ]
    if as_json:
        print_json({"file": str(config.vault.key_file), "keys": rows})
    else:
        shown = table("key", "", "wraps")
        for row in rows:
            note = "active" if row["active"] else "" if row["in_file"] else "NOT IN THE FILE"
            shown.add_row(str(row["key"]), note, str(row["used_by"]))
        console().print(shown)
    if missing:
        raise Problem(f"{', '.join(missing)}: in use, but not in {config.vault.key_file}. Restore it from its copy")


async def _used(config: Config) -> Counter[str]:
    from relay.vault.bootstrap import root_keys_in_use

    async with data(config) as opened:
        found = Counter(row.key_id for row in await opened.store.wrapped_keys(not_key="", limit=10_000_000))
        found.update(await root_keys_in_use(opened.store.setting))
        return found
