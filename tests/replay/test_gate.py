"""The gate, as a pure object."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.core.retry import Backoff
from relay.replay.gate import Gate, GateSettings, GateState

SETTINGS = GateSettings(canaries=3, width=10, closed=Backoff(first=5.0, factor=2.0, most=60.0))


def fed(gate: Gate, results: str, now: float = 0.0) -> list[int]:
    """Width after each result; `+` good, `-` bad."""
    widths = []
    for result in results:
        gate.note(result == "+", now)
        widths.append(gate.width(now))
    return widths


def test_canaries_go_alone_and_then_the_width_doubles() -> None:
    assert fed(Gate(SETTINGS), "+" * 17) == [1, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 10]


def test_two_bad_canaries_close_it_longer_each_time() -> None:
    gate = Gate(SETTINGS)
    now = 0.0
    for wait in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        assert fed(gate, "+--", now) == [1, 1, 0]
        assert gate.opens_in(now) == wait
        assert gate.width(now + wait - 0.1) == 0
        now += wait
        assert gate.width(now) == 1
    gate.reset()
    fed(gate, "--", now)
    assert gate.opens_in(now) == 5.0


def test_one_bad_message_closes_nothing_but_rising_errors_do() -> None:
    gate = Gate(SETTINGS)
    assert 0 not in fed(gate, "+++" + "++++-" * 20)
    assert fed(gate, "-" * 10)[-1] == 0
    assert (gate.state, gate.closings) == (GateState.CLOSED, 1)


def test_where_mailboxes_can_be_seen_it_stays_narrow_until_a_canary_was_seen() -> None:
    gate = Gate(SETTINGS)
    for _ in range(5):
        gate.note(True, 0.0, proof=5.0)
        assert (gate.width(4.9), gate.state) == (1, GateState.CANARY)
    gate.prove()
    assert (gate.width(4.9), gate.state) == (2, GateState.OPEN)


def test_a_canary_that_is_seen_early_opens_nothing_by_itself() -> None:
    gate = Gate(SETTINGS)
    gate.note(True, 0.0, proof=5.0)
    gate.prove()
    widths = []
    for _ in range(2):
        gate.note(True, 0.0, proof=5.0)
        widths.append(gate.width(0.0))
    assert widths == [1, 2]


def test_a_canary_that_is_never_seen_holds_the_queue_up_for_seconds_only() -> None:
    gate = Gate(SETTINGS)
    for now in (0.0, 1.0, 2.0, 3.0):
        gate.note(True, now, proof=5.0)
    assert gate.width(6.9) == 1
    assert (gate.width(7.0), gate.state) == (2, GateState.OPEN)


def test_failures_close_it_also_while_a_canary_is_looked_for() -> None:
    gate = Gate(SETTINGS)
    for good in (True, True, True, False, False):
        gate.note(good, 0.0, proof=5.0)
    assert (gate.width(4.0), gate.state) == (0, GateState.CLOSED)
    # The proof belonged to those canaries, not to the next ones.
    gate.prove()
    assert gate.width(5.0) == 1
    gate.reset()
    assert fed(gate, "++") == [1, 1]


@given(st.text("+-r", max_size=200), st.lists(st.floats(0, 100), max_size=50))
def test_the_width_is_always_within_bounds_and_never_stuck(results: str, steps: list[float]) -> None:
    gate = Gate(SETTINGS)
    now = 0.0
    for i, result in enumerate(results):
        now += steps[i % len(steps)] if steps else 0.0
        if result == "r":
            gate.reset()
            assert gate.width(now) == 1
        else:
            gate.note(result == "+", now)
        assert 0 <= gate.width(now) <= SETTINGS.width
    assert gate.width(now + 60.0) >= 1
