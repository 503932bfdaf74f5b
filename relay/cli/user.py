"""`relay user`: accounts that exist on the standby whether or not the primary has them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from relay.cli.common import (
    Problem,
    ago,
    config_option,
    console,
    data,
    json_option,
    load_config,
    print_json,
    run_async,
    safe,
    span,
    table,
)

if TYPE_CHECKING:
    from relay.accounts.users import User, Users
    from relay.config import Config
    from relay.node import Data

_MOST = 1024
_KNOWN_BY = MappingProxyType(
    {"configured": "relay user add", "remembered": "password on the primary", "token": "token on the primary"}
)


@click.group()
def user() -> None:
    """Users with a password of the relay's own. Logins that the primary accepts are remembered without this.

    \b
    Example:
      relay user add alice@example.org
    """


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
    """Show who may log in while the primary is away: users added here, and what the primary is remembered to accept.

    \b
    Example:
      relay user list --json
    """
    config = load_config(path)

    async def work() -> tuple[list[User], float]:
        async with data(config) as opened:
            return await _users(config, opened).list(), opened.clock.now()

    found, now = run_async(work())
    good_for = {"configured": None, "remembered": config.login.max_age, "token": config.login.token_max_age}
    rows = [(one, None if (age := good_for[one.kind]) is None else one.updated_at + age) for one in found]
    if as_json:
        print_json(
            [
                {"user": one.address, "kind": one.kind, "updated_at": one.updated_at, "good_until": until}
                for one, until in rows
            ]
        )
        return
    shown = table("user", "known by", "since", "good for")
    for one, until in rows:
        left = "-" if until is None else span(until - now) if until > now else "expired"
        shown.add_row(safe(one.address), _KNOWN_BY[one.kind], f"{ago(one.updated_at, now)} ago", left)
    console().print(shown)


@user.command()
@click.argument("login")
@config_option
@json_option
def revoke(*, login: str, path: Path | None, as_json: bool) -> None:
    """Forget the password and the tokens of LOGIN that the primary accepted, and believe no token issued before now.

    The next login on the primary is remembered again: lock the account there first. A password that was added here
    stays (`relay user remove`). Sessions that are open stay open.

    \b
    Example:
      relay user revoke bob@example.org
    """
    config = load_config(path)

    async def work() -> bool:
        async with data(config) as opened:
            return await _users(config, opened).revoke(login)

    known = run_async(work())
    if as_json:
        print_json({"revoked": login, "remembered": known})
    else:
        click.echo(f"{safe(login)} revoked." if known else f"{safe(login)} revoked; nothing was remembered.")


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
