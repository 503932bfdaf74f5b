"""`relay user`: accounts that exist on the standby whether or not the primary has them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.cli.common import (
    Problem,
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

if TYPE_CHECKING:
    from relay.accounts.users import Users
    from relay.config import Config
    from relay.node import Data

_MOST = 1024


@click.group()
def user() -> None:
    """Users with a password of the relay's own. Logins that the primary accepts are remembered without this."""


@user.command()
@click.argument("login")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@config_option
@json_option
def add(*, login: str, password_stdin: bool, path: Path | None, as_json: bool) -> None:
    """Add LOGIN, or give it a new password. The password is asked for, never an argument.

    \b
    Example:
      relay user add bob@example.org
    """
    config = load_config(path)
    password = _password(from_stdin=password_stdin)

    async def work() -> str:
        async with data(config, create=True) as opened:
            return (await _users(config, opened).add(login, password.encode())).address

    address = run_async(work())
    print_json({"user": address}) if as_json else click.echo(f"{safe(address)} may log in.")


@user.command("list")
@config_option
@json_option
def list_(*, path: Path | None, as_json: bool) -> None:
    """Show all users that were added here.

    \b
    Example:
      relay user list --json
    """
    config = load_config(path)

    async def work() -> list[tuple[str, float]]:
        async with data(config) as opened:
            return [(one.address, one.updated_at) for one in await _users(config, opened).list()]

    found = run_async(work())
    if as_json:
        print_json([{"user": address, "updated_at": at} for address, at in found])
        return
    shown = table("user", "password set")
    for address, at in found:
        shown.add_row(safe(address), clock(at))
    console().print(shown)


@user.command()
@click.argument("login")
@config_option
@json_option
def remove(*, login: str, path: Path | None, as_json: bool) -> None:
    """Remove LOGIN and what is remembered of its password. Its mail stays.

    \b
    Example:
      relay user remove bob@example.org
    """
    config = load_config(path)

    async def work() -> bool:
        async with data(config) as opened:
            return await _users(config, opened).remove(login)

    if not run_async(work()):
        raise Problem(f"there is no user {safe(login)}. See: relay user list")
    print_json({"removed": login}) if as_json else click.echo(f"{safe(login)} removed.")


def _users(config: Config, opened: Data) -> Users:
    from relay import wiring
    from relay.accounts.credentials import Credentials
    from relay.accounts.names import Naming
    from relay.accounts.users import Users

    return Users(Credentials(opened.store, opened.vault), Naming(wiring.naming(config)), opened.clock)


def _password(*, from_stdin: bool) -> str:
    if not from_stdin:
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return asked
    line = sys.stdin.readline(_MOST + 1).rstrip("\r\n")
    if len(line) > _MOST:
        raise Problem(f"a password has at most {_MOST} characters")
    if not line:
        raise Problem("no password came on standard input")
    return line
