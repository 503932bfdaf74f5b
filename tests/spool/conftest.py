"""A spool on the real embedded engine, with a key of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.core.clock import ManualClock
from relay.core.envelope import Envelope, Origin, Recipient
from relay.spool.intake import Intake, IntakeSettings
from relay.spool.mailboxes import Mailboxes
from relay.spool.pressure import DiskRoom, Pressure, PressureSettings
from relay.spool.queue import Queue
from relay.spool.read import Reader
from relay.store.records import Accepted
from relay.store.sqlite import SqliteStore
from relay.vault.sealing import Vault
from tests.spool.opening import opened

ENVELOPE = Envelope("alice@sender.example", (Recipient("Bob@example.org"),))
ORIGIN = Origin("192.0.2.7", 4711, "mail.sender.example")


@dataclass
class Spool:
    """Everything a test of the spool touches."""

    path: Path
    store: SqliteStore
    vault: Vault
    clock: ManualClock
    pressure: Pressure
    intake: Intake
    reader: Reader
    queue: Queue
    mailboxes: Mailboxes
    room: DiskRoom

    async def accept(self, body: bytes, envelope: Envelope = ENVELOPE, *, intent: bool = False) -> Accepted:
        """One message, written in uneven blocks."""
        async with self.intake.begin() as draft:
            for at in range(0, len(body), 50_001):
                await draft.write(body[at : at + 50_001])
            return await draft.commit(envelope, ORIGIN, intent=intent)


@asynccontextmanager
async def open_spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """A new spool in a folder."""
    clock = ManualClock()
    async with opened(tmp_path, clock) as (store, vault):
        made: list[Spool] = []
        pressure = Pressure(tmp_path, PressureSettings(remembered=0.0), room=lambda _: made[0].room)
        spool = Spool(
            path=tmp_path,
            store=store,
            vault=vault,
            clock=clock,
            pressure=pressure,
            intake=Intake(
                store=store,
                vault=vault,
                clock=clock,
                pressure=pressure,
                settings=IntakeSettings(owner="edge-1/boot/0"),
                account_of=lambda address: address,
            ),
            reader=Reader(store, vault),
            queue=Queue(store, vault, clock, owner="edge-1/boot/0"),
            mailboxes=Mailboxes(store, vault, clock),
            room=DiskRoom(1 << 40, 1 << 20),
        )
        made.append(spool)
        yield spool
        await spool.intake.drain()


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """An open spool; closed afterwards."""
    async with open_spool(tmp_path) as spool:
        yield spool
