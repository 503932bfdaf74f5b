"""Scenarios in which servers die while the mail flows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter

from relay.obs.crash import POINTS
from tests.drill.site import Plan, Result, Site
from tests.peers.faultproxy import END_OF_MAIL, Fault, Script, Side

_REPLY_TO_MAIL = rb"250 2\.0\.0 Ok: queued as \w+\r\n"
_PLACES = (
    ("before the dot", Side.UP, END_OF_MAIL, False),
    ("between dot and reply", Side.DOWN, _REPLY_TO_MAIL, False),
    ("after the reply", Side.DOWN, _REPLY_TO_MAIL, True),
)


async def storm(plan: Plan) -> Result:
    """The primary goes down and up in every way, the relay is SIGKILLed at random, the senders never pause."""
    kills = outages = 0
    async with Site(plan) as site:
        async with site.kept_running(), site.mail(0, plan.messages) as (_, through):
            while not await site.pause(site.chance.uniform(0.3, 2.0), through):
                match site.chance.choice(("outage", "outage", "kill", "both")):
                    case "outage":
                        outages += 1
                        await site.primary_down(site.chance.choice(("stop", "kill", "stall")))
                        await site.pause(site.chance.uniform(0.2, 4.0), through)
                        await site.primary_up()
                    case "kill":
                        kills += 1
                        site.relay.process.signal_group(signal.SIGKILL)
                    case _:
                        kills, outages = kills + 1, outages + 1
                        await site.primary_down("kill")
                        await site.pause(site.chance.uniform(0.2, 1.0), through)
                        site.relay.process.signal_group(signal.SIGKILL)
                        await site.pause(site.chance.uniform(0.2, 1.0), through)
                        await site.primary_up()
        return await site.result("storm", f"{outages} outages, {kills} SIGKILLs of the relay")


async def crash_points(plan: Plan) -> Result:
    """The relay dies at each named point in turn: at accept, at cut-through, at replay, at settling."""
    share = max(40, plan.messages // max(1, len(POINTS)))
    async with Site(plan) as site:
        reached = 0
        for index, name in enumerate(sorted(POINTS)):
            nth = site.chance.randint(1, 5)
            await asyncio.to_thread(site.relay.kill)
            await asyncio.to_thread(site.relay.start, crash=f"{name}:{nth}")
            before = site.deaths
            first = index * share
            async with site.kept_running():
                async with site.mail(first, first + share // 3):
                    pass
                await site.primary_down("kill")
                async with site.mail(first + share // 3, first + 2 * share // 3):
                    pass
                await site.primary_up()
                async with site.mail(first + 2 * share // 3, first + share):
                    pass
                # What is in doubt is settled together at the end; here only the death is waited for.
                await site.until_death(before + 1, 20.0)
            reached += site.deaths > before
            if site.deaths == before:
                site.problem(f"{name}:{nth} was never reached")
        return await site.result("crash points", f"{reached} of {len(POINTS)} points, a SIGKILL at each")


async def final_dot(plan: Plan) -> Result:
    """The primary dies before the final dot, between the dot and its reply, and after the reply; live and at replay."""
    batch = 20
    deaths: Counter[str] = Counter()
    async with Site(plan, proxied=True) as site:
        for first in range(0, plan.messages, batch):
            turn = first // batch
            where, side, at, after = _PLACES[turn % 3]
            live = turn // 3 % 2 == 0
            fuse = Fuse(site)
            fault = Fault(side=side, at=at, after=after, nth=site.chance.randint(1, 3), action=fuse.blow)
            if live:
                site.proxy.default = Script(faults=(fault,))
                site.proxy.cut()
                async with site.mail(first, first + batch):
                    await site.pause(20.0, fuse.blown)
                    # Half of the outages are over before they are noticed.
                    await site.pause(site.chance.choice((0.0, 1.5)))
                    await fuse.remove()
            else:
                await site.primary_down("kill")
                async with site.mail(first, first + batch):
                    pass
                site.proxy.default = Script(faults=(fault,))
                await site.primary_up()
                await site.pause(20.0, fuse.blown)
                await fuse.remove()
            await site.settle()
            deaths[f"{where} ({'live' if live else 'at replay'})"] += fuse.blown.is_set()
        for how, count in deaths.items():
            if not count:
                site.problem(f"the primary never died {how}")
        return await site.result("final dot", ", ".join(f"{count} {how}" for how, count in sorted(deaths.items())))


class Fuse:
    """Kills the primary once, wherever it is put; removed, it is harmless in connections that are still open."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._live = True
        self.blown = asyncio.Event()

    async def blow(self) -> None:
        """The action of a fault."""
        if self._live:
            self._live = False
            await self._site.primary_down("kill")
            self._site.proxy.cut()
            self.blown.set()

    async def remove(self) -> None:
        """No more deaths from this one, and the primary is up."""
        self._live = False
        self._site.proxy.default = Script()
        await self._site.primary_up()


async def worker_death(plan: Plan) -> Result:
    """Two workers; one of them is SIGKILLed again and again, and the primary comes and goes.

    The supervisor waits longer each time a worker dies young, so the kills are bounded: the mail must flow between.
    """
    kills = 0
    most = max(4, plan.messages // 100)
    async with Site(plan, workers=2) as site:
        async with site.kept_running(), site.mail(0, plan.messages) as (_, through):
            down = False
            while kills < most and not await site.pause(site.chance.uniform(0.5, 1.5), through):
                workers = site.relay.workers()
                if len(workers) == 2:
                    kills += 1
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(site.chance.choice(workers), signal.SIGKILL)
                if site.chance.random() < 0.4:
                    down = not down
                    await (site.primary_down("kill") if down else site.primary_up())
            await site.primary_up()
        if site.deaths:
            site.problem("the death of a worker ended the relay")
        if not kills:
            site.problem("no worker was killed")
        return await site.result("worker death", f"{kills} SIGKILLs of one of 2 workers")
