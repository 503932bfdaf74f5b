"""The gate alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relay.core.ip import neighbourhood
from relay.listen.gate import Gate
from relay.listen.settings import Crowd

CLIENTS = ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")


def test_the_gate_counts_in_all_and_per_neighbourhood() -> None:
    gate = Gate(Crowd(connections=4, connections_per_address=2))
    assert [gate.enter("192.0.2.1") for _ in range(3)] == ["accepted", "accepted", "too_many_from_address"]
    assert gate.enter("2001:db8::1") == "accepted"
    before = gate.crowded
    assert gate.enter("2001:db8::ffff") == "accepted"
    assert (before, gate.crowded) == (False, True)
    assert gate.enter("198.51.100.1") == "too_many"
    gate.leave("192.0.2.1")
    assert gate.enter("2001:db8:0:0:1::1") == "too_many_from_address"
    assert gate.enter("2001:db8:0:1::1") == "accepted"
    for address in ("192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::9"):
        gate.leave(address)
    assert gate.open == 0


def test_neighbourhoods() -> None:
    assert neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("fe80::1%eth0") == "fe80::/64"
    assert neighbourhood("") == ""
    assert neighbourhood("no:address") == "no:address"


@given(st.lists(st.tuples(st.sampled_from(CLIENTS), st.booleans()), max_size=60))
def test_what_is_let_in_is_within_the_limits_and_all_of_it_can_leave(steps: list[tuple[str, bool]]) -> None:
    gate, inside = Gate(Crowd(connections=5, connections_per_address=2)), Counter[str]()
    for address, comes in steps:
        key = neighbourhood(address)
        if comes:
            entry = gate.enter(address)
            full, many = inside.total() >= 5, inside[key] >= 2
            assert entry == ("too_many" if full else "too_many_from_address" if many else "accepted")
            inside[key] += entry == "accepted"
        elif inside[key]:
            gate.leave(address)
            inside[key] -= 1
        assert gate.open == inside.total()
    for key in inside.elements():
        gate.leave(key.removesuffix("/64"))
    assert gate.open == 0
    assert not gate._by_address
