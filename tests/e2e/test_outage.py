"""The main job: mail and users pass through; the primary dies; mail is taken and read; the primary has it all, once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.scene import ALICE, BOB, CAROL, Scene, message, once, scene
from tests.peers.certs import Pair

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]


@pytest.fixture
def here(server_pair: Pair) -> Iterator[Scene]:
    """A scene with one worker."""
    with scene(server_pair) as made:
        yield made


async def test_healthy_mail_passes_with_the_primarys_own_answers(here: Scene) -> None:
    content = message("healthy")
    outcome = await here.send(content, ALICE, "nobody@example.org", BOB)
    assert [reply.code for reply in outcome.recipients] == [250, 550, 250]
    assert "User unknown in virtual mailbox table" in outcome.recipients[1].text
    assert outcome.accepted
    await here.arrives(content, ALICE, BOB)
    assert not here.relay.owed()


async def test_no_relay_for_strangers(here: Scene) -> None:
    outcome = await here.send(message("strange"), "someone@elsewhere.example")
    assert [reply.code // 100 for reply in outcome.recipients] == [5]
    await here.primary_down()
    outcome = await here.send(message("strange"), "someone@elsewhere.example")
    assert [reply.code // 100 for reply in outcome.recipients] == [5]


async def test_an_outage_from_end_to_end(here: Scene) -> None:
    before = message("before")
    await here.accept(before, ALICE)
    await here.arrives(before, ALICE)
    with here.login(ALICE) as client:
        # It is the primary that answers: the standby has no such folder and no such extension.
        assert client.select("Drafts")[0] == "OK"
    await here.primary_down()
    contents = [message(f"during-{n}", size=n * 50_000) for n in range(5)]
    for content in contents:
        await here.accept(content, ALICE, BOB)
    standby = here.read(ALICE)
    once(standby, *contents)
    await here.primary_up()
    await here.drained()
    for address in (ALICE, BOB):
        there = here.arrived(address)
        once(there, *contents)
        assert len(there) == len(contents) + (address == ALICE)
    once(here.arrived(ALICE), before)
    # Those that went ahead were looked for in the primary's mailboxes, and are there.
    await here.until(lambda: (here.relay.status()["canaries"] or {}).get("seen") == 3)
    assert here.relay.metric("relay_replay_canaries_total", result="seen") == 3
    await here.until(lambda: here.relay.smtp_mode() == "normal")
    after = message("after")
    await here.accept(after, ALICE)
    await here.arrives(after, ALICE)


async def test_a_restart_in_the_outage_forgets_nothing(here: Scene) -> None:
    with here.login(ALICE):
        pass
    await here.primary_down()
    first, second = message("first"), message("second")
    await here.accept(first, ALICE)
    await asyncio.to_thread(here.relay.stop)
    await asyncio.to_thread(here.relay.start)
    assert here.relay.smtp_mode() == "standby", "the mode is kept, not learned again"
    await here.accept(second, ALICE)
    await asyncio.to_thread(here.relay.kill)
    await asyncio.to_thread(here.relay.start)
    there = here.read(ALICE)
    once(there, first, second)
    await here.primary_up()
    await here.drained()
    there = here.arrived(ALICE)
    once(there, first, second)


async def test_a_login_is_remembered_and_a_wrong_one_is_not(here: Scene) -> None:
    with here.login(ALICE):
        pass
    await here.primary_down()
    with here.login(ALICE) as client:
        assert client.select("INBOX")[0] == "OK"
    for address, password in ((ALICE, "wrong"), (CAROL, here.dovecot.password(CAROL))):
        with pytest.raises(Exception, match=r"(?i)auth|unavail|fail"), here.login(address, password):
            pass


async def test_the_transaction_during_which_the_primary_dies_is_kept(server_pair: Pair) -> None:
    """No probe helps here: the first who notices is the sender's own transaction."""
    with scene(server_pair, config={"failover": {"probe_interval": "60s"}}) as here:
        await asyncio.to_thread(here.postfix.kill)
        contents = [message(f"live-{n}") for n in range(4)]
        for content in contents:
            await here.accept(content, ALICE)
        await here.until(lambda: here.relay.smtp_mode() == "standby")
        assert sum(here.relay.owed().values()) == 4


async def test_a_primary_that_accepts_and_hangs_is_down(server_pair: Pair) -> None:
    quick = {"primary.smtp": {"open_timeout": "1s", "command_timeout": "1s", "final_timeout": "1s"}}
    with scene(server_pair, config=quick) as here:
        here.postfix.stall()
        content = message("hanging")
        await here.accept(content, ALICE)
        await here.until(lambda: here.relay.smtp_mode() == "standby")
        here.postfix.cont()
        await here.drained()
        await here.arrives(content, ALICE)


def _replaced(here: Scene, victim: int) -> Callable[[], bool]:
    def check() -> bool:
        workers = here.relay.workers()
        return victim not in workers and len(workers) == 2

    return check


async def test_two_workers_share_the_work_and_outlive_each_other(server_pair: Pair) -> None:
    with scene(server_pair, workers=2) as here:
        assert len(here.relay.workers()) == 2
        await here.primary_down("kill")
        contents = [message(f"shared-{n}") for n in range(30)]

        async def insist(content: bytes) -> None:
            """As a sending server would: again until it is promised."""
            while True:
                with contextlib.suppress(OSError):
                    if (await here.send(content, BOB)).accepted:
                        return

        half = asyncio.gather(*(insist(content) for content in contents[:15]))
        for victim in here.relay.workers():
            os.kill(victim, signal.SIGKILL)
            await here.until(_replaced(here, victim))
        await half
        await asyncio.gather(*(insist(content) for content in contents[15:]))
        await here.primary_up()
        await here.drained()
        there = here.arrived(BOB)
        once(there, *contents)
