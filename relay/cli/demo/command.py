"""The command: plays the story, shows it, ends with the counts and an exit code that means them."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from relay.cli.common import OK, PROBLEM, Problem
from relay.cli.demo.board import Board
from relay.cli.demo.screen import Screen, line, result
from relay.cli.demo.site import HOST, USER, Site
from relay.cli.demo.story import ACTS, DemoTrouble, Pace, Sabotage, Story
from relay.cli.demo.tally import Tally
from relay.cli.demo.traffic import Traffic

_REFRESH_PER_SECOND = 8


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave both servers running afterwards and print commands to try.")
@click.option("--rate", type=click.FloatRange(1, 500), default=40.0, show_default=True, help="Messages per second.")
@click.option(
    "--pause", type=click.FloatRange(0, 600), default=4.0, show_default=True, help="Seconds to watch per act."
)
@click.option("--plain", is_flag=True, help="Lines instead of a picture; the default where output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print only the counts, as JSON.")
@click.option(
    "--sabotage",
    type=click.Choice([s.value for s in Sabotage]),
    help="Lose or double a message in the primary before the count: the demo must fail.",
)
def demo(*, keep: bool, rate: float, pause: float, plain: bool, as_json: bool, sabotage: str | None) -> int:
    """Show the main job in one terminal: the primary dies, mail goes on, and everything is given back once.

    Two servers run on free ports of 127.0.0.1, in a temporary directory that is removed at the end. The exit code is 0
    only if every message that was answered 250 is in the primary once, byte for byte.

    \b
    Example:
      relay demo --keep
    """
    console = Console(stderr=as_json)
    pictured = console.is_terminal and not plain and not as_json
    board = Board(ACTS, on_event=None if pictured else lambda event: console.print(line(event), soft_wrap=True))
    with _stoppable(), contextlib.closing(Site(tls=keep)) as site:
        traffic = Traffic(HOST, site.relay.smtp_port, rate=rate)
        story = Story(site, traffic, board, Pace(watch=pause), Sabotage(sabotage) if sabotage else None)
        try:
            with _shown(board, console) if pictured else contextlib.nullcontext():
                tally = story.play()
        except DemoTrouble as trouble:
            raise Problem(f"the demo could not be played to its end: {trouble}") from None
        _report(console, tally, as_json=as_json)
        if keep:
            _print_to_try(console, site)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    return OK if tally.good else PROBLEM


def _report(console: Console, tally: Tally, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.structs.asdict(tally), "good": tally.good}))
    else:
        console.print(result(tally))


def _shown(board: Board, console: Console) -> Live:
    """The picture, drawn anew several times a second by a thread of rich's."""
    screen = Screen(board)
    return Live(console=console, get_renderable=lambda: screen, refresh_per_second=_REFRESH_PER_SECOND)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does, so that no server is left behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_to_try(console: Console, site: Site) -> None:
    """Commands for another terminal; without a frame, so that they can be copied whole."""
    relay, primary = site.relay, site.primary
    program = shutil.which("relay") or f"{sys.executable} -m relay"
    rows = [
        ("send", f"swaks --server {HOST}:{relay.smtp_port} --from you@example.org --to {USER}"),
        ("look", f"curl -s 'imap://{HOST}:{relay.imap_port}/INBOX;MAILINDEX=1' -u '{USER}:{site.password}'"),
        ("by hand", f"openssl s_client -quiet -crlf -connect {HOST}:{relay.imap_port} -starttls imap"),
        ("", f"a LOGIN {USER} {site.password}"),
        ("status", f"{program} status -c {relay.config_file}"),
        ("queue", f"{program} queue list -c {relay.config_file}"),
        ("kill", f"kill -9 -- -{primary.pid}"),
        ("revive", f"{program} run -c {primary.config_file}"),
        ("client", f"IMAP server {HOST}, port {relay.imap_port}, STARTTLS (accept the certificate) or none"),
        ("", f"user {USER}, password {site.password}"),
    ]
    console.print(Rule("left running: try, in another terminal", style="grey42", align="left"))
    for name, command in rows:
        console.print(Text.assemble((f"  {name:<9}", "bright_black"), command), soft_wrap=True)
    console.print("  Ctrl-C ends both servers and removes everything.", style="bold")
