"""Scenarios in which the disk under the spool fails."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from tests.drill.disk import LoopDisk
from tests.drill.senders import Senders
from tests.drill.site import Plan, Result, Site


async def power_cut(plan: Plan) -> Result:
    """The disk loses power under full load, again and again; what was promised must be on it afterwards."""
    cuts = 0
    with LoopDisk(1024) as disk:
        async with Site(plan, data_dir=disk.path / "data", primary_up=False) as site:
            async with site.mail(0, plan.messages) as (_, through):
                longest = min(2.0, plan.messages / 1500)
                while not await site.pause(site.chance.uniform(0.1, longest), through):
                    cuts += 1
                    # The power of a machine ends for its processors too. A kernel that lives on may report a flush as
                    # done whose extents it could no longer record (seen on Linux 6.18); `fsync_fails` has the disks
                    # that fail while the machine goes on.
                    site.relay.process.stall()
                    disk.cut_power()
                    await asyncio.to_thread(site.relay.kill)
                    await asyncio.to_thread(disk.restore_power)
                    await asyncio.to_thread(site.relay.start)
            if not cuts:
                site.problem("the power was never cut")
            return await site.result("power cut", f"{cuts} cuts (EXT4_IOC_SHUTDOWN, no log flush)")


def _failing(when: str) -> tuple[str, ...]:
    inject = f"inject=fsync,fdatasync:error=EIO:when={when}"
    quiet = ("strace", "-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null")
    return (*quiet, "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-e", inject)


async def fsync_fails(plan: Plan) -> Result:
    """First every 25th fsync fails, then all of them: each time nothing may be promised that is not on the disk."""
    async with Site(plan, primary_up=False) as site:
        # Every thread counts its own calls (strace), and one fsync may carry a letter of each sender: what is sent to
        # the disk that fails for good must be more than its twenty good calls can take.
        some = max(0, min(plan.messages // 2, plan.messages - 22 * plan.senders))
        await asyncio.to_thread(site.relay.kill)
        await asyncio.to_thread(site.relay.start, prefix=_failing("20+25"))
        async with site.mail(0, some) as (senders, through):
            await _until(site, senders, through, lambda: False, "")
        temporary = _temporary(senders)
        await asyncio.to_thread(site.relay.kill)
        await asyncio.to_thread(site.relay.start, prefix=_failing("20+"))
        async with site.mail(some, plan.messages) as (senders, through):
            await _until(site, senders, through, lambda: _temporary(senders) >= 20, "a disk that fails was not noticed")
            promised = len(senders.promised)
            await site.pause(1.0, through)
            if len(senders.promised) > promised + plan.senders:
                site.problem("mail was promised while no fsync succeeded")
            temporary += _temporary(senders)
            await asyncio.to_thread(site.relay.kill)
            await asyncio.to_thread(site.relay.start)
        return await site.result("fsync fails", f"{temporary} temporary refusals")


async def disk_full(plan: Plan) -> Result:
    """The disk fills: first down to the reserve (452), then, without a reserve, to the last block."""
    guarded = await _fill(plan, "reserve", reserve="12MB", leave=20)
    filled = await _fill(plan, "last block", reserve="0B", leave=4)
    worst = min((guarded, filled), key=lambda result: result.clean)
    return worst if not worst.clean else _joined(guarded, filled)


async def _fill(plan: Plan, name: str, *, reserve: str, leave: int) -> Result:
    with LoopDisk(128) as disk:
        config = {"disk": {"reserve": reserve, "reserve_inodes": 0}}
        async with Site(plan, data_dir=disk.path / "data", config=config, primary_up=False) as site:
            ballast = disk.path / "ballast"
            _grow(ballast, disk.free_bytes() - (leave << 20))
            async with site.mail(0, plan.messages) as (senders, through):
                await _until(site, senders, through, lambda: _temporary(senders) >= 20, "the disk never became full")
                refusals = _temporary(senders)
                if not senders.promised:
                    site.problem("nothing was accepted before the disk was full")
                ballast.unlink()
            return await site.result(f"disk full: {name}", f"{refusals} temporary refusals, then room again")


def _joined(one: Result, other: Result) -> Result:
    """Both were clean: the larger account stands for both."""
    return dataclasses.replace(
        other,
        name="disk full",
        account=dataclasses.replace(
            other.account,
            promised=one.account.promised + other.account.promised,
            present=one.account.present + other.account.present,
        ),
        events=f"down to the reserve: {one.events}; to the last block: {other.events}",
        seconds=one.seconds + other.seconds,
    )


def _grow(path: Path, size: int) -> None:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _temporary(senders: Senders) -> int:
    return sum(count for code, count in senders.replies.items() if 400 <= code < 500) + senders.broken


async def _until(site: Site, senders: Senders, through: asyncio.Event, so: Callable[[], bool], otherwise: str) -> None:
    """Until `so` holds or the senders are through; the latter is a problem where `otherwise` names it."""
    while not so():
        if await site.pause(0.05, through):
            if otherwise:
                site.problem(f"{otherwise} ({dict(senders.replies)})")
            return
