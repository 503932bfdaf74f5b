"""What is counted of the way out."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import Counter

from relay.obs.instruments import Family, Maker

Protected = Literal["smarthost", "opportunistic", "encrypted", "verified", "dane"]
Delivery = Literal["taken", "deferred", "refused", "unsure", "no_contact"]
PolicyFetch = Literal["ok", "failed"]
Signature = Literal["signed", "no_key"]


class WorldMetrics:
    """Mail that users send to other domains while the primary is away."""

    def __init__(self, make: Maker) -> None:
        self.transactions: Family[tuple[Protected, Delivery], Counter] = make.counters(
            "relay_world_transactions_total",
            "Transactions with servers of the world by what their domain asks of the connection and by result. Many "
            "'no_contact': port 25 is closed for us; use a smarthost. Many 'refused': look at what users send.",
            protection=get_args(Protected),
            result=get_args(Delivery),
        )
        self.policy_fetches: Family[PolicyFetch, Counter] = make.counters(
            "relay_world_policy_fetches_total",
            "MTA-STS policies fetched. Only 'failed': HTTPS from here to the world is blocked, and mail goes out less "
            "protected than its recipients ask for.",
            result=get_args(PolicyFetch),
        )
        self.signatures: Family[Signature, Counter] = make.counters(
            "relay_world_signatures_total",
            "Messages that left with a DKIM signature of ours, or without one because no key fits their From.",
            result=get_args(Signature),
        )
