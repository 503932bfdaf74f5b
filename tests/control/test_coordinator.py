"""The mode board: hysteresis, what is kept, what other workers see, the operator's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
import pytest_asyncio

from relay.control.coordinator import (
    HISTORY,
    OVERRIDE,
    Coordinator,
    change_override,
    decode_history,
    decode_overrides,
    decode_state,
    encode_overrides,
    state_setting,
)
from relay.core.clock import ManualClock
from relay.core.mode import Hysteresis, Mode, Override, Service, Signal
from relay.obs.metrics import Metrics
from tests.control.fakes import FakeFeed, FakeStore, until

ALL = frozenset(Service)


class Site:
    """Workers over one store."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.store = FakeStore()
        self.clock = ManualClock()
        self.metrics = Metrics()
        self._stack = stack

    async def worker(self, services: frozenset[Service] = ALL, failures: int = 2, successes: int = 2) -> Coordinator:
        made = Coordinator(
            self.store,
            FakeFeed(self.store),
            self.clock,
            self.metrics.mode,
            services=services,
            rules=Hysteresis(failures, successes),
        )
        await made.start()
        self._stack.push_async_callback(made.stop)
        return made

    def stored(self, service: Service = Service.SMTP) -> Mode:
        return decode_state(self.store.settings.get(state_setting(service))).mode


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(stack)


def fail(board: Coordinator, times: int = 1, service: Service = Service.SMTP) -> None:
    for _ in range(times):
        board.evidence(service, Signal.FAIL, "connection refused")


async def test_the_way_down_and_back(site: Site) -> None:
    board = await site.worker()
    seen: list[tuple[Mode, Mode]] = []
    board.watch(lambda service, old, new: seen.append((old, new)) if service is Service.SMTP else None)
    fail(board)
    assert board.mode(Service.SMTP) is Mode.SUSPECT
    board.evidence(Service.SMTP, Signal.OK, "ok")
    assert board.mode(Service.SMTP) is Mode.NORMAL
    fail(board, 2)
    assert board.mode(Service.SMTP) is Mode.STANDBY
    assert board.mode(Service.IMAP) is Mode.NORMAL
    board.probed(Service.SMTP, Signal.OK, "ok")
    board.probed(Service.SMTP, Signal.OK, "ok")
    assert board.mode(Service.SMTP) is Mode.RECOVERY
    board.evidence(Service.SMTP, Signal.DRAINED, "queue is empty")
    assert board.mode(Service.SMTP) is Mode.NORMAL
    assert seen == [
        (Mode.NORMAL, Mode.SUSPECT),
        (Mode.SUSPECT, Mode.NORMAL),
        (Mode.NORMAL, Mode.SUSPECT),
        (Mode.SUSPECT, Mode.STANDBY),
        (Mode.STANDBY, Mode.RECOVERY),
        (Mode.RECOVERY, Mode.NORMAL),
    ]


async def test_only_probes_end_the_standby(site: Site) -> None:
    board = await site.worker(successes=1)
    fail(board, 2)
    board.evidence(Service.SMTP, Signal.OK, "late reply")
    assert board.mode(Service.SMTP) is Mode.STANDBY
    board.probed(Service.SMTP, Signal.OK, "ok")
    assert board.mode(Service.SMTP) is Mode.RECOVERY


async def test_a_service_without_a_queue_recovers_to_normal(site: Site) -> None:
    board = await site.worker(successes=1)
    fail(board, 2, Service.LOGIN)
    board.probed(Service.LOGIN, Signal.OK, "ok")
    assert board.mode(Service.LOGIN) is Mode.NORMAL


async def test_other_workers_follow(site: Site) -> None:
    one, two = await site.worker(), await site.worker()
    fail(one, 2)
    await until(lambda: two.mode(Service.SMTP) is Mode.STANDBY)
    two.probed(Service.SMTP, Signal.OK, "ok")
    two.probed(Service.SMTP, Signal.OK, "ok")
    await until(lambda: one.mode(Service.SMTP) is Mode.RECOVERY)
    assert one.state(Service.SMTP).reason == "ok"


async def test_a_restart_finds_the_mode(site: Site) -> None:
    board = await site.worker()
    site.clock.advance(100)
    fail(board, 2)
    await until(lambda: site.stored() is Mode.STANDBY)
    await board.stop()
    again = await site.worker()
    assert again.mode(Service.SMTP) is Mode.STANDBY
    assert again.state(Service.SMTP).since == site.clock.now()
    assert again.state(Service.SMTP).reason == "connection refused"


async def test_a_change_in_the_last_moment_is_kept(site: Site) -> None:
    board = await site.worker()
    fail(board, 2)
    await board.stop()
    assert site.stored() is Mode.STANDBY


async def test_without_the_store_the_mode_still_works_and_is_written_later(site: Site) -> None:
    board = await site.worker()
    site.store.down = True
    fail(board, 2)
    assert board.mode(Service.SMTP) is Mode.STANDBY
    await until(lambda: board._stale)
    site.store.down = False
    await until(lambda: site.stored() is Mode.STANDBY)
    assert board.mode(Service.SMTP) is Mode.STANDBY


async def test_of_two_workers_at_the_same_moment_both_count(site: Site) -> None:
    one, two = await site.worker(failures=3), await site.worker(failures=3)
    fail(one)
    fail(two, 2)
    # Both have read the same record before either has written (every call of the store gives the other one a turn).
    await until(lambda: one.mode(Service.SMTP) is two.mode(Service.SMTP) is site.stored() is Mode.STANDBY)
    recorded = [(t.old, t.new) for t in decode_history(site.store.settings[HISTORY])]
    assert recorded == [(Mode.NORMAL, Mode.SUSPECT), (Mode.SUSPECT, Mode.STANDBY)]


async def test_bad_news_is_not_overwritten_by_older_good_news(site: Site) -> None:
    one, two = await site.worker(), await site.worker()
    fail(one)
    await until(lambda: one.mode(Service.SMTP) is two.mode(Service.SMTP) is Mode.SUSPECT)
    two.evidence(Service.SMTP, Signal.OK, "ok")  # SUSPECT -> NORMAL, of what it has read...
    fail(one)  # ...while SUSPECT -> STANDBY is under way
    await until(lambda: not one._owed and not two._owed)
    await until(lambda: one.mode(Service.SMTP) is two.mode(Service.SMTP) is site.stored())
    steps = [(t.old, t.new) for t in decode_history(site.store.settings[HISTORY])]
    assert all(old is before for (_, before), (old, _) in pairwise(steps)), steps


async def test_two_operators_at_the_same_moment_are_both_obeyed(site: Site) -> None:
    board = await site.worker()
    await asyncio.gather(
        change_override(site.store, [Service.SMTP], Override.STANDBY, now=0),
        change_override(site.store, [Service.IMAP], Override.NORMAL, now=0),
        change_override(site.store, [Service.LOGIN], Override.STANDBY, now=0),
    )
    wanted = {
        **dict.fromkeys(Service, Override.STANDBY),
        Service.IMAP: Override.NORMAL,
        Service.SUBMISSION: Override.AUTO,
    }
    assert decode_overrides(site.store.settings[OVERRIDE]) == wanted
    await until(lambda: {service: board.override(service) for service in Service} == wanted)


async def test_evidence_of_a_worker_that_has_not_heard_counts_on_top_of_what_is_written(site: Site) -> None:
    one, two = await site.worker(), await site.worker()
    site.store.feeds.pop()  # the change feed has not reached `two`
    fail(one)
    await until(lambda: site.stored() is Mode.SUSPECT)
    assert two.mode(Service.SMTP) is Mode.NORMAL
    fail(two)
    await until(lambda: one.mode(Service.SMTP) is two.mode(Service.SMTP) is Mode.STANDBY)


async def test_the_operator_overrides_and_lets_go(site: Site) -> None:
    one, two = await site.worker(), await site.worker()
    changes: list[Mode] = []
    one.watch(lambda service, _old, new: changes.append(new) if service is Service.SMTP else None)

    async def say(override: Override) -> None:
        value = encode_overrides(dict.fromkeys(Service, override))
        await site.store.put_setting(OVERRIDE, value, now=0)

    await say(Override.STANDBY)
    await until(lambda: one.mode(Service.SMTP) is two.mode(Service.IMAP) is Mode.STANDBY)
    assert one.state(Service.SMTP).mode is Mode.NORMAL
    assert one.override(Service.SMTP) is Override.STANDBY
    fail(one, 2)
    await say(Override.NORMAL)
    await until(lambda: one.mode(Service.SMTP) is two.mode(Service.SMTP) is Mode.NORMAL)
    await say(Override.AUTO)
    await until(lambda: one.mode(Service.SMTP) is two.mode(Service.SMTP) is Mode.STANDBY)
    assert changes == [Mode.STANDBY, Mode.NORMAL, Mode.STANDBY]


async def test_without_a_primary_it_is_always_standby(site: Site) -> None:
    board = await site.worker(services=frozenset())
    board.evidence(Service.SMTP, Signal.OK, "ok")
    board.probed(Service.SMTP, Signal.OK, "ok")
    assert {board.mode(service) for service in Service} == {Mode.STANDBY}
    await site.store.put_setting(OVERRIDE, encode_overrides({Service.SMTP: Override.NORMAL}), now=0)
    assert board.mode(Service.SMTP) is Mode.STANDBY
    assert not board.has(Service.SMTP)


async def test_a_primary_that_never_answered_is_known_as_such(site: Site) -> None:
    board = await site.worker()
    assert not board.ever_reached(Service.SMTP)
    board.probed(Service.SMTP, Signal.OK, "ok")
    await until(lambda: "mode.reached.smtp" in site.store.settings)
    again = await site.worker()
    assert again.ever_reached(Service.SMTP)
    assert not again.ever_reached(Service.IMAP)


async def test_transitions_are_recorded_and_counted_once(site: Site) -> None:
    one, two = await site.worker(), await site.worker()
    fail(one, 2)
    await until(lambda: two.mode(Service.SMTP) is Mode.STANDBY)
    two.probed(Service.SMTP, Signal.OK, "ok")
    two.probed(Service.SMTP, Signal.OK, "ok")
    await until(lambda: one.mode(Service.SMTP) is Mode.RECOVERY)
    await until(lambda: len(decode_history(site.store.settings[HISTORY])) == 2)
    recorded = [(t.old, t.new) for t in decode_history(site.store.settings[HISTORY])]
    assert recorded == [(Mode.NORMAL, Mode.STANDBY), (Mode.STANDBY, Mode.RECOVERY)]
    counted = site.metrics.mode.transitions
    assert counted[(Service.SMTP, Mode.STANDBY)]._value.get() == 1
    assert counted[(Service.SMTP, Mode.RECOVERY)]._value.get() == 1
    assert site.metrics.mode.evidence[(Service.SMTP, "probe", Signal.OK)]._value.get() == 2


async def test_a_watcher_that_fails_harms_nobody(site: Site) -> None:
    board = await site.worker()
    seen: list[Mode] = []

    def broken(_service: Service, _old: Mode, _new: Mode) -> None:
        raise RuntimeError

    board.watch(broken)
    end = board.watch(lambda _service, _old, new: seen.append(new))
    fail(board)
    end()
    fail(board)
    assert seen == [Mode.SUSPECT]


@pytest.mark.parametrize("value", [b"", b"null", b"{", b"[1]", b'{"smtp":"sideways"}', b'{"mode":"x"}'])
def test_unreadable_settings_are_the_defaults(value: bytes) -> None:
    assert decode_state(value).mode is Mode.NORMAL
    assert set(decode_overrides(value).values()) == {Override.AUTO}
    assert decode_history(value) == []
