"""An operator's site: configuration, key and spool in a folder, and the commands in this process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from click.testing import CliRunner

from relay.cli import main
from relay.core.envelope import Envelope, Recipient
from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.core.reply import reply
from relay.store.sqlite import SqliteSettings, open_store
from tests.peers.ports import free_port
from tests.spool.conftest import ENVELOPE, Spool, open_spool

T = TypeVar("T")
BODY = b"Subject: planted-subject\r\n\r\nplanted-body\r\n"


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Desk:
    """Where the operator sits."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "relay.toml"
        self.http_port = free_port()
        self.configure()

    def configure(self, extra: str = "") -> None:
        self.file.write_text(
            f"""
[node]
name = "edge-1"
hostname = "mx1.example.org"
data_dir = "{self.directory}"
[vault]
key_file = "{self.directory / "relay.key"}"
[domains]
accept = ["example.org"]
[listen]
http = ["127.0.0.1:{self.http_port}"]
{extra}
"""
        )

    def relay(self, *arguments: str, given: str = "", configured: bool = True) -> Done:
        """Run a command in this process, as `relay ...` would."""
        words = [*arguments, "-c", str(self.file)] if configured else list(arguments)
        code = 0
        with CliRunner().isolation(input=given) as (out, err, _):
            try:
                main(words)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            return Done(code, out.getvalue().decode(), err.getvalue().decode())

    def spool(self, work: Callable[[Spool], Awaitable[T]]) -> T:
        """Make the spool, and do something to it before any command sees it."""

        async def run() -> T:
            async with open_spool(self.directory) as spool:
                return await work(spool)

        return asyncio.run(run())

    def setting(self, name: str) -> bytes | None:
        async def run() -> bytes | None:
            store = await open_store(self.directory / "relay.db", SqliteSettings())
            try:
                return await store.setting(name)
            finally:
                await store.close()

        return asyncio.run(run())

    def mixed(self) -> dict[str, ItemId]:
        """A spool with a message in each state that an operator meets."""
        return self.spool(_mixed)


async def _mixed(spool: Spool) -> dict[str, ItemId]:
    async def attempt(envelope: Envelope, state: ItemState) -> ItemId:
        item = (await spool.accept(BODY, envelope)).item
        (row,) = await spool.queue.claim(limit=1, seconds=60, states=[ItemState.PENDING])
        assert row.lease is not None
        await spool.queue.intend([row.lease])
        await spool.queue.settle(row.lease, state, note=reply(550, "5.1.1 <bob@example.org> is not here"))
        return item

    found = {"held": await attempt(_to("carol@example.org"), ItemState.HELD)}
    found["delivered"] = await attempt(_to("dave@example.org"), ItemState.REFUSED)
    found["refused"] = found.pop("delivered")
    found["quarantined"] = (await spool.accept(BODY, _to("erin@example.org"))).item
    await spool.queue.move(found["quarantined"], ItemState.QUARANTINED)
    spool.clock.advance(60)
    found["pending"] = (await spool.accept(BODY, ENVELOPE)).item
    return found


def _to(address: str) -> Envelope:
    return Envelope("alice@sender.example", (Recipient(address),))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name in list(os.environ):
        if name.startswith("RELAY_"):
            monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield Desk(tmp_path)
    structlog.reset_defaults()
    root.handlers[:] = handlers
