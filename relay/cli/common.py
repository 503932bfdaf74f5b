"""What all commands share: options, output in two forms, and the way into the data directory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from relay.core.errors import ConfigFault, RelayError

if TYPE_CHECKING:  # each of these costs a health check or a `--help` more time than its own work does
    from rich.console import Console
    from rich.table import Table

    from relay.config import Config
    from relay.node import Data

OK, PROBLEM, USAGE, UNREACHABLE = 0, 1, 2, 3
DEFAULT_FILE = Path("/etc/relay/relay.toml")
_PIPE_WIDTH = 1000
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Problem(RelayError):
    """The command found a problem, or could not do what it was told."""


class Unreachable(RelayError):
    """Nobody answers where somebody should."""


def config_option(function: F) -> F:
    """`-c FILE`; without it RELAY_CONFIG, then /etc/relay/relay.toml, then the environment alone."""
    return click.option(
        "-c",
        "--config",
        "path",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="RELAY_CONFIG",
        help=f"Configuration file; default: $RELAY_CONFIG, else {DEFAULT_FILE} where it exists, else the environment.",
    )(function)


def json_option(function: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")(function)


def config_file(path: Path | None) -> Path | None:
    """The file to read; None = the environment alone."""
    return path if path is not None else DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load_config(path: Path | None) -> Config:
    """The configuration; ConfigFaults."""
    from relay.config import load

    return load(config_file(path))


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a loop of its own."""
    return asyncio.run(work)


@asynccontextmanager
async def data(config: Config, *, create: bool = False) -> AsyncIterator[Data]:
    """Key, store and vault, opened. ConfigFault where there is no spool yet, unless one may be made."""
    from relay import node

    directory = config.node.data_dir
    if create:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigFault(f"node.data_dir: {directory} cannot be made ({error.strerror})") from None
    become_owner(directory)
    try:
        present = config.database.exists()
    except OSError as error:
        raise ConfigFault(f"store.url: {config.database} cannot be looked at ({error.strerror}). "
                          "Run this as the relay's user") from None  # fmt: skip
    if not present and not create:
        raise ConfigFault(f"node.data_dir: there is no spool in {directory} yet. Is this the right configuration? "
                          "The first `relay run` makes it")  # fmt: skip
    async with node.open_data(config) as opened:
        yield opened


def become_owner(directory: Path) -> None:
    """Root acts as the owner of the data directory: files that root made there would lock the node out."""
    try:
        owner = directory.stat()
    except OSError:
        return
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def running_workers(config: Config) -> list[str]:
    """`node/slot` of each worker that runs on this data directory now."""
    found = []
    for slot in range(config.node.workers):
        try:
            with (config.node.data_dir / "run" / f"worker-{slot}.lock").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found.append(f"{config.node.name}/{slot}")
        except FileNotFoundError:
            continue  # it has never run
        except OSError as error:
            raise ConfigFault(f"node.data_dir: {config.node.data_dir} cannot be used ({error.strerror})") from None
    return found


@contextlib.contextmanager
def alone(config: Config, what: str) -> Iterator[None]:
    """While the body runs no other command holds the same name; Problem when one does."""
    run = config.node.data_dir / "run"
    with contextlib.ExitStack() as stack:
        try:
            run.mkdir(mode=0o700, exist_ok=True)
            lock = stack.enter_context((run / f"{what}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem("another such command is at work. Wait for its end") from None
        except OSError as error:
            raise ConfigFault(f"node.data_dir: {run} cannot be used ({error.strerror})") from None
        yield


# --- output -----------------------------------------------------------------------------------------------------------


def print_json(value: object) -> None:
    """One JSON document."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def console() -> Console:
    """Standard output; lines are not folded where it is no terminal, so that scripts can cut them."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def table(*columns: str, title: str | None = None) -> Table:
    """A quiet table."""
    from rich.table import Table

    made = Table(box=None, title=title, title_justify="left", pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, overflow="fold", no_wrap=index == 0)
    return made


def safe(text: str) -> str:
    """Text from the outside, harmless on a terminal and in rich's markup."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return shown.replace("[", "\\[")


def ago(then: float | None, now: float) -> str:
    """How long ago, in one or two units; `-` for never."""
    return "-" if not then else span(now - then)


def span(seconds: float) -> str:
    """A length of time, short."""
    left = max(0, int(seconds))
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def size(count: float) -> str:
    """Bytes, short."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{int(count)} B"


def clock(at: float) -> str:
    """A time, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
