"""Logins: remembered and configured, expiry, revocation, cache, throttle, tar-pit, nothing readable, no swapping."""

from __future__ import annotations

import asyncio
import threading

import pytest

from relay.accounts import hashing as hashing_module
from relay.accounts.hashing import HashingSettings
from relay.accounts.login import LoginService, LoginSettings, Reason, Verdict
from relay.accounts.throttle import ThrottleSettings
from relay.accounts.users import Users
from relay.core.errors import NotNow, Refused
from relay.proto.sasl.credentials import Credentials
from relay.store.records import Credential
from relay.vault.passwords import DUMMY, verify_password
from tests.accounts.conftest import World

CLIENT = "192.0.2.7"
DAY = 86_400.0


def pw(login: str, password: bytes = b"wrong") -> Credentials:
    """A claim by password."""
    return Credentials(login, password)


class CountingVerify:
    """Argon2id with a count of the verifiers that were tried."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, password: bytes, verifier: str) -> bool:
        self.tried.append(verifier)
        self.threads.add(threading.current_thread().name)
        return verify_password(password, verifier)


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch) -> CountingVerify:
    """Counts every verification."""
    counting = CountingVerify()
    monkeypatch.setattr(hashing_module, "verify_password", counting)
    return counting


async def test_remembered_login_works_in_another_process(world: World) -> None:
    """What worked on the primary works here, after a restart too, under any spelling of the name."""
    await world.logins().remember(pw("Bob", b"secret"), client=CLIENT)
    result = await world.logins().check(pw("bob@EXAMPLE.org", b"secret"), client=CLIENT)
    assert (result.ok, result.address, result.reason) == (True, "bob@example.org", Reason.REMEMBERED)


async def test_alias_logs_into_its_account(world: World) -> None:
    """An alias is another name of the same login."""
    logins = world.logins()
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    assert (await logins.check(pw("sales", b"secret"), client=CLIENT)).address == "bob@example.org"


async def test_failures_look_alike(world: World, verify: CountingVerify) -> None:
    """Unknown, wrong and expired: the same verdict, the same work."""
    logins = world.logins()
    await logins.remember(pw("old", b"secret"), client=CLIENT)
    world.clock.advance(30 * DAY)
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    verify.tried.clear()
    reasons = {}
    for name, password in (("bob", b"wrong"), ("nobody", b"secret"), ("old", b"secret")):
        verify.tried.clear()
        result = await logins.check(pw(name, password), client=CLIENT)
        assert (result.verdict, result.address) == (Verdict.UNAVAILABLE, None)
        assert len(verify.tried) == 1
        reasons[name] = result.reason
    assert reasons == {"bob": Reason.MISMATCH, "nobody": Reason.NOTHING_KNOWN, "old": Reason.EXPIRED}


async def test_authoritative_refuses(world: World) -> None:
    """Without a primary nobody else can say better."""
    logins = world.logins(LoginSettings(authoritative=True))
    assert (await logins.check(pw("nobody", b"x"), client=CLIENT)).verdict is Verdict.REFUSED


async def test_age_counts_from_the_last_login_on_the_primary(world: World) -> None:
    """Each login on the primary renews the verifier."""
    logins = world.logins()
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    world.clock.advance(20 * DAY)
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    world.clock.advance(20 * DAY)
    assert (await logins.check(pw("bob", b"secret"), client=CLIENT)).ok
    world.clock.advance(10 * DAY)
    assert (await logins.check(pw("bob", b"secret"), client=CLIENT)).reason is Reason.EXPIRED


async def test_changed_password_replaces_the_old_one(world: World) -> None:
    """Only the last password that worked on the primary works here."""
    logins = world.logins()
    await logins.remember(pw("bob", b"old"), client=CLIENT)
    await logins.remember(pw("bob", b"new"), client=CLIENT)
    assert not (await logins.check(pw("bob", b"old"), client=CLIENT)).ok
    assert (await logins.check(pw("bob", b"new"), client=CLIENT)).ok


async def test_reconnect_storm_is_cheap(world: World, verify: CountingVerify) -> None:
    """A hundred reconnects cost one Argon2id, off the event loop's thread."""
    logins = world.logins()
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    for _ in range(100):
        assert (await logins.check(pw("bob", b"secret"), client=CLIENT)).ok
    assert len(verify.tried) == 1
    assert threading.main_thread().name not in verify.threads


async def test_cache_never_helps_a_wrong_password_or_another_user(world: World, verify: CountingVerify) -> None:
    """The digest covers login and password."""
    logins = world.logins()
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    await logins.remember(pw("ann", b"other"), client=CLIENT)
    assert (await logins.check(pw("bob", b"secret"), client=CLIENT)).ok
    for name, password in (("bob", b"other"), ("ann", b"secret"), ("bob", b""), ("bobsecret", b""), ("bo", b"bsecret")):
        verify.tried.clear()
        assert not (await logins.check(pw(name, password), client=CLIENT)).ok
        assert len(verify.tried) == 1


async def test_revoked_at_once_in_every_process(world: World) -> None:
    """Revocation does not wait for any cache."""
    here, users = world.logins(), Users(world.credentials, world.naming, world.clock)
    await here.remember(pw("bob", b"secret"), client=CLIENT)
    assert (await here.check(pw("bob", b"secret"), client=CLIENT)).ok
    assert [(one.address, one.kind) for one in await users.list()] == [("bob@example.org", "remembered")]
    assert await users.revoke("bob")
    assert not await users.revoke("bob")
    assert await users.list() == []
    assert (await here.check(pw("bob", b"secret"), client=CLIENT)).reason is Reason.NOTHING_KNOWN


async def test_configured_user_decides_alone(world: World) -> None:
    """A configured password wins over a remembered one; removing the user removes both."""
    users = Users(world.credentials, world.naming, world.clock)
    logins = world.logins()
    await logins.remember(pw("bob", b"remembered"), client=CLIENT)
    await users.add("bob", b"configured")
    assert [(user.address, user.kind) for user in await users.list()] == [
        ("bob@example.org", "configured"),
        ("bob@example.org", "remembered"),
    ]
    assert (await logins.check(pw("bob", b"configured"), client=CLIENT)).reason is Reason.CONFIGURED
    assert not (await logins.check(pw("bob", b"remembered"), client=CLIENT)).ok
    world.clock.advance(365 * DAY)
    assert (await logins.check(pw("bob", b"configured"), client=CLIENT)).ok
    assert await users.remove("bob")
    assert not await users.remove("bob")
    assert (await logins.check(pw("bob", b"remembered"), client=CLIENT)).reason is Reason.NOTHING_KNOWN


@pytest.mark.parametrize(("name", "password"), [("", b"x"), ("bob", b""), ("bo b", b"x"), ("bob\r\n", b"")])
async def test_users_that_cannot_be(world: World, name: str, password: bytes) -> None:
    """No name, no password, no blanks in a name."""
    with pytest.raises(Refused):
        await Users(world.credentials, world.naming, world.clock).add(name, password)


async def test_remembering_can_be_switched_off(world: World) -> None:
    """Then nothing is kept."""
    logins = world.logins(LoginSettings(remember=False))
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    assert await world.store.credentials() == []


async def test_account_is_throttled_and_answers_come_late(world: World, verify: CountingVerify) -> None:
    """Failures grow the wait, then nothing is tried any more; the allowance comes back with time."""
    logins = world.logins(LoginSettings(throttle=ThrottleSettings(failures=4, window=400, longest_delay=1.0)))
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    for n in range(4):
        assert (await logins.check(pw("bob", b"wrong%d" % n), client=f"198.51.100.{n}")).reason is Reason.MISMATCH
    assert world.slept == [0.25, 0.5, 1.0, 1.0]
    verify.tried.clear()
    result = await logins.check(pw("bob", b"secret"), client="198.51.100.9")
    assert (result.reason, result.verdict, verify.tried) == (Reason.THROTTLED, Verdict.UNAVAILABLE, [])
    assert not await logins.admits("bob", client="198.51.100.9")
    world.clock.advance(100)
    assert (await logins.check(pw("bob", b"secret"), client="198.51.100.9")).ok


async def test_client_network_is_throttled(world: World) -> None:
    """Many names from one IPv6 network are one attacker; the primary's refusals count as well."""
    logins = world.logins(LoginSettings(throttle=ThrottleSettings(failures=3)))
    await logins.check(pw("a", b"x"), client="2001:db8::1")
    await logins.refused(pw("b"), client="2001:db8::2")
    await logins.check(pw("c", b"x"), client="2001:db8::3")
    assert not await logins.admits("d", client="2001:db8::ffff")
    assert await logins.admits("d", client="2001:db8:0:1::1")
    assert await logins.admits("d", client=CLIENT)


async def test_nobody_locks_a_user_out_of_a_known_place(world: World) -> None:
    """Where a user has logged in before, only failures from there count."""
    logins = world.logins(LoginSettings(throttle=ThrottleSettings(failures=3)))
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    for n in range(5):
        await logins.refused(pw("bob"), client=f"198.51.100.{n}")
    assert not await logins.admits("bob", client="198.51.100.77")
    assert (await logins.check(pw("bob", b"secret"), client=CLIENT)).ok
    for n in range(3):
        await logins.refused(pw("bob", b"wrong%d" % n), client=CLIENT)
    assert not await logins.admits("bob", client=CLIENT)


async def test_pool_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More callers than may wait are told to come back; those under way finish."""
    gate = threading.Event()

    def slow(password: bytes, verifier: str) -> bool:
        assert gate.wait(20)
        return False

    monkeypatch.setattr(hashing_module, "verify_password", slow)
    logins = world.logins(LoginSettings(hashing=HashingSettings(concurrency=1, waiting=2)))
    under_way = [asyncio.create_task(_check(logins, f"u{n}")) for n in range(8)]
    refused: set[asyncio.Task[None]] = set()
    async with asyncio.timeout(20):
        while len(refused) < 5:  # one is being checked, two wait; nobody else gets in before the gate opens
            done, _ = await asyncio.wait(set(under_way) - refused, return_when=asyncio.FIRST_COMPLETED)
            assert all(isinstance(task.exception(), NotNow) for task in done)
            refused |= done
    gate.set()
    results = await asyncio.gather(*under_way, return_exceptions=True)
    assert sum(isinstance(result, NotNow) for result in results) == 5


async def _check(logins: LoginService, name: str) -> None:
    assert not (await logins.check(pw(name, b"x"), client=CLIENT)).ok


async def test_copied_verifier_does_not_open_another_account(world: World) -> None:
    """Whoever can write rows but has no key cannot give one user's password to another."""
    logins = world.logins()
    await logins.remember(pw("mallory", b"mine"), client=CLIENT)
    await logins.remember(pw("bob", b"secret"), client=CLIENT)
    row = await world.store.credential(world.credentials.mac("mallory@example.org"), "remembered")
    assert row is not None
    await world.store.put_credential(
        Credential(world.credentials.mac("bob@example.org"), "remembered", row.login, row.verifier, row.updated_at)
    )
    assert (await logins.check(pw("bob", b"mine"), client=CLIENT)).reason is Reason.NOTHING_KNOWN
    assert [one.address for one in await world.credentials.all("remembered")] == ["mallory@example.org"]


async def test_nothing_readable_at_rest(world: World) -> None:
    """Neither names nor passwords nor verifiers are in the files."""
    await world.logins().remember(pw("marked-name", b"marked-password"), client=CLIENT)
    await Users(world.credentials, world.naming, world.clock).add("marked-user", b"marked-secret")
    for file in world.path.iterdir():
        if file.name != "relay.key":
            content = file.read_bytes()
            assert b"marked" not in content
            assert b"argon2" not in content


def test_dummy_fits_nothing() -> None:
    """The verifier for unknown names."""
    assert not verify_password(b"", DUMMY)
