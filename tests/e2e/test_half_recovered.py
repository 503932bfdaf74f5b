"""A primary that is back, but wrong: it must not be able to hurt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.scene import ALICE, BOB, CAROL, Scene, message, once, scene
from tests.peers.certs import Pair

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]


@pytest.fixture
def here(server_pair: Pair) -> Iterator[Scene]:
    """A scene with one worker."""
    with scene(server_pair) as made:
        yield made


async def _spooled(here: Scene, count: int) -> list[bytes]:
    """Messages that wait because the primary is down."""
    await here.primary_down()
    contents = [message(f"waiting-{n}") for n in range(count)]
    for content in contents:
        await here.accept(content, ALICE)
    return contents


async def test_refusing_everything_bounces_nothing(here: Scene) -> None:
    """5xx for all: a few canaries are held for the operator, the rest never leaves, and nobody is sent a bounce."""
    contents = await _spooled(here, 12)
    here.postfix.reconfigure(smtpd_recipient_restrictions="reject")
    await here.primary_up()
    await here.until(lambda: here.relay.owed().get("held", 0) > 0)
    # The gate closed on what it saw: the queue did not follow the canaries.
    assert here.relay.owed()["held"] < 12
    assert sum(here.relay.owed().values()) == 12
    await asyncio.to_thread(here.postfix.reconfigure, smtpd_recipient_restrictions="")
    held = here.relay.owed()["held"]
    await here.until(lambda: set(here.relay.owed()) == {"held"})
    assert here.relay.owed()["held"] >= held
    await asyncio.to_thread(here.relay.command, "queue", "release", "--all")
    await here.drained()
    there = here.arrived(ALICE)
    once(there, *contents)
    assert len(there) == 12


async def test_not_now_for_everything_keeps_everything(here: Scene) -> None:
    contents = await _spooled(here, 5)
    here.postfix.reconfigure(smtpd_recipient_restrictions="defer")
    await here.primary_up()
    await here.until(lambda: here.relay.metric("relay_replay_attempts_total") >= 2)
    assert here.relay.owed().keys() <= {"pending", "intent"}
    assert sum(here.relay.owed().values()) == 5
    await asyncio.to_thread(here.postfix.reconfigure, smtpd_recipient_restrictions="")
    await here.drained()
    there = here.arrived(ALICE)
    once(there, *contents)


async def test_one_recipient_that_is_gone_does_not_hold_the_others(here: Scene) -> None:
    """Accepted for three during the outage; at replay the primary knows only two of them."""
    await here.primary_down()
    content = message("mixed")
    await here.accept(content, ALICE, CAROL, BOB)
    here.postfix.reconfigure(
        smtpd_recipient_restrictions=f"check_recipient_access inline:{{{{{CAROL}=REJECT no such mailbox}}}}"
    )
    await here.primary_up()
    await here.until(lambda: here.relay.owed() == {"held": 1})
    await here.arrives(content, ALICE, BOB)
    assert here.arrived(CAROL) == []
    await asyncio.to_thread(here.postfix.reconfigure, smtpd_recipient_restrictions="")
    await asyncio.to_thread(here.relay.command, "queue", "release", "--all")
    await here.drained()
    for address in (ALICE, BOB, CAROL):
        once(here.arrived(address), content)


async def test_a_full_mailbox_is_not_a_refusal_of_the_others(here: Scene) -> None:
    """4xx for one of two recipients: the other gets it once, the one later, once."""
    await here.primary_down()
    content = message("later")
    await here.accept(content, ALICE, BOB)
    here.postfix.reconfigure(smtpd_recipient_restrictions=f"check_recipient_access inline:{{{{{BOB}=450 4.2.2 full}}}}")
    await here.primary_up()
    await here.arrives(content, ALICE)
    assert here.relay.owed() in ({"pending": 1}, {"intent": 1})
    await asyncio.to_thread(here.postfix.reconfigure, smtpd_recipient_restrictions="")
    await here.drained()
    for address in (ALICE, BOB):
        once(here.arrived(address), content)
