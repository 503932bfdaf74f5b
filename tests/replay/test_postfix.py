"""A real Postfix that goes away in the middle of the drain and comes back."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest

from relay.core.item import ItemState
from relay.core.mode import Mode, Service
from relay.replay.verify import Verifier
from tests.peers.faultproxy import END_OF_MAIL, Fault, Script, Side
from tests.peers.plugin import MakePostfix, MakeProxy
from tests.peers.postfix import Postfix, PostfixSettings
from tests.primary.fake import FakeSmtp
from tests.replay.harness import SETTINGS, Rig, rig
from tests.replay.test_verify import Looking

S = ItemState
COUNT = 300
_ID = re.compile(rb"relay\.example\.org id ([0-9a-z]{26})")


def delivered(postfix: Postfix, *addresses: str) -> Counter[str]:
    """Our ids in the Maildirs, counted."""
    found: Counter[str] = Counter()
    for address in addresses:
        for message in postfix.mail(address):
            match = _ID.search(message)
            assert match is not None
            found[match[1].decode()] += 1
    return found


async def back_again(r: Rig, postfix: Postfix) -> None:
    """The primary answers, and the mode follows."""
    await asyncio.to_thread(postfix.start)
    r.board.now[Service.SMTP] = Mode.RECOVERY
    r.runner.wake()


@pytest.mark.peers
@pytest.mark.parametrize("after_dot", [True, False])
async def test_a_primary_killed_while_draining_has_everything_once(
    tmp_path: Path, make_postfix: MakePostfix, fault_proxy: MakeProxy, after_dot: bool
) -> None:
    postfix = make_postfix(PostfixSettings())
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
        async with asyncio.timeout(30.0):
            await dead.wait()
            await r.board.failed.wait()
        await back_again(r, postfix)

        # Its own queue first: what it had acknowledged, and perhaps not told us, comes out of it.
        async with asyncio.timeout(60.0):
            while (await r.spool.store.counts())[S.PENDING].items or await asyncio.to_thread(postfix.queued):
                last = await r.spool.store.last_change()
                if await r.spool.store.wait_change(after=last, timeout=0.3) == last:
                    # What broke within its content waits for its turn; and another lane may have failed late.
                    r.board.now[Service.SMTP] = Mode.RECOVERY
                    await r.later(6.0)
        seen = await asyncio.to_thread(delivered, postfix, *addresses)
        eyes = Looking()
        eyes.seen = seen
        verifier = Verifier(
            queue=r.spool.queue,
            reader=r.spool.reader,
            eyes=eyes,
            board=r.board,
            clock=r.spool.clock,
            settings=SETTINGS,
            metrics=r.metrics.replay,
        )
        r.board.now[Service.SMTP] = Mode.NORMAL
        await verifier.look_around()
        r.spool.clock.advance(700.0)
        await verifier.look_around()
        r.runner.wake()
        for item in items:
            await r.until(item, S.DELIVERED)
        async with asyncio.timeout(60.0):
            while await asyncio.to_thread(postfix.queued):
                continue
        assert await asyncio.to_thread(delivered, postfix, *addresses) == Counter(dict.fromkeys(items, 1))
