"""What is counted of logins tells a wrong password from one that nobody can judge; what the client is told does not."""

from __future__ import annotations

from relay.accounts.login import LoginService, LoginSettings, Verdict
from relay.accounts.throttle import ThrottleSettings
from relay.obs.metrics import Metrics
from relay.proto.sasl.credentials import Credentials
from tests.accounts.conftest import World

CLIENT, STRANGER = "192.0.2.7", "198.51.100.1"
DAY = 86_400.0


def counted(metrics: Metrics) -> dict[tuple[str, ...], int]:
    """By source, result and reason, without the zeros."""
    return {key: int(n) for key, child in metrics.login.attempts.items() if (n := child._value.get())}


def service(world: World, metrics: Metrics, *, failures: int = 10, authoritative: bool = False) -> LoginService:
    """With figures; closed with the world."""
    made = LoginService(
        world.credentials,
        world.vault,
        world.naming,
        world.clock,
        LoginSettings(authoritative=authoritative, throttle=ThrottleSettings(failures=failures)),
        sleep=world.sleep,
        metrics=metrics.login,
    )
    world.services.append(made)
    return made


async def test_an_outage_tells_wrong_from_unknown_in_the_figures_alone(world: World) -> None:
    metrics = Metrics()
    logins = service(world, metrics)
    await logins.remember(Credentials("bob", b"secret"), client=CLIENT)
    assert (await logins.check(Credentials("bob", b"secret"), client=CLIENT)).ok
    wrong = await logins.check(Credentials("bob", b"wrong"), client=STRANGER)
    unknown = await logins.check(Credentials("nobody", b"wrong"), client=STRANGER)
    world.clock.advance(31 * DAY)
    expired = await logins.check(Credentials("bob", b"secret"), client=CLIENT)
    assert {wrong.verdict, unknown.verdict, expired.verdict} == {Verdict.UNAVAILABLE}
    assert counted(metrics) == {
        ("primary", "ok", "none"): 1,
        ("remembered", "ok", "none"): 1,
        ("none", "unavailable", "mismatch"): 1,
        ("none", "unavailable", "nothing_known"): 2,
    }


async def test_the_throttle_counts_wherever_it_says_no(world: World) -> None:
    metrics = Metrics()
    logins = service(world, metrics, failures=2)
    for password in (b"1", b"2"):
        await logins.check(Credentials("bob", password), client=STRANGER)
    assert (await logins.check(Credentials("bob", b"3"), client=STRANGER)).verdict is Verdict.UNAVAILABLE
    assert not await logins.admits("bob", client=STRANGER)  # asked before the primary is
    assert counted(metrics) == {("none", "unavailable", "nothing_known"): 2, ("none", "throttled", "throttled"): 2}


async def test_what_the_primary_refuses_is_a_mismatch(world: World) -> None:
    metrics = Metrics()
    await service(world, metrics).refused(Credentials("bob", b"wrong"), client=STRANGER)
    alone = service(world, metrics, authoritative=True)
    assert (await alone.check(Credentials("nobody", b"wrong"), client=CLIENT)).verdict is Verdict.REFUSED
    assert counted(metrics) == {("primary", "refused", "mismatch"): 1, ("none", "refused", "nothing_known"): 1}
