"""Settling doubts by looking."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.mode import Mode, Service
from relay.primary.imap import Access, ImapPrimary, ImapSettings, Mark, Sight
from relay.primary.settings import Endpoint, TlsMode
from relay.proto.sasl.credentials import Credentials
from relay.replay.eyes import Eyes
from relay.replay.settings import PAUSED
from relay.replay.verify import Verifier, in_doubt, resolve
from relay.spool.queue import Queue
from relay.spool.replaying import SENT_AGAIN, decode_sent_again
from relay.store.records import ChangeKind, Route
from tests.peers import people
from tests.peers.dovecot import Dovecot
from tests.peers.faultproxy import END_OF_MAIL, Break, Fault, Side
from tests.peers.faultproxy import Script as FaultScript
from tests.peers.plugin import MakeProxy
from tests.peers.postfix import Postfix
from tests.primary.fake import Act, FakeSmtp
from tests.replay.harness import PATIENCE, SETTINGS, Rig, rig

S = ItemState
R: TypeAlias = RecipientState


class Looking:
    """Eyes that see what a test says."""

    sees_mailboxes = True

    def __init__(self, **sights: Sight) -> None:
        self.sights = sights
        self.marks: list[Mark] = []
        self.seen: Container[str] = ()
        """Ids that are in somebody's mailbox."""

    async def look(self, address: str, mark: Mark) -> Sight:
        """See Eyes."""
        self.marks.append(mark)
        if mark.item in self.seen:
            return Sight.FOUND
        return self.sights.get(address.partition("@")[0], Sight.ABSENT)


def verifier(r: Rig, eyes: Eyes | None, wait: float = 600.0) -> Verifier:
    return Verifier(
        queue=r.spool.queue,
        reader=r.spool.reader,
        eyes=eyes,
        board=r.board,
        clock=r.spool.clock,
        settings=msgspec.structs.replace(SETTINGS, unknown_wait=wait),
        metrics=r.metrics.replay,
    )


async def doubtful(r: Rig, *recipients: str) -> ItemId:
    """An item whose reply was lost, on a primary that is well again."""
    item = await r.accept(1, *recipients)
    r.board.now[Service.SMTP] = Mode.NORMAL
    r.runner.wake()
    await r.until(item, S.UNKNOWN)
    r.board.now[Service.SMTP] = Mode.NORMAL
    return item


def lost() -> FakeSmtp:
    return FakeSmtp(lambda verb, _line, session: Act.TAKE_AND_CUT if verb == "DOT" and session.number == 1 else None)


async def test_found_is_delivered_at_once(tmp_path: Path) -> None:
    async with lost() as server, rig(tmp_path, server) as r:
        item = await doubtful(r, "alice@example.org", "bob@example.org")
        eyes = Looking(alice=Sight.ABSENT, bob=Sight.FOUND)
        assert await verifier(r, eyes).look_around() == 1
        row = await r.row(item)
        assert row.state is S.DELIVERED
        # One sighting speaks for the transaction: the primary's 250 was for both.
        assert {recipient.state for recipient in row.recipients} == {R.DELIVERED}
        assert eyes.marks[0].item == item
        assert eyes.marks[0].message_id == "<1@example.net>"
    assert len(server.taken) == 1


async def test_absent_is_sent_again_only_after_a_healthy_wait(tmp_path: Path) -> None:
    async with lost() as server, rig(tmp_path, server) as r:
        item = await doubtful(r)
        server.taken.clear()  # what the primary took it lost again
        v = verifier(r, Looking())
        assert await v.look_around() == 0
        r.spool.clock.advance(500.0)
        assert await v.look_around() == 0
        r.board.now[Service.IMAP] = Mode.STANDBY
        r.spool.clock.advance(500.0)
        assert await v.look_around() == 0
        r.board.now[Service.IMAP] = Mode.NORMAL
        assert await v.look_around() == 0
        r.spool.clock.advance(101.0)
        assert await v.look_around() == 1
        await r.until(item, S.DELIVERED)
        assert r.metrics.replay.verifications["absent"]._value.get() == 1
        assert r.metrics.replay.possibly_twice._value.get() == 0
    assert len(server.taken) == 1


async def test_a_mailbox_in_trouble_is_given_time(tmp_path: Path) -> None:
    async with lost() as server, rig(tmp_path, server) as r:
        item = await doubtful(r)
        eyes = Looking(alice=Sight.TROUBLE)
        v = verifier(r, eyes)
        for _ in range(6):
            assert await v.look_around() == 0
            r.spool.clock.advance(599.0)
        assert await v.look_around() == 0
        r.board.now[Service.LOGIN] = Mode.STANDBY  # nobody can look: this time does not count
        r.spool.clock.advance(6_000.0)
        assert await v.look_around() == 0
        r.board.now[Service.LOGIN] = Mode.NORMAL
        assert await v.look_around() == 0
        eyes.sights["alice"] = Sight.FOUND
        r.spool.clock.advance(61.0)
        assert await v.look_around() == 1
        assert (await r.row(item)).state is S.DELIVERED
    assert len(server.taken) == 1


async def test_what_cannot_be_seen_is_sent_again_and_counted(tmp_path: Path) -> None:
    async with lost() as server, rig(tmp_path, server) as r:
        item = await doubtful(r)
        v = verifier(r, None)
        assert await v.look_around() == 0
        r.spool.clock.advance(601.0)
        assert await v.look_around() == 1
        await r.until(item, S.DELIVERED)
        assert r.metrics.replay.possibly_twice._value.get() == 1
    assert len(server.taken) == 2


async def resent(r: Rig, eyes: Looking) -> ItemId:
    """In doubt, looked for in vain, and due again while the primary is away."""
    item = await doubtful(r)
    v = verifier(r, eyes)
    await v.look_around()
    r.spool.clock.advance(601.0)
    r.board.now[Service.SMTP] = Mode.NORMAL
    r.runner._allowed = False  # the verifier looks at the board; the runner must not go yet
    r.board.now[Service.SMTP] = Mode.RECOVERY
    await r.spool.store.put_setting(PAUSED, b"1", now=r.spool.clock.now())
    await r.runner._look_after()
    assert await v.look_around() == 1
    row = await r.row(item)
    assert row.state is S.PENDING
    assert "may arrive twice" in (r.spool.queue.view(row).note or "")
    return item


@pytest.mark.parametrize(("arrived", "sent"), [(True, 1), (False, 2)])
async def test_it_is_looked_for_once_more_right_before_it_goes_again(tmp_path: Path, arrived: bool, sent: int) -> None:
    """The primary kept its copy deferred for longer than the wait, and delivered it before our next attempt."""
    eyes = Looking()
    async with lost() as server, rig(tmp_path, server, eyes=eyes) as r:
        item = await resent(r, eyes)
        r.spool.clock.advance(3600.0)
        eyes.seen = {item} if arrived else ()
        looks = len(eyes.marks)
        await r.spool.store.put_setting(PAUSED, b"", now=r.spool.clock.now())
        row = await r.until(item, S.DELIVERED)
        assert len(eyes.marks) == looks + 1
        assert {recipient.state for recipient in row.recipients} == {R.DELIVERED}
        note = r.spool.queue.view(row).note
        assert note == ("250 2.0.0 Was in the mailbox already: not sent again" if arrived else None)
        counted = decode_sent_again(await r.spool.store.setting(SENT_AGAIN))
        assert counted.count == 1
    assert len(server.taken) == sent


async def test_a_look_of_a_moment_ago_is_not_made_again(tmp_path: Path) -> None:
    eyes = Looking()
    async with lost() as server, rig(tmp_path, server, eyes=eyes) as r:
        item = await resent(r, eyes)
        looks = len(eyes.marks)
        await r.spool.store.put_setting(PAUSED, b"", now=r.spool.clock.now())
        await r.until(item, S.DELIVERED)
        assert len(eyes.marks) == looks


async def test_mail_that_was_never_in_doubt_costs_no_look(tmp_path: Path) -> None:
    eyes = Looking()

    def script(verb: str, _line: str, _session: object) -> str | None:
        return "451 4.3.0 later" if verb == "DOT" and not r.spool.clock.monotonic() > later else None

    async with FakeSmtp(script) as server, rig(tmp_path, server, eyes=eyes) as r:
        later = r.spool.clock.monotonic() + 100.0
        r.board.now[Service.SMTP] = Mode.NORMAL
        item = await r.accept(1)
        while (await r.until(item, S.PENDING)).attempts == 0:
            pass
        await r.later(3600.0)
        await r.until(item, S.DELIVERED)
    assert eyes.marks == []
    assert len(server.taken) == 1


async def test_after_a_crash_each_recipient_is_settled_alone(tmp_path: Path) -> None:
    async with FakeSmtp() as server, rig(tmp_path, server, mode=Mode.STANDBY) as r:
        item = await r.accept(1, "alice@example.org", "bob@example.org")
        dead = Queue(r.spool.store, r.spool.vault, r.spool.clock, owner="dead")
        (row,) = await dead.claim(limit=1, seconds=60.0, states=[S.PENDING], route=Route.PRIMARY)
        assert row.lease is not None
        await dead.intend([row.lease])
        r.spool.clock.advance(61.0)
        assert await r.spool.store.rescue(now=r.spool.clock.now()) == [item]
        r.board.now[Service.SMTP] = Mode.NORMAL
        v = verifier(r, Looking(alice=Sight.FOUND))
        assert await v.look_around() == 0
        r.spool.clock.advance(601.0)
        assert await v.look_around() == 1
        r.runner.wake()
        await r.until(item, S.DELIVERED)
    assert [taken.recipients for taken in server.taken] == [["bob@example.org"]]


async def test_leases_are_given_back_between_looks_so_that_the_operator_can_act(tmp_path: Path) -> None:
    async with lost() as server, rig(tmp_path, server) as r:
        item = await doubtful(r)
        assert await verifier(r, Looking()).look_around() == 0
        row = await r.spool.queue.move(item, S.HELD)
        assert row.state is S.HELD


async def test_a_lost_reply_wakes_the_verifier(tmp_path: Path) -> None:
    async with lost() as server, rig(tmp_path, server) as r:
        v = verifier(r, Looking(alice=Sight.FOUND))
        r.feed.on_kind(ChangeKind.ITEM, v.heed)
        r.feed.on_kind(ChangeKind.SETTING, v.heed)
        task = asyncio.create_task(v.run())
        item = await doubtful(r)
        await r.spool.store.put_setting("mode", b"", now=r.spool.clock.now())
        await r.until(item, S.DELIVERED)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@given(
    states=st.lists(st.sampled_from(list(R)), min_size=1, max_size=5),
    sights=st.dictionaries(st.integers(0, 4), st.sampled_from(list(Sight))),
    waited=st.sampled_from([0, 1, 6]),
)
def test_a_conclusion_never_loses_anybody(states: Sequence[R], sights: dict[int, Sight], waited: int) -> None:
    finding = resolve(states, sights, waited_out=waited >= 1, patience_out=waited >= 6)
    doubtful_ones = in_doubt(states)
    if finding is None:
        assert waited < 1 or (waited < 6 and Sight.TROUBLE in {sights.get(i) for i in doubtful_ones})
        return
    assert tuple(index for index, _ in finding.recipients) == doubtful_ones
    for index, state in finding.recipients:
        if state is R.DELIVERED:
            # Seen, or in a recorded transaction with somebody who was seen.
            assert sights.get(index) is Sight.FOUND or (
                R.UNKNOWN in states and Sight.FOUND in {sights.get(i) for i in doubtful_ones}
            )
        else:
            assert waited
            assert sights.get(index) is not Sight.FOUND


@pytest.fixture
def peers(postfix: Postfix, dovecot: Dovecot) -> tuple[Postfix, Dovecot]:
    """A Postfix that delivers into a Dovecot."""
    return postfix, dovecot


REPLY_CUT = Fault(side=Side.DOWN, at=rb"250 2\.0\.0 Ok: queued", action=Break.CUT)
DOT_CUT = Fault(side=Side.UP, at=END_OF_MAIL, action=Break.CUT)


@pytest.mark.peers
@pytest.mark.parametrize(("fault", "address"), [(REPLY_CUT, "u060@example.org"), (DOT_CUT, "u061@example.org")])
async def test_real_peers_have_it_once(
    tmp_path: Path, peers: tuple[Postfix, Dovecot], fault_proxy: MakeProxy, fault: Fault, address: str
) -> None:
    """The reply of a real Postfix is cut off, or the final dot is: the message is in the mailbox once."""
    postfix, dovecot = peers
    proxy = await fault_proxy(postfix.port, FaultScript(faults=(fault,)))
    eyes = ImapPrimary(
        ImapSettings(
            Endpoint("127.0.0.1", dovecot.imap_port, TlsMode.OPPORTUNISTIC),
            access=Access.MASTER,
            master=Credentials(people.MASTER_USER, people.MASTER_PASSWORD.encode()),
        )
    )
    async with FakeSmtp() as unused, rig(tmp_path, unused, port=proxy.port) as r:
        item = await doubtful(r, address)
        v = verifier(r, eyes, wait=600.0 if fault is DOT_CUT else float("inf"))
        async with asyncio.timeout(PATIENCE):
            while not await v.look_around():
                r.spool.clock.advance(60.0 if fault is DOT_CUT else 4.0)
        await r.until(item, S.DELIVERED)
        async with asyncio.timeout(PATIENCE):
            while not (found := await asyncio.to_thread(dovecot.messages, address)):
                continue
    assert len(found) == 1
    assert item.encode() in found[0]
