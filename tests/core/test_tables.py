"""The item and mode tables, and the values beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.envelope import canonical, is_postmaster, split_address
from relay.core.item import BIRTH, LEGAL, OWED, QUEUED, ItemState, legal
from relay.core.mode import Hysteresis, Mode, ModeState, Signal, step
from relay.core.reply import Reply, reply
from relay.core.retry import Backoff


def test_every_state_has_a_row_and_is_reachable() -> None:
    assert set(LEGAL) == set(ItemState)
    reached = set(BIRTH)
    while more := {new for old in reached for new in LEGAL[old]} - reached:
        reached |= more
    assert reached == set(ItemState)


def test_what_is_owed_can_always_reach_an_end_and_is_never_purged_directly() -> None:
    for state in OWED:
        assert not legal(state, ItemState.PURGED)
        ahead = {state}
        while more := {new for old in ahead for new in LEGAL[old]} - ahead:
            ahead |= more
        assert ItemState.DELIVERED in ahead
        assert ItemState.RETURNED in ahead
    assert QUEUED < OWED


RULES = Hysteresis(failures=2, successes=2)


def run(*signals: Signal, drains: bool = True) -> Mode:
    state = ModeState()
    for i, signal in enumerate(signals):
        state = step(state, signal, rules=RULES, drains=drains, now=float(i))
    return state.mode


F, K, D = Signal.FAIL, Signal.OK, Signal.DRAINED


@pytest.mark.parametrize(
    ("signals", "mode"),
    [
        ((), Mode.NORMAL),
        ((F,), Mode.SUSPECT),
        ((F, K), Mode.NORMAL),
        ((F, K, F), Mode.SUSPECT),
        ((F, F), Mode.STANDBY),
        ((F, F, K), Mode.STANDBY),
        ((F, F, K, F, K), Mode.STANDBY),
        ((F, F, K, K), Mode.RECOVERY),
        ((F, F, K, K, F), Mode.STANDBY),
        ((F, F, K, K, K), Mode.RECOVERY),
        ((F, F, K, K, D), Mode.NORMAL),
        ((F, F, D), Mode.STANDBY),
        ((D,), Mode.NORMAL),
        ((F, D), Mode.SUSPECT),
    ],
)
def test_evidence_moves_the_mode(signals: tuple[Signal, ...], mode: Mode) -> None:
    assert run(*signals) is mode


def test_a_service_without_a_queue_goes_straight_back_to_normal() -> None:
    assert run(F, F, K, K, drains=False) is Mode.NORMAL


def test_good_probes_do_not_take_back_what_live_traffic_found() -> None:
    # A primary that greets and then hangs at the final dot: every probe is good, every message fails.
    state = ModeState()
    for i, (signal, live) in enumerate([(F, True), (K, False), (K, False), (F, True)]):
        state = step(state, signal, rules=RULES, drains=True, now=float(i), live=live)
    assert state.mode is Mode.STANDBY
    # A message that went well takes it back.
    state = ModeState()
    for i, (signal, live) in enumerate([(F, True), (K, False), (K, True), (F, True)]):
        state = step(state, signal, rules=RULES, drains=True, now=float(i), live=live)
    assert state.mode is Mode.SUSPECT


@given(st.lists(st.sampled_from(Signal)), st.integers(1, 5), st.integers(1, 5))
def test_a_mode_never_changes_without_enough_evidence(signals: list[Signal], failures: int, successes: int) -> None:
    rules = Hysteresis(failures, successes)
    state = ModeState()
    fails = oks = 0
    for i, signal in enumerate(signals):
        fails = fails + 1 if signal is F else 0 if signal is K else fails
        oks = oks + 1 if signal is K else 0 if signal is F else oks
        before = state
        state = step(before, signal, rules=rules, drains=True, now=float(i), reason="because")
        if state.mode is not before.mode:
            assert state.since == float(i)
            assert state.reason == "because"
        if state.mode is Mode.STANDBY and before.mode in (Mode.NORMAL, Mode.SUSPECT):
            assert fails >= failures
        if state.mode is Mode.RECOVERY and before.mode is Mode.STANDBY:
            assert oks >= successes


@given(st.text())
def test_a_reply_never_breaks_its_line(text: str) -> None:
    wire = Reply(550, (text, "5.1.1 no")).encode()
    assert wire.count(b"\r\n") == 2
    assert wire.replace(b"\r\n", b"").find(b"\r") == -1
    assert wire.startswith(b"550-")


def test_reply_classes() -> None:
    assert reply(250, "2.1.5 ok").positive
    assert reply(354, "go").intermediate
    assert reply(452, "4.3.1 full").transient
    assert reply(550, "5.1.1 no such user").permanent
    assert reply(550, "5.1.1 no such user").enhanced == "5.1.1"
    assert reply(550, "no such user").enhanced is None
    assert Reply(250, ()).encode() == b"250 \r\n"


@pytest.mark.parametrize(
    ("address", "same"),
    [("Bob@EXAMPLE.org.", "bob@example.org"), ("postmaster", "postmaster"), ('"a@b"@X.org', '"a@b"@x.org')],
)
def test_canonical_addresses(address: str, same: str) -> None:
    assert canonical(address) == same


def test_parts_of_addresses() -> None:
    assert split_address('"a@b"@x.org') == ('"a@b"', "x.org")
    assert split_address("postmaster") == ("postmaster", "")
    assert is_postmaster("PostMaster@example.org")
    assert not is_postmaster("post@master")


@given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_and_never_immediate(attempt: int, fraction: float) -> None:
    delay = Backoff().delay(attempt, fraction)
    assert 2.5 <= delay <= 900.0


def test_backoff_counts_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        Backoff().delay(0, 0.0)
