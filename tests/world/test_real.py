"""The way out with everything real but the DNS: spool, queue runner, Postfix."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.core.envelope import Envelope, Recipient
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.mode import Mode, Service
from relay.obs.metrics import Metrics
from relay.primary.pacing import Pacer, PacingSettings
from relay.replay.destination import WorldDestination
from relay.replay.runner import Runner
from relay.spool.queue import Queue
from relay.store.records import ItemRow, Route
from relay.world.keeping import SealedSetting
from tests.peers.certs import Authority
from tests.peers.plugin import MakePostfix
from tests.peers.postfix import PostfixSettings
from tests.primary.fake import Act, FakeSmtp, Session
from tests.replay.harness import SETTINGS, Board
from tests.spool.conftest import Spool, open_spool
from tests.world.site import ORIGIN, Site, site
from tests.world.verifying import KEYS, verifies

S, R = ItemState, RecipientState
BODY = b"From: user@example.org\r\nSubject: to the world\r\n\r\n..dots\r\nhello\r\n"


@dataclass
class Office:
    """A spool whose mail for the world goes out."""

    spool: Spool
    world: Site
    runner: Runner

    async def accept(self, *recipients: str, route: Route = Route.WORLD) -> ItemId:
        """One message that a user sent."""
        envelope = Envelope("user@example.org", tuple(map(Recipient, recipients)))
        async with self.spool.intake.begin() as draft:
            await draft.write(BODY)
            item = (await draft.commit(envelope, ORIGIN, intent=False, route=route)).item
        self.runner.wake()
        return item

    async def until(self, item: ItemId, *states: ItemState, attempts: int = 0) -> ItemRow:
        """Wait until the item is in one of the states, free, and was tried so often."""
        async with asyncio.timeout(20.0):
            while True:
                seen = await self.spool.store.last_change()
                row = await self.spool.store.item(item)
                assert row is not None
                if row.state in states and row.lease is None and row.attempts >= attempts:
                    return row
                await self.spool.store.wait_change(after=seen, timeout=0.2)


@contextlib.asynccontextmanager
async def office(path: Path, world: Site) -> AsyncIterator[Office]:
    async with open_spool(path) as spool:
        board, metrics = Board(), Metrics()
        board.now[Service.SMTP] = Mode.NORMAL
        runner = Runner(
            queue=Queue(spool.store, spool.vault, spool.clock, owner=SETTINGS.owner),
            reader=spool.reader,
            destination=WorldDestination(world.way_out.world),
            board=board,
            pacer=Pacer(PacingSettings(), spool.clock),
            clock=spool.clock,
            settings=SETTINGS,
            metrics=metrics.replay,
            spool_metrics=metrics.spool,
            fraction=lambda: 0.0,
        )
        task = asyncio.create_task(runner.run())
        try:
            yield Office(spool, world, runner)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert board.told == []


@pytest.mark.peers
async def test_a_real_postfix_gets_signed_mail_through_tls(
    tmp_path: Path, make_postfix: MakePostfix, authority: Authority
) -> None:
    pair = authority.issue("mx.example.com", stem="world-postfix")
    postfix = make_postfix(PostfixSettings(certificate=pair.certificate, private_key=pair.private_key))
    zone = {("example.com", "MX"): ["10 mx.example.com."], ("mx.example.com", "A"): ["127.0.0.1"]}
    async with site(zone, postfix.port, keys=KEYS) as world, office(tmp_path, world) as o:
        item = await o.accept("u080@example.com", "nobody-here@example.com", "u081@example.com")
        row = await o.until(item, S.HELD)
        assert [one.state for one in row.recipients] == [R.DELIVERED, R.REFUSED, R.DELIVERED]
        view = o.spool.queue.view(row)
        assert (view.recipients[1].reply or "").startswith("550 5.1.1")
        async with asyncio.timeout(20.0):
            while not (mail := await asyncio.to_thread(lambda: list(postfix.mail("u080@example.com")))):
                continue
    received = mail[0].replace(b"\n", b"\r\n")
    assert [verifies(received, index) for index in (0, 1)] == [True, True]
    assert received.endswith(b"\r\n\r\n..dots\r\nhello\r\n")
    assert b"with ESMTPS" in received


async def test_recipients_that_must_wait_are_tried_again_and_only_they(tmp_path: Path) -> None:
    def script(verb: str, line: str, session: Session) -> str | None:
        return "450 4.2.0 greylisted" if verb == "RCPT" and "slow" in line and session.number == 1 else None

    async with FakeSmtp(script) as server:
        zone = {("a.example", "A"): ["127.0.0.1"]}
        async with site(zone, server.port) as world, office(tmp_path, world) as o:
            world.dns.broken.add("down.example")
            item = await o.accept("quick@a.example", "slow@a.example", "later@down.example")
            row = await o.until(item, S.PENDING, attempts=1)
            states = [one.state for one in row.recipients]
            assert states[:2] == [R.DELIVERED, R.WAITING]
            assert row.next_attempt_at > o.spool.clock.now()
            world.dns.broken.clear()
            world.dns.zone[("down.example", "A")] = ["127.0.0.1"]
            world.clock.advance(61)
            o.spool.clock.advance(3600)
            o.runner.wake()
            await o.until(item, S.DELIVERED)
    assert sorted(one for taken in server.taken for one in taken.recipients) == [
        "later@down.example",
        "quick@a.example",
        "slow@a.example",
    ]


async def test_a_lost_reply_is_a_doubt_about_its_recipients_alone(tmp_path: Path) -> None:
    def script(verb: str, _line: str, _session: Session) -> Act | None:
        return Act.TAKE_AND_CUT if verb == "DOT" else None

    async with FakeSmtp(script) as lossy, FakeSmtp(host="127.0.0.2", port=lossy.port):
        zone = {("a.example", "A"): ["127.0.0.1"], ("b.example", "A"): ["127.0.0.2"]}
        async with site(zone, lossy.port) as world, office(tmp_path, world) as o:
            row = await o.until(await o.accept("one@a.example", "two@b.example"), S.UNKNOWN)
            assert [one.state for one in row.recipients] == [R.UNKNOWN, R.DELIVERED]


async def test_mail_for_the_primary_is_not_taken_to_the_world(tmp_path: Path) -> None:
    async with FakeSmtp() as server:
        zone = {("a.example", "A"): ["127.0.0.1"]}
        async with site(zone, server.port) as world, office(tmp_path, world) as o:
            held = await o.accept("one@a.example", route=Route.PRIMARY)
            await o.until(await o.accept("two@a.example"), S.DELIVERED)
            await o.until(held, S.PENDING)
    assert [taken.recipients for taken in server.taken] == [["two@a.example"]]


async def test_what_is_remembered_over_a_restart_is_sealed(tmp_path: Path) -> None:
    async with open_spool(tmp_path) as spool:
        keeping = SealedSetting(spool.store, spool.vault, spool.clock, "world.mta_sts")
        assert await keeping.load() is None
        await keeping.save(b"correspondent.example")
        assert await keeping.load() == b"correspondent.example"
        stored = await spool.store.setting("world.mta_sts")
        assert stored is not None
        assert b"correspondent" not in stored
        await spool.store.put_setting("world.mta_sts", stored[:-1], now=0.0)
        assert await keeping.load() is None
