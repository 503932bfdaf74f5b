"""`relay replay`: hold back the queue, and let it go."""

from __future__ import annotations

from pathlib import Path

import click

from relay.cli.common import config_option, data, json_option, load_config, print_json, run_async


@click.group()
def replay() -> None:
    """Giving the queue back to the primary.

    \b
    Example:
      relay replay pause
    """


@replay.command()
@config_option
@json_option
def pause(*, path: Path | None, as_json: bool) -> None:
    """Deliver nothing from the queue until `relay replay resume`; survives restarts. What is under way is finished.

    \b
    Example:
      relay replay pause
    """
    _set(path, paused=True, as_json=as_json)


@replay.command()
@config_option
@json_option
def resume(*, path: Path | None, as_json: bool) -> None:
    """Deliver again, as the mode allows.

    \b
    Example:
      relay replay resume
    """
    _set(path, paused=False, as_json=as_json)


def _set(path: Path | None, *, paused: bool, as_json: bool) -> None:
    config = load_config(path)

    async def work() -> None:
        from relay.replay.settings import PAUSED

        async with data(config) as opened:
            await opened.store.put_setting(PAUSED, b"1" if paused else b"", now=opened.clock.now())

    run_async(work())
    print_json({"paused": paused}) if as_json else click.echo(f"Replay {'is paused' if paused else 'goes on'}.")
