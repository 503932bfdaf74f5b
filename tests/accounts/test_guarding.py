"""Guessing and forgetting: tar-pit, networks, repeated and refused passwords, and logins that the primary judges."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from relay.accounts import hashing as hashing_module
from relay.accounts.login import LoginService, LoginSettings, Reason, Verdict
from relay.accounts.throttle import Throttle, ThrottleSettings
from relay.accounts.upstream import PrimaryFirst
from relay.core.ip import neighbourhood
from relay.core.mode import Mode, Service, Signal
from relay.primary.imap import Verdict as Judged
from relay.proto.sasl.credentials import Credentials, Proof
from tests.accounts.conftest import World

HERE, THERE = "192.0.2.7", "198.51.100.1"


def pw(login: str, password: bytes) -> Credentials:
    return Credentials(login, password)


@pytest.mark.parametrize(
    ("client", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_what_counts_as_one_client(client: str, place: str) -> None:
    assert neighbourhood(client) == place


def test_one_old_password_repeated_is_one_failure() -> None:
    throttle = Throttle(ThrottleSettings(failures=3))
    for _ in range(50):
        assert throttle.failed(b"bob", HERE, 0.0, b"old") <= 0.5
    assert throttle.admits(b"ann", HERE, 0.0)
    for guess in (b"1", b"2"):
        throttle.failed(b"bob", HERE, 0.0, guess)
    assert not throttle.admits(b"ann", HERE, 0.0)


def test_a_success_takes_back_its_own_failures_only() -> None:
    throttle = Throttle(ThrottleSettings(failures=3))
    for guess in (b"1", b"2"):
        throttle.failed(b"bob", HERE, 0.0, guess)
    throttle.failed(b"ann", HERE, 0.0, b"1")
    assert not throttle.admits(b"carol", HERE, 0.0)
    throttle.succeeded(b"bob", HERE, 0.0)
    assert throttle.admits(b"carol", HERE, 0.0)
    for _ in range(5):  # who has one good account cannot go on guessing at others by it
        throttle.failed(b"ann", HERE, 0.0, b"%d" % _)
        throttle.succeeded(b"bob", HERE, 0.0)
    assert not throttle.admits(b"carol", HERE, 0.0)


def test_exempt_networks_count_for_the_account_alone() -> None:
    exempt = (ipaddress.ip_network("192.0.2.0/24"),)
    throttle = Throttle(ThrottleSettings(failures=3, exempt=exempt))
    for guess in range(5):
        throttle.failed(b"bob", "::ffff:192.0.2.7", 0.0, b"%d" % guess)
    assert not throttle.admits(b"bob", HERE, 0.0)
    assert throttle.admits(b"ann", HERE, 0.0)
    assert throttle.admits(b"bob", THERE, 0.0)


async def test_only_so_many_wait_at_a_time(world: World) -> None:
    """The tar-pit is no place to keep our own memory in."""
    gate, waiting = asyncio.Event(), 0

    async def sleep(_: float) -> None:
        nonlocal waiting
        waiting += 1
        await gate.wait()

    settings = LoginSettings(most_delayed=2)
    logins = LoginService(world.credentials, world.vault, world.naming, world.clock, settings, sleep=sleep)
    world.services.append(logins)
    checks = {asyncio.create_task(logins.check(pw(f"u{n}", b"x"), client=f"192.0.2.{n}")) for n in range(5)}
    done: set[asyncio.Task[object]] = set()
    async with asyncio.timeout(20):
        while len(done) < 3:
            done, _ = await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), waiting) == (3, 2)
    gate.set()
    assert {one.reason for one in await asyncio.gather(*checks)} == {Reason.NOTHING_KNOWN}


async def test_a_changed_password_is_forgotten_once_the_primary_shows_that_it_can_tell(world: World) -> None:
    logins = world.logins()
    await logins.remember(pw("bob", b"old"), client=HERE)
    await logins.refused(pw("bob", b"old"), client=HERE)
    assert (await logins.check(pw("bob", b"old"), client=HERE)).ok  # an ill directory refuses everybody
    await logins.remember(pw("ann", b"hers"), client=THERE)
    assert (await logins.check(pw("bob", b"old"), client=HERE)).reason is Reason.NOTHING_KNOWN


async def test_an_ill_directory_costs_no_memory(world: World) -> None:
    logins = world.logins()
    for name in ("bob", "ann"):
        await logins.remember(pw(name, b"good"), client=HERE)
    for name in ("bob", "ann"):
        await logins.refused(pw(name, b"good"), client=HERE)
    world.clock.advance(60)  # the directory is well again, a minute later
    await logins.remember(pw("ann", b"good"), client=HERE)
    assert (await logins.check(pw("bob", b"good"), client=HERE)).ok
    assert (await logins.check(pw("ann", b"good"), client=HERE)).ok


async def test_strangers_cannot_make_us_forget(world: World) -> None:
    logins = world.logins()
    await logins.remember(pw("bob", b"good"), client=HERE)
    await logins.refused(pw("bob", b"guess"), client=THERE)
    await logins.remember(pw("ann", b"hers"), client=HERE)
    assert (await logins.check(pw("bob", b"good"), client=HERE)).ok


async def test_a_new_password_on_the_primary_is_not_taken_for_the_doubted_one(world: World) -> None:
    logins = world.logins()
    await logins.remember(pw("bob", b"old"), client=HERE)
    await logins.refused(pw("bob", b"old"), client=HERE)
    await logins.remember(pw("bob", b"new"), client=HERE)
    await logins.remember(pw("ann", b"hers"), client=THERE)
    assert (await logins.check(pw("bob", b"new"), client=HERE)).ok


async def test_a_refusal_by_the_primary_costs_the_same_for_everybody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether somebody is remembered here cannot be heard in the time: the same work is done."""
    tried: list[str] = []

    def counting(_: bytes, verifier: str) -> bool:
        tried.append(verifier)
        return False

    logins = world.logins()
    await logins.remember(pw("bob", b"good"), client=HERE)
    monkeypatch.setattr(hashing_module, "verify_password", counting)
    for name in ("bob", "nobody"):
        tried.clear()
        await logins.refused(pw(name, b"guess"), client=THERE)
        assert len(tried) == 1


class Board:
    """A mode, and the evidence that came in."""

    def __init__(self) -> None:
        self.now = Mode.NORMAL
        self.seen: list[Signal] = []

    def mode(self, service: Service) -> Mode:
        assert service is Service.LOGIN
        return self.now

    def evidence(self, service: Service, signal: Signal, reason: str) -> None:
        self.seen.append(signal)


class Primary:
    """Answers as told."""

    def __init__(self) -> None:
        self.answer = Judged.OK
        self.asked: list[tuple[str, ...]] = []

    async def verify(self, user: str, password: str) -> Judged:
        self.asked.append((user, password))
        return self.answer

    async def verify_token(self, mechanism: str, message: bytes, dismissal: bytes) -> Judged:
        self.asked.append((mechanism, message.decode()))
        return self.answer


async def test_the_primary_judges_first(world: World) -> None:
    board, primary = Board(), Primary()
    logins = PrimaryFirst(world.logins(), world.naming, board, primary)
    token = Credentials("bob", b"t", proof=Proof.TOKEN, mechanism="XOAUTH2", message=b"user=bob...")
    for claimed in (pw("bob", b"good"), token):
        primary.answer, board.now = Judged.OK, Mode.NORMAL
        result = await logins.judge(claimed, client=HERE)
        assert (result.reason, result.address) == (Reason.PRIMARY, "bob@example.org")
        board.now = Mode.STANDBY
        assert (await logins.judge(claimed, client=HERE)).reason is Reason.REMEMBERED
        board.now, primary.answer = Mode.NORMAL, Judged.UNAVAILABLE
        assert (await logins.judge(claimed, client=HERE)).reason is Reason.REMEMBERED
        primary.answer = Judged.REFUSED
        assert (await logins.judge(claimed, client=HERE)).verdict is Verdict.REFUSED
    assert primary.asked == [("bob", "good")] * 3 + [("XOAUTH2", "user=bob...")] * 3
    # a primary that does not take tokens is not ill
    assert board.seen == [Signal.OK, Signal.FAIL, Signal.OK]


async def test_nobody_acts_for_another_and_nobody_talks_the_primary_down(world: World) -> None:
    board, primary = Board(), Primary()
    logins = PrimaryFirst(world.logins(), world.naming, board, primary)
    assert (await logins.judge(Credentials("bob", b"x", "boss"), client=HERE)).verdict is Verdict.REFUSED
    assert (await logins.judge(pw("bob", b"\xff"), client=HERE)).verdict is Verdict.REFUSED
    assert (primary.asked, board.seen) == ([], [])
