"""The recipient directory: sources, policy, maturity, sub-addresses, bounded memory, coalesced writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from relay.accounts.directory import Directory, DirectorySettings, Unknown, Verdict
from relay.core.errors import NotNow
from relay.core.reply import Reply, reply
from relay.store.api import StoreUnavailable
from relay.store.records import KnownRecipient, Mac
from tests.accounts.conftest import World

DAY = 86_400.0
OURS = frozenset({"example.org", "b\u00fccher.example"})
YES = reply(250, "2.1.5 Ok")
NO = reply(550, "5.1.1 No such user")


async def test_relay_is_denied(world: World) -> None:
    """Only our domains, in any spelling."""
    directory = world.directory(DirectorySettings(OURS))
    for address in ("x@example.com", "x", "", "x@sub.example.org", "x@example.org.evil.example"):
        assert await directory.verdict(address) is Verdict.NOT_OURS
    for address in ("x@EXAMPLE.org.", "x@xn--bcher-kva.example", "x@B\u00dcCHER.example"):
        assert await directory.verdict(address) is Verdict.UNKNOWN_ACCEPT


@pytest.mark.parametrize("policy", list(Unknown))
async def test_postmaster_exists_under_every_policy(world: World, policy: Unknown) -> None:
    """RFC 5321 4.5.1, also for the bare name; not for other people's domains."""
    directory = world.directory(DirectorySettings(OURS, policy))
    assert await directory.verdict("Postmaster") is Verdict.KNOWN
    assert await directory.verdict("POSTMASTER@example.org") is Verdict.KNOWN
    assert await directory.verdict("postmaster@example.com") is Verdict.NOT_OURS


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (Unknown.AUTO, Verdict.UNKNOWN_ACCEPT),
        (Unknown.ACCEPT, Verdict.UNKNOWN_ACCEPT),
        (Unknown.TEMPFAIL, Verdict.NOT_YET),
        (Unknown.REJECT, Verdict.NO_SUCH),
    ],
)
async def test_unknown_by_policy(world: World, policy: Unknown, verdict: Verdict) -> None:
    """A domain that nothing is known of."""
    assert await world.directory(DirectorySettings(OURS, policy)).verdict("x@example.org") is verdict


async def test_learned_from_answers_by_every_process(world: World) -> None:
    """What one worker heard from the primary, another believes; the newest answer wins."""
    here, there = world.directory(DirectorySettings(OURS)), world.directory(DirectorySettings(OURS))
    await here.learn("Bob@example.org", YES)
    await here.learn("gone@example.org", NO)
    assert await here.verdict("bob@EXAMPLE.ORG") is Verdict.KNOWN
    await here.flush()
    assert await there.verdict("bob@example.org") is Verdict.KNOWN
    assert await there.verdict("gone@example.org") is Verdict.NOT_YET
    world.clock.advance(10)
    await there.learn("gone@example.org", YES)
    await there.flush()
    assert await here.verdict("gone@example.org") is Verdict.NOT_YET
    world.clock.advance(60)
    assert await here.verdict("gone@example.org") is Verdict.KNOWN


@pytest.mark.parametrize(
    "answer",
    [
        reply(450, "4.2.0 Greylisted"),
        reply(550, "5.7.1 Spam"),
        reply(554, "no"),
        Reply(550, ()),
        reply(552, "5.2.2 Full"),
    ],
)
async def test_other_answers_teach_nothing(world: World, answer: Reply) -> None:
    """Policy, trouble and full mailboxes do not say that an address does not exist."""
    directory = world.directory(DirectorySettings(OURS))
    await directory.learn("bob@example.org", YES)
    await directory.learn("bob@example.org", answer)
    await directory.learn("new@example.org", answer)
    assert await directory.verdict("bob@example.org") is Verdict.KNOWN
    assert await directory.verdict("new@example.org") is Verdict.UNKNOWN_ACCEPT


async def test_domain_matures(world: World) -> None:
    """After two weeks of traffic an unknown recipient is doubted, never refused."""
    directory = world.directory(DirectorySettings(OURS))
    await directory.saw("bob@example.org")
    await directory.flush()
    world.clock.advance(14 * DAY - 1)
    assert await directory.verdict("x@example.org") is Verdict.UNKNOWN_ACCEPT
    world.clock.advance(1)
    assert await directory.verdict("x@example.org") is Verdict.NOT_YET
    assert await directory.verdict("x@b\u00fccher.example") is Verdict.UNKNOWN_ACCEPT
    assert await directory.verdict("bob@example.org") is Verdict.KNOWN


async def test_list_makes_its_domain_mature_and_can_be_replaced(world: World) -> None:
    """The configured list."""
    directory = world.directory(DirectorySettings(OURS, recipients=frozenset({"Ann@example.org"})))
    assert await directory.verdict("ann+x@example.org") is Verdict.KNOWN
    assert await directory.verdict("carl@example.org") is Verdict.NOT_YET
    directory.replace_list(["carl@example.org"])
    assert await directory.verdict("carl@example.org") is Verdict.KNOWN
    assert await directory.verdict("ann@example.org") is Verdict.NOT_YET


async def test_aliases_and_sub_addresses(world: World) -> None:
    """A detail is read by the user; an alias exists."""
    directory = world.directory(DirectorySettings(OURS, Unknown.REJECT))
    await directory.saw("bob@example.org")
    assert await directory.verdict("bob+lists@example.org") is Verdict.KNOWN
    assert await directory.verdict("sales@example.org") is Verdict.KNOWN
    assert await directory.verdict("sales+x@example.org") is Verdict.KNOWN
    assert await directory.verdict("+x@example.org") is Verdict.NO_SUCH
    assert world.naming.account_of("Sales+x@example.org") == "bob@example.org"
    assert world.naming.account_of("bob+x") == "bob@example.org"
    assert world.naming.account_of('"a+b"@example.org') == '"a+b"@example.org'


class Counting:
    """A directory store that counts and can be down."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reads = 0
        self.writes: list[int] = []
        self.down = False

    def __getattr__(self, name: str) -> object:
        return getattr(self.world.store, name)

    async def known_recipients(self, macs: Sequence[Mac]) -> dict[Mac, KnownRecipient]:
        """Counted."""
        self.reads += 1
        if self.down:
            raise StoreUnavailable("down")
        return await self.world.store.known_recipients(macs)

    async def learn_recipients(self, domain: Mac, known: Sequence[KnownRecipient]) -> None:
        """Counted."""
        if self.down:
            raise StoreUnavailable("down")
        self.writes.append(len(known))
        await self.world.store.learn_recipients(domain, known)


def _counted(world: World, settings: DirectorySettings) -> tuple[Directory, Counting]:
    store = Counting(world)
    return Directory(store, world.vault, world.naming, world.clock, settings), store  # type: ignore[arg-type]  # the rest is delegated


async def test_writes_are_grouped_and_repetitions_are_none(world: World) -> None:
    """A thousand RCPTs are two commits; the same again within a day is no commit."""
    directory, store = _counted(world, DirectorySettings(OURS))
    for _ in range(2):
        for n in range(1000):
            await directory.learn(f"u{n}@example.org", YES)
    await directory.flush()
    assert store.writes == [500, 500]
    world.clock.advance(DAY)
    await directory.learn("u1@example.org", YES)
    await directory.flush()
    assert store.writes == [500, 500, 1]


async def test_memory_spares_the_store_and_is_bounded(world: World) -> None:
    """One read per address and minute; the oldest entries go first."""
    directory, store = _counted(world, DirectorySettings(OURS, cache_entries=10))
    for _ in range(5):
        await directory.verdict("x@example.org")
    assert store.reads == 1
    for n in range(50):
        await directory.verdict(f"u{n}@example.org")
    assert len(directory._memory) == 10
    await directory.verdict("x@example.org")
    assert store.reads == 52


async def test_store_that_is_down_is_not_guessed_around(world: World) -> None:
    """A look-up says so, what was learned waits for its return."""
    directory, store = _counted(world, DirectorySettings(OURS))
    store.down = True
    with pytest.raises(NotNow):
        await directory.verdict("x@example.org")
    await directory.learn("bob@example.org", YES)
    await directory.flush()
    assert await directory.verdict("bob@example.org") is Verdict.KNOWN
    store.down = False
    await directory.flush()
    assert store.writes == [1]


async def test_run_flushes_and_flushes_once_more_when_cancelled(world: World) -> None:
    """The background task."""
    directory, store = _counted(world, DirectorySettings(OURS))
    turns: asyncio.Queue[float] = asyncio.Queue()
    go = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        turns.put_nowait(seconds)
        await go.acquire()

    task = asyncio.create_task(directory.run(sleep))
    assert await asyncio.wait_for(turns.get(), 10) == 1.0
    await directory.learn("a@example.org", YES)
    go.release()
    await asyncio.wait_for(turns.get(), 10)
    assert store.writes == [1]
    await directory.learn("b@example.org", YES)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.writes == [1, 1]


async def test_nothing_readable_at_rest(world: World) -> None:
    """No address is in the files."""
    directory = world.directory(DirectorySettings(frozenset({"marked.example"})))
    await directory.learn("marked@marked.example", YES)
    await directory.flush()
    for file in world.path.iterdir():
        if file.name != "relay.key":
            assert b"marked" not in file.read_bytes()
