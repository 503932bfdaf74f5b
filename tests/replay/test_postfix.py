"""A real Postfix that goes away in the middle of the drain and comes back."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest

from relay.core.item import ItemState
from relay.core.mode import Mode, Service
from relay.primary.imap import Mark, Sight
from relay.replay.verify import Verifier
from tests.peers.faultproxy import END_OF_MAIL, Fault, Script, Side
from tests.peers.plugin import MakePostfix, MakeProxy
from tests.peers.postfix import Postfix, PostfixSettings
from tests.peers.trace import queue_id, trace
from tests.primary.fake import FakeSmtp
from tests.replay.harness import PATIENCE, SETTINGS, Rig, rig

S = ItemState
COUNT = 300
_ID = re.compile(rb"relay\.example\.org id ([0-9a-z]{26})")
LONG_IDS = PostfixSettings(parameters={"enable_long_queue_ids": "yes"})
"""Queue ids that are never used again."""


def delivered(postfix: Postfix, *addresses: str) -> Counter[str]:
    """Our ids in the Maildirs, each as often as Postfix took it from us.

    Killed between a Maildir and its note of that it delivers again what it took once: that is its own doing.
    """
    taken: set[tuple[str, str]] = set()
    for address in addresses:
        for message in postfix.mail(address):
            ours, theirs = _ID.search(message), queue_id(trace(message))
            assert ours is not None
            assert theirs is not None
            taken.add((ours[1].decode(), theirs))
    return Counter(ours for ours, _ in taken)


class InMaildirs:
    """Eyes on what is in the Maildirs at the moment of the look."""

    sees_mailboxes = True

    def __init__(self, postfix: Postfix) -> None:
        self._postfix = postfix

    async def look(self, address: str, mark: Mark) -> Sight:
        """See Eyes."""
        found = await asyncio.to_thread(delivered, self._postfix, address)
        return Sight.FOUND if mark.item in found else Sight.ABSENT


async def drain(r: Rig, postfix: Postfix) -> None:
    """Until nothing waits or is under way here, and nothing is in the primary's own queue."""
    async with asyncio.timeout(PATIENCE):
        while True:
            last = await r.spool.store.last_change()
            counts = await r.spool.store.counts()
            if (
                not counts[S.PENDING].items
                and not counts[S.INTENT].items
                and not await asyncio.to_thread(postfix.queued)
            ):
                return
            if await r.spool.store.wait_change(after=last, timeout=0.3) == last:
                # What broke within its content waits for its turn; and a lane may have noticed the kill late.
                r.board.now[Service.SMTP] = Mode.RECOVERY
                await r.later(6.0)


@pytest.mark.peers
@pytest.mark.parametrize("after_dot", [True, False])
async def test_a_primary_killed_while_draining_has_everything_once(
    tmp_path: Path, make_postfix: MakePostfix, fault_proxy: MakeProxy, after_dot: bool
) -> None:
    postfix = make_postfix(LONG_IDS)
    addresses = [f"u{n:03}@example.org" for n in range(70, 75)]

    dead = asyncio.Event()

    async def kill() -> None:
        await asyncio.to_thread(postfix.kill)
        dead.set()

    fault = Fault(side=Side.UP, at=END_OF_MAIL, action=kill, after=after_dot, nth=20)
    proxy = await fault_proxy(postfix.port, Script(faults=(fault,)))
    async with FakeSmtp() as unused, rig(tmp_path, unused, port=proxy.port) as r:
        items = [await r.accept(n, addresses[n % 5], size=4096) for n in range(COUNT)]
        r.board.now[Service.SMTP] = Mode.RECOVERY
        r.runner.wake()
        async with asyncio.timeout(PATIENCE):
            await dead.wait()
            await r.board.failed.wait()
        await asyncio.to_thread(postfix.start)
        # Its own queue too: what it had acknowledged, and perhaps not told us, comes out of it.
        await drain(r, postfix)

        verifier = Verifier(
            queue=r.spool.queue,
            reader=r.spool.reader,
            eyes=InMaildirs(postfix),
            board=r.board,
            clock=r.spool.clock,
            settings=SETTINGS,
            metrics=r.metrics.replay,
        )
        r.board.now[Service.SMTP] = Mode.NORMAL
        await verifier.look_around()
        r.spool.clock.advance(SETTINGS.unknown_wait + 100.0)
        await verifier.look_around()
        assert not (await r.spool.store.counts())[S.UNKNOWN].items
        await drain(r, postfix)
        assert (await r.spool.store.counts())[S.DELIVERED].items == COUNT
        assert await asyncio.to_thread(delivered, postfix, *addresses) == Counter(dict.fromkeys(items, 1))
