"""What other workers hear of the gate: each change, once, and nothing of a store that is away."""

from __future__ import annotations

import asyncio
from pathlib import Path

from relay.core.mode import Mode, Service
from relay.core.retry import Backoff
from relay.replay.gate import Gate, GateSettings
from relay.replay.gate_report import GateReport
from relay.replay.settings import PAUSED
from relay.spool.replaying import GATE, GateSeen, decode_gate
from tests.primary.fake import FakeSmtp
from tests.replay.harness import PATIENCE, Rig, rig
from tests.spool.conftest import open_spool


async def seen(r: Rig, state: str) -> GateSeen:
    """Wait until that is told."""
    async with asyncio.timeout(PATIENCE):
        while True:
            last = await r.spool.store.last_change()
            told = decode_gate(await r.spool.store.setting(GATE))
            if told is not None and told.state == state:
                return told
            await r.spool.store.wait_change(after=last, timeout=0.2)


async def test_only_changes_are_told(tmp_path: Path) -> None:
    async with open_spool(tmp_path) as spool:
        gate = Gate(GateSettings(canaries=1, canary_failures=1, closed=Backoff(first=60.0)))
        report = GateReport(spool.store, spool.clock)

        async def told() -> GateSeen | None:
            before = await spool.store.last_change()
            await report.tell(shown, gate)
            changed = await spool.store.last_change() > before
            return decode_gate(await spool.store.setting(GATE)) if changed else None

        shown, now = "", spool.clock.now()
        assert await told() is None
        shown = "canary"
        assert await told() == GateSeen("canary", now)
        spool.clock.advance(9)
        assert await told() is None
        gate.note(False, spool.clock.monotonic())
        shown = "closed"
        assert await told() == GateSeen("closed", now + 9, 1, now + 69)
        assert await told() is None
        await spool.store.close()
        shown = "open"
        await report.tell(shown, gate)  # an unavailable store stops nobody


async def test_a_runner_tells_how_its_gate_stands(tmp_path: Path) -> None:
    def script(verb: str, _line: str, _session: object) -> str | None:
        return "451 4.3.0 not yet" if verb == "RCPT" else None

    async with FakeSmtp(script) as server, rig(tmp_path, server) as r:
        assert (await seen(r, "closed")).until is None  # the mode keeps it
        for number in range(3):
            await r.accept(number)
        r.board.now[Service.SMTP] = Mode.RECOVERY
        r.runner.wake()
        await seen(r, "canary")
        closed = await seen(r, "closed")
        assert closed.trips == 1
        assert closed.until is not None
        assert closed.until > r.spool.clock.now()
        await r.spool.store.put_setting(PAUSED, b"1", now=r.spool.clock.now())
        await seen(r, "paused")
