"""Canaries: named, looked for, VERIFIED where they are seen; nothing waits for them for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.core.mode import Mode, Service
from relay.primary.imap import Mark, Sight
from relay.replay.canaries import CanaryWatch
from relay.replay.eyes import Eyes
from relay.replay.gate import GateState
from relay.spool.replaying import CANARIES, Canaries, decode_canaries
from relay.store.records import ChangeKind
from tests.primary.fake import FakeSmtp
from tests.replay.harness import SETTINGS, Rig, rig

S = ItemState


class Mailboxes:
    """What the primary's mailboxes hold."""

    sees_mailboxes = True

    def __init__(self, server: FakeSmtp | None = None) -> None:
        self.server = server
        """Whose mail is in them; None = nothing ever arrives."""
        self.looked: list[ItemId] = []

    async def look(self, _address: str, mark: Mark) -> Sight:
        """See Eyes."""
        self.looked.append(mark.item)
        arrived = self.server is not None and any(mark.item.encode() in taken.content for taken in self.server.taken)
        return Sight.FOUND if arrived else Sight.ABSENT


def watch(r: Rig, eyes: Eyes | None, **settings: float) -> CanaryWatch:
    return CanaryWatch(
        queue=r.spool.queue,
        reader=r.spool.reader,
        eyes=eyes,
        board=r.board,
        clock=r.spool.clock,
        settings=msgspec.structs.replace(SETTINGS, **settings),
        metrics=r.metrics.replay,
    )


@contextlib.asynccontextmanager
async def watching(r: Rig, eyes: Eyes | None) -> AsyncIterator[None]:
    one = watch(r, eyes)
    end = r.feed.on_kind(ChangeKind.SETTING, one.heed)
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        end()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def named(r: Rig) -> Canaries:
    said = decode_canaries(await r.spool.store.setting(CANARIES))
    assert said is not None
    return said


async def until_named(r: Rig, count: int) -> None:
    async with asyncio.timeout(10):
        while True:
            seen = await r.spool.store.last_change()
            said = decode_canaries(await r.spool.store.setting(CANARIES))
            if said is not None and len(said.items) == count:
                return
            await r.spool.store.wait_change(after=seen, timeout=0.2)


async def test_canaries_that_are_seen_are_verified_and_open_the_gate(tmp_path: Path) -> None:
    # A proof that would take for ever: only a sight can open the gate.
    async with FakeSmtp() as server:
        eyes = Mailboxes(server)
        async with rig(tmp_path, server, eyes=eyes, canaries=2, proof=1e9) as r, watching(r, eyes):
            items = [await r.accept(n) for n in range(20)]
            r.board.now[Service.SMTP] = Mode.RECOVERY
            r.runner.wake()
            for item in items[:2]:
                await r.until(item, S.VERIFIED)
            for item in items[2:]:
                await r.until(item, S.DELIVERED)
            last = await r.accept(99)  # so that the runner looks at the gate once more
            await r.until(last, S.DELIVERED)
            assert r.runner.gate.state is GateState.OPEN
            assert (await named(r)).items == tuple(items[:2])
            assert set(eyes.looked) == set(items[:2])
            assert r.metrics.replay.canaries["delivered"]._value.get() == 2
            assert r.metrics.replay.canaries["seen"]._value.get() == 2
            assert r.metrics.replay.canaries["not_seen"]._value.get() == 0


async def test_what_is_not_seen_holds_nothing_up_and_is_told_once(tmp_path: Path) -> None:
    async with FakeSmtp() as server:
        eyes = Mailboxes()
        async with rig(tmp_path, server, eyes=eyes, canaries=2, proof=5.0) as r:
            items = [await r.accept(n) for n in range(6)]
            r.board.now[Service.SMTP] = Mode.RECOVERY
            r.runner.wake()
            for item in items:  # one at a time, and all of them
                await r.until(item, S.DELIVERED)
            assert (server.most_open, r.runner.gate.state) == (1, GateState.CANARY)
            await r.later(5.0)
            await r.until(await r.accept(7), S.DELIVERED)
            assert r.runner.gate.state is GateState.OPEN
            one = watch(r, eyes, proof_patience=600.0)
            pauses = [await one.look_around()]
            while not (await named(r)).over:
                r.spool.clock.advance(pauses[-1])
                pauses.append(await one.look_around())
            assert max(pauses) <= 60.0
            assert len(pauses) < 30
            assert r.metrics.replay.canaries["not_seen"]._value.get() == 2
            assert {(await r.row(item)).state for item in items} == {S.DELIVERED}
            looks = len(eyes.looked)
            await one.look_around()
            assert len(eyes.looked) == looks


async def test_time_in_which_nothing_can_be_seen_does_not_count(tmp_path: Path) -> None:
    async with FakeSmtp() as server:
        eyes = Mailboxes(server)
        async with rig(tmp_path, server, mode=Mode.NORMAL, eyes=eyes) as r:
            item = await r.accept(1)
            await r.until(item, S.DELIVERED)
            await until_named(r, 1)
            one = watch(r, eyes, proof_patience=10.0)
            r.board.now[Service.IMAP] = Mode.STANDBY
            for _ in range(3):
                await one.look_around()
                r.spool.clock.advance(1000.0)
            assert eyes.looked == []
            r.board.now[Service.IMAP] = Mode.NORMAL
            await one.look_around()
            assert (await r.row(item)).state is S.VERIFIED


async def test_where_mailboxes_cannot_be_seen_canaries_stay_delivered_and_the_gate_opens(tmp_path: Path) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server, canaries=2) as r, watching(r, None):
        items = [await r.accept(n) for n in range(20)]
        await r.until_drained()
        assert r.runner.gate.state is GateState.OPEN
        said = await named(r)
        assert (said.items, said.looked_for) == (tuple(items[:2]), False)
        assert {(await r.row(item)).state for item in items} == {S.DELIVERED}


async def test_a_damaged_canary_is_quarantined_and_the_others_are_seen(tmp_path: Path) -> None:
    async with FakeSmtp() as server:
        eyes = Mailboxes(server)
        async with rig(tmp_path, server, mode=Mode.NORMAL, eyes=eyes, canaries=2) as r:
            bad, good = await r.accept(1), await r.accept(2)
            for item in (bad, good):
                await r.until(item, S.DELIVERED)
            await until_named(r, 2)
            real = r.spool.store.chunks

            async def spoiled(item: ItemId, first: int, count: int) -> list[bytes | None]:
                return [None] if item == bad else await real(item, first, count)

            r.spool.store.chunks = spoiled  # type: ignore[method-assign]  # the disk lost a chunk
            await watch(r, eyes).look_around()
            assert (await r.row(bad)).state is S.QUARANTINED
            assert (await r.row(good)).state is S.VERIFIED
