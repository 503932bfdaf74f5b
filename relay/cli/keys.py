"""`relay keys`: make, rotate and look at the key file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.cli.common import (
    Problem,
    config_option,
    console,
    data,
    json_option,
    load_config,
    node_stopped,
    print_json,
    run_async,
    table,
)

if TYPE_CHECKING:
    from relay.config import Config
    from relay.node import Data

_BATCH = 1000


@click.group()
def keys() -> None:
    """The key file that everything at rest is sealed with."""


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
@config_option
@json_option
def rotate(*, path: Path | None, as_json: bool) -> None:
    """Add a key, make it the active one, and wrap every message key with it. The node must not run meanwhile.

    No message body is written again, so this takes seconds. Old keys stay in the file; take one out only when
    `relay keys status` says that nothing uses it.

    \b
    Example:
      relay keys rotate -c /etc/relay/relay.toml
    """
    config = load_config(path)
    active, done = run_async(_rotate(config))
    if as_json:
        print_json({"active": active, "rewrapped": done})
    else:
        click.echo(f"{active} is the active key; {done} keys were wrapped with it.")
        click.echo(f"Copy {config.vault.key_file} to its other place now.")


async def _rotate(config: Config) -> tuple[str, int]:
    from relay.vault.keys import add_key

    async with data(config):  # it is the right key file, and the store is well: else nothing is changed
        pass
    with node_stopped(config):
        add_key(config.vault.key_file)
        async with data(config) as opened:
            return opened.ring.active, await _rewrap(opened)


async def _rewrap(opened: Data) -> int:
    from relay.core.errors import Damaged
    from relay.store.records import WrappedKey
    from relay.vault.bootstrap import rewrap_roots

    store, vault = opened.store, opened.vault

    async def put(name: str, value: bytes) -> None:
        await store.put_setting(name, value, now=opened.clock.now())

    done = await rewrap_roots(opened.ring, store.setting, put)
    damaged: set[str] = set()
    while True:
        # Those that do not open stay as they are, so the answer begins with them again.
        rows = await store.wrapped_keys(not_key=vault.active_key, limit=_BATCH + len(damaged))
        pairs = []
        for row in rows:
            if row.item in damaged:
                continue
            try:
                key_id, wrapped = vault.rewrap(row.key_id, row.wrapped_key, row.item)
            except Damaged:
                damaged.add(row.item)
            else:
                pairs.append((row, WrappedKey(row.item, key_id, wrapped)))
        if not pairs:
            break
        done += await store.rewrap(pairs)
    if damaged:
        raise Problem(
            f"{len(damaged)} message keys do not open and were left as they are: {', '.join(sorted(damaged)[:5])}"
        )
    return done


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
