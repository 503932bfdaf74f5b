"""The same random commands to the standby and to Dovecot: the same answers, and the same mailboxes afterwards."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.conformance.conftest import Pairing
from tests.conformance.orders import Order, Orders
from tests.conformance.twins import Side, Twins

pytestmark = pytest.mark.peers

SEEDS = (1, 2, 3)
STEPS = 80


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_commands_make_the_same_mailboxes(pairing: Pairing, seed: int) -> None:
    user = pairing.user()
    with ExitStack() as stack:
        wires = [stack.enter_context(side(user)) for side in (pairing.ours, pairing.theirs) for _ in range(2)]
        wires[2].ok(b"SUBSCRIBE INBOX")  # as it is for a new account on the standby: some clients show nothing else
        twins = Twins(Side("ours", *wires[:2]), Side("theirs", *wires[2:]))
        orders = Orders(seed)
        twins.step(Order(b"SELECT INBOX", selects="INBOX"))
        for _ in range(STEPS):
            twins.step(orders.next(twins.world))
