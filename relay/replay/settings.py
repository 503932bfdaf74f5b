"""What replay can be told; a frozen value that `node` fills from the configuration."""

from __future__ import annotations

import msgspec

from relay.core.retry import Backoff

LEASE = "replay"
"""Name of the singleton lease: one runner and one verifier per spool (`control.singleton` holds it for them)."""
PAUSED = "replay.paused"
"""Setting that the operator's pause lives in: `1` or absent or empty."""


class ReplaySettings(msgspec.Struct, frozen=True):
    """Limits of the runner."""

    owner: str
    """`node/boot/worker`."""
    concurrency: int = 10
    canaries: int = 3
    lease_seconds: float = 60.0
    """Of items; renewed at a third, taken for lost at two thirds."""
    upkeep: float = 5.0
    """How often leases are looked after and those of the dead ended."""
    backoff: Backoff = Backoff()
    unknown_wait: float = 600.0
    """Seconds of a healthy primary for which a message in doubt must stay absent before it is sent again."""
    proof: float = 5.0
    """Seconds that the gate stays narrow until a canary is seen, where mailboxes can be seen."""
    proof_patience: float = 600.0
    """Seconds for which canaries are looked for; meanwhile the queue goes on."""
    fresh_look: float = 5.0
    """A look younger than this is not made again before a message in doubt is sent again."""
    idle: float = 1.0
    """How often an idle runner looks for items whose time has come."""
    grace: float = 10.0
    """At the end: how long replies to a final dot are waited for."""
