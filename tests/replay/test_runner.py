"""The queue goes to the primary, each message once, whatever the primary does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.mode import Mode, Service, Signal
from relay.replay.gate import GateState
from relay.replay.settings import PAUSED
from relay.spool.queue import Queue
from relay.store.mailbox_records import Body
from relay.store.records import Route
from tests.primary.fake import Act, FakeSmtp, Script, Session
from tests.replay.harness import PATIENCE, SETTINGS, make_pool, make_runner, rig

S = ItemState


async def test_the_queue_drains_in_order_and_says_so(tmp_path: Path) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server) as r:
        items = [await r.accept(n) for n in range(40)]
        assert not server.taken
        await r.until_drained()
        for item in items:
            assert (await r.row(item)).state is S.DELIVERED
    assert {taken.reverse_path for taken in server.taken} == {f"s{n}@example.net" for n in range(40)}
    assert len(server.taken) == 40
    assert server.taken[0].reverse_path == "s0@example.net"
    head = f"Received: from mail.sender.example by relay.example.org id {items[0]}\r\nMessage-ID: <0@"
    assert server.taken[0].content.startswith(head.encode())
    assert server.most_open <= SETTINGS.concurrency
    assert r.metrics.replay.attempts["primary", "delivered"]._value.get() == 40


async def test_steady_mail_does_not_keep_the_recovery_from_ending(tmp_path: Path) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server) as r:
        backlog = [await r.accept(n) for n in range(20)]

        async def arrive() -> None:
            # Each new message leaves two more in the queue, so that it is never empty.
            for number in range(1000, 100_000, 2):
                await r.accept(number)
                await r.accept(number + 1)
                r.spool.clock.advance(0.2)
                async with asyncio.timeout(PATIENCE):
                    while len(server.taken) < (number - 1000) // 2:
                        await r.spool.store.wait_change(after=await r.spool.store.last_change(), timeout=0.05)

        traffic = asyncio.ensure_future(arrive())
        try:
            await r.until_drained()
        finally:
            traffic.cancel()
            await asyncio.gather(traffic, return_exceptions=True)
        for item in backlog:
            assert (await r.row(item)).state is S.DELIVERED


async def test_a_new_item_goes_at_once_in_normal_mode(tmp_path: Path) -> None:
    # An idle time far beyond the test's patience: only the change feed can be what wakes it.
    async with FakeSmtp() as server, rig(tmp_path, server, mode=Mode.NORMAL, idle=10 * PATIENCE) as r:
        await r.until(await r.accept(1), S.DELIVERED)
        await r.until(await r.accept(2), S.DELIVERED)


async def test_nothing_goes_while_the_primary_is_down(tmp_path: Path) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server, mode=Mode.SUSPECT) as r:
        item = await r.accept(1)
        for mode in (Mode.SUSPECT, Mode.STANDBY):
            r.board.now[Service.SMTP] = mode
            r.runner.wake()
            await r.spool.store.wait_change(after=await r.spool.store.last_change(), timeout=0.1)
        assert (await r.row(item)).state is S.PENDING
        assert not server.sessions


async def test_each_recipient_has_its_own_result_and_only_open_ones_are_tried_again(tmp_path: Path) -> None:
    def script(verb: str, line: str, session: Session) -> str | None:
        if verb == "RCPT" and "later" in line and not server.taken:
            return "452 4.2.2 full"
        return "550 5.1.1 unknown" if verb == "RCPT" and "never" in line else None

    async with FakeSmtp(script) as server, rig(tmp_path, server, mode=Mode.NORMAL) as r:
        item = await r.accept(1, "now@example.org", "later@example.org", "never@example.org")
        await server.until_taken(1)
        row = await r.until(item, S.PENDING)
        while row.attempts == 0:
            row = await r.until(item, S.PENDING)
        states = [recipient.state for recipient in row.recipients]
        assert states == [RecipientState.DELIVERED, RecipientState.WAITING, RecipientState.REFUSED]
        assert row.next_attempt_at > r.spool.clock.now()
        await r.later(10.0)
        row = await r.until(item, S.HELD)
    assert [taken.recipients for taken in server.taken] == [["now@example.org"], ["later@example.org"]]
    assert [recipient.state for recipient in row.recipients][1] is RecipientState.DELIVERED


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_permanent_refusal_is_held_for_the_operator_and_never_bounced(tmp_path: Path, verb: str) -> None:
    async with FakeSmtp(_answers(verb, "554 5.7.1 no")) as server, rig(tmp_path, server, mode=Mode.NORMAL) as r:
        item = await r.accept(1)
        row = await r.until(item, S.HELD)
        assert r.spool.queue.view(row).note == "554 5.7.1 no"
        assert len(await r.spool.store.items(states=list(S))) == 1
        assert (Service.SMTP, Signal.FAIL) not in r.board.told


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("said", ["451 4.3.0 later", "530 5.7.0 authenticate first"])
async def test_patience_is_asked_for_and_had(tmp_path: Path, verb: str, said: str) -> None:
    patient = True

    def script(step: str, _line: str, _session: Session) -> str | None:
        return said if step == verb and patient else None

    async with FakeSmtp(script) as server, rig(tmp_path, server, mode=Mode.NORMAL) as r:
        item = await r.accept(1)
        row = await r.until(item, S.PENDING)
        while row.attempts == 0:
            row = await r.until(item, S.PENDING)
        assert row.next_attempt_at == r.spool.clock.now() + 2.5
        assert not server.taken
        patient = False
        await r.later(3.0)
        await r.until(item, S.DELIVERED)
    assert len(server.taken) == 1


@pytest.mark.parametrize("act", [Act.CUT, Act.TAKE_AND_CUT, Act.TAKE_AND_STALL])
async def test_a_lost_reply_makes_it_unknown_and_stops_the_queue(tmp_path: Path, act: Act) -> None:
    async with FakeSmtp(_answers("DOT", act)) as server, rig(tmp_path, server, mode=Mode.RECOVERY) as r:
        item = await r.accept(1)
        row = await r.until(item, S.UNKNOWN)
        assert row.recipients[0].state is RecipientState.UNKNOWN
        assert (Service.SMTP, Signal.FAIL) in r.board.told
        assert len(server.sessions) == 1


@pytest.mark.parametrize("verb", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_no_contact_is_evidence_and_no_attempt_of_the_message(tmp_path: Path, verb: str) -> None:
    async with FakeSmtp(_answers(verb, Act.CUT)) as server, rig(tmp_path, server, mode=Mode.RECOVERY) as r:
        item = await r.accept(1)
        async with asyncio.timeout(PATIENCE):
            await r.board.failed.wait()
        row = await r.until(item, S.PENDING)
        assert row.attempts == 0
        assert row.next_attempt_at <= r.spool.clock.now()
        server.script = lambda *_: None
        await r.until_drained()
        assert (await r.row(item)).state is S.DELIVERED
    assert len(server.taken) == 1


async def test_a_message_that_breaks_the_connection_does_not_stand_in_the_way(tmp_path: Path) -> None:
    def script(verb: str, _line: str, session: Session) -> Act | None:
        return Act.CUT if verb == "CONTENT" and session.reverse_path == "s0@example.net" else None

    async with FakeSmtp(script) as server, rig(tmp_path, server, mode=Mode.RECOVERY) as r:
        poison = await r.accept(0, size=900_000)
        others = [await r.accept(n) for n in range(1, 4)]
        async with asyncio.timeout(PATIENCE):
            await r.board.failed.wait()
        await r.until_drained()
        for item in others:
            assert (await r.row(item)).state is S.DELIVERED
        row = await r.until(poison, S.PENDING)
        assert row.attempts >= 1


def _flipped(sealed: bytes | None) -> bytes:
    assert sealed is not None
    return bytes([sealed[0] ^ 1]) + sealed[1:]


async def test_damage_is_quarantined_never_truncated_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server) as r:
        small, large, sound = await r.accept(0), await r.accept(1, size=2_000_000), await r.accept(2)
        whole, many = r.spool.store.chunks, r.spool.store.bodies

        async def damaged(item: ItemId, first: int, count: int) -> list[bytes | None]:
            found = await whole(item, first, count)
            last = first + count >= (await r.row(item)).chunk_count
            return [*found[:-1], _flipped(found[-1])] if item != sound and last else found

        async def damaged_too(items: Sequence[ItemId]) -> dict[ItemId, Body]:
            found = await many(items)
            assert large not in found
            return {
                item: body if item == sound else msgspec.structs.replace(body, first=_flipped(body.first))
                for item, body in found.items()
            }

        monkeypatch.setattr(r.spool.store, "chunks", damaged)
        monkeypatch.setattr(r.spool.store, "bodies", damaged_too)
        await r.until_drained()
        assert (await r.row(small)).state is S.QUARANTINED
        assert (await r.row(large)).state is S.QUARANTINED
        assert (await r.row(sound)).state is S.DELIVERED
        assert r.metrics.spool.quarantined._value.get() == 2
    assert [taken.reverse_path for taken in server.taken] == ["s2@example.net"]


async def test_the_operator_pauses_and_resumes(tmp_path: Path) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server, mode=Mode.NORMAL) as r:
        await r.until(await r.accept(1), S.DELIVERED)
        await r.spool.store.put_setting(PAUSED, b"1", now=r.spool.clock.now())
        async with asyncio.timeout(PATIENCE):
            while r.metrics.replay.gate["paused"]._value.get() != 1:
                await r.spool.store.wait_change(after=await r.spool.store.last_change(), timeout=0.02)
        item = await r.accept(2)
        await r.spool.store.wait_change(after=await r.spool.store.last_change(), timeout=0.1)
        assert (await r.row(item)).state is S.PENDING
        await r.spool.store.put_setting(PAUSED, b"", now=r.spool.clock.now())
        await r.until(item, S.DELIVERED)


async def test_two_runners_at_once_deliver_nothing_twice(tmp_path: Path) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server, mode=Mode.NORMAL) as r:
        pool = make_pool(r.spool, server.port)
        second = msgspec.structs.replace(SETTINGS, owner="edge-1/boot/1")
        other = asyncio.create_task(make_runner(r.spool, r.board, pool, r.metrics, second).run())
        for item in [await r.accept(n) for n in range(30)]:
            await r.until(item, S.DELIVERED)
        other.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await other
        await pool.close()
    assert len(server.taken) == 30


async def test_a_dead_runners_intent_is_looked_into_rather_than_sent_again(tmp_path: Path) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server, mode=Mode.STANDBY, start=False) as r:
        item = await r.accept(1)
        dead = Queue(r.spool.store, r.spool.vault, r.spool.clock, owner="edge-1/boot/9")
        (row,) = await dead.claim(limit=1, seconds=60.0, states=[S.PENDING], route=Route.PRIMARY)
        assert row.lease is not None
        await dead.intend([row.lease])
        r.spool.clock.advance(61.0)
        r.board.now[Service.SMTP] = Mode.NORMAL
        task = asyncio.create_task(r.runner.run())
        await r.until(item, S.UNKNOWN)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert not server.taken


async def test_stopping_waits_for_the_reply_to_a_dot_and_hands_the_rest_back(tmp_path: Path) -> None:
    at_dot = asyncio.Event()

    def script(verb: str, _line: str, _session: Session) -> None:
        if verb == "DOT":
            at_dot.set()

    async with FakeSmtp(script) as server, rig(tmp_path, server, mode=Mode.NORMAL, start=False) as r:
        items = [await r.accept(n) for n in range(20)]
        task = asyncio.create_task(r.runner.run())
        await at_dot.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        rows = [await r.row(item) for item in items]
    delivered = [row for row in rows if row.state is S.DELIVERED]
    assert len(delivered) == len(server.taken)
    assert len(delivered) >= 1
    assert all(row.state in (S.DELIVERED, S.PENDING) and row.lease is None for row in rows)


async def test_a_half_recovered_primary_costs_a_few_held_messages(tmp_path: Path) -> None:
    async with FakeSmtp(_answers("RCPT", "550 5.1.1 unknown")) as server, rig(tmp_path, server, canaries=3) as r:
        for n in range(50):
            await r.accept(n)
        r.board.now[Service.SMTP] = Mode.RECOVERY
        r.runner.wake()
        async with asyncio.timeout(PATIENCE):
            while r.runner.gate.state is not GateState.CLOSED:
                await r.spool.store.wait_change(after=await r.spool.store.last_change(), timeout=0.05)
            # Outcomes are written behind the gate's back; when hours pass before that, their leases are lost.
            while (await r.spool.store.counts())[S.HELD].items < 2:
                await r.spool.store.wait_change(after=await r.spool.store.last_change(), timeout=0.05)
        counts = await r.spool.store.counts()
        assert counts[S.HELD].items <= 2
        assert r.board.drained.is_set() is False
        server.script = lambda *_: None
        await r.later(400.0)
        await r.until_drained()
        assert (await r.spool.store.counts())[S.DELIVERED].items >= 48


def _answers(verb: str, what: str | Act) -> Script:
    return lambda step, _line, _session: what if step == verb else None
