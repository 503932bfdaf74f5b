"""Forward-confirmed reverse names: what is a name, what is none, what is deferred; memory, deadlines, crowds."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.clock import ManualClock
from relay.primary.client_names import (
    DEFERRED,
    MOST_POINTERS,
    NO_NAME,
    ClientName,
    ClientNames,
    ClientNamesSettings,
    host_name,
)
from relay.primary.lookup import Dns, Values
from tests.peers.dns import serving

CLIENT = "192.0.2.7"
NAME = "out.example.net"
FOUND = ClientName(NAME)


class FakeDns:
    """Answers from two dicts; a missing key is NXDOMAIN, None is no answer. `gate` holds every question up."""

    def __init__(self) -> None:
        self.pointing: dict[str, tuple[str, ...] | None] = {CLIENT: (NAME,)}
        self.hosted: dict[tuple[str, int], tuple[str, ...] | None] = {(NAME, 4): ("198.51.100.1", CLIENT)}
        self.seconds = 600.0
        self.questions: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.now = 0
        self.most_at_once = 0
        self.error: Exception | None = None

    async def pointers(self, address: str) -> Values | None:
        """As `Dns.pointers`."""
        return await self._answer(address, self.pointing.get(address, ()))

    async def hosts(self, name: str, version: int) -> Values | None:
        """As `Dns.hosts`."""
        return await self._answer(name, self.hosted.get((name, version), ()))

    async def _answer(self, question: str, values: tuple[str, ...] | None) -> Values | None:
        self.questions.append(question)
        self.asked.set()
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            await self.gate.wait()
        finally:
            self.now -= 1
        if self.error is not None:
            raise self.error
        return None if values is None else Values(values, self.seconds)


class Stand:
    """The look-ups over a fake DNS and a clock that stands still."""

    def __init__(self, **settings: object) -> None:
        self.dns = FakeDns()
        self.clock = ManualClock()
        self.opened = 0
        self.openings: list[Exception] = []
        chosen = msgspec.structs.replace(ClientNamesSettings(), **settings)
        self.names = ClientNames(self._open, self.clock, chosen)

    def _open(self, seconds: float) -> FakeDns:
        assert seconds > 0
        self.opened += 1
        if self.openings:
            raise self.openings.pop()
        return self.dns

    async def ask(self, address: str = CLIENT) -> ClientName:
        """The answer, in time."""
        async with asyncio.timeout(10):
            return await self.names.name_of(address)


@asynccontextmanager
async def stand(**settings: object) -> AsyncIterator[Stand]:
    it = Stand(**settings)
    try:
        yield it
    finally:
        await it.names.stop()


async def test_a_name_that_points_back_is_the_clients() -> None:
    async with stand() as it:
        assert await it.ask() == FOUND
        assert it.dns.questions == [CLIENT, NAME]


async def test_version_6_is_asked_for_in_version_6_and_mapped_addresses_in_4() -> None:
    async with stand() as it:
        it.dns.pointing["2001:db8::7"] = (NAME,)
        it.dns.hosted[NAME, 6] = ("2001:DB8:0::7",)
        assert await it.ask("2001:db8::7") == FOUND
        assert await it.ask("::ffff:192.0.2.7") == FOUND


def no_pointer(dns: FakeDns) -> None:
    dns.pointing.clear()


def points_elsewhere(dns: FakeDns) -> None:
    dns.hosted[NAME, 4] = ("198.51.100.1", "not an address")


def no_such_host(dns: FakeDns) -> None:
    dns.hosted.clear()


def only_nonsense(dns: FakeDns) -> None:
    dns.pointing[CLIENT] = ("a\r\nMAIL FROM:<x>", "x" * 10_000, "192.0.2.7", "", ".")


def pointers_fail(dns: FakeDns) -> None:
    dns.pointing[CLIENT] = None


def hosts_fail(dns: FakeDns) -> None:
    dns.hosted[NAME, 4] = None


def one_of_two_fails(dns: FakeDns) -> None:
    dns.pointing[CLIENT] = ("elsewhere.example", NAME)
    dns.hosted[NAME, 4] = None


def a_bug(dns: FakeDns) -> None:
    dns.error = RuntimeError("told to fail")


def no_network(dns: FakeDns) -> None:
    dns.error = OSError("told to fail")


@pytest.mark.parametrize("harm", [no_pointer, points_elsewhere, no_such_host, only_nonsense])
async def test_no_name(harm: Callable[[FakeDns], None]) -> None:
    async with stand() as it:
        harm(it.dns)
        assert await it.ask() == NO_NAME


@pytest.mark.parametrize("harm", [pointers_fail, hosts_fail, one_of_two_fails, a_bug, no_network])
async def test_deferred(harm: Callable[[FakeDns], None]) -> None:
    async with stand() as it:
        harm(it.dns)
        assert await it.ask() == DEFERRED


async def test_nonsense_is_not_asked_about_and_of_many_pointers_a_few_are_tried() -> None:
    async with stand() as it:
        it.dns.pointing[CLIENT] = ("-bad-.example", "no such\tname", NAME.upper(), NAME)
        assert await it.ask() == FOUND
        assert it.dns.questions == [CLIENT, NAME]
    async with stand() as it:
        it.dns.pointing[CLIENT] = (*(f"h{n}.example" for n in range(500)), NAME)
        assert await it.ask() == NO_NAME
        assert len(it.dns.questions) == 1 + MOST_POINTERS


async def test_a_confirmed_name_counts_though_another_did_not_answer() -> None:
    async with stand() as it:
        it.dns.pointing[CLIENT] = ("silent.example", NAME)
        it.dns.hosted["silent.example", 4] = None
        assert await it.ask() == FOUND


@pytest.mark.parametrize(
    ("harm", "ttl", "holds"),
    [
        (None, 600.0, 600.0),
        (None, 0.0, 30.0),
        (None, 2.0**31, 3600.0),
        (no_pointer, 600.0, 300.0),
        (pointers_fail, 600.0, 30.0),
    ],
)
async def test_an_answer_is_remembered_within_bounds(
    harm: Callable[[FakeDns], None] | None, ttl: float, holds: float
) -> None:
    async with stand() as it:
        it.dns.seconds = ttl
        if harm is not None:
            harm(it.dns)
        first = await it.ask()
        asked = len(it.dns.questions)
        it.clock.advance(holds - 0.1)
        assert it.names.begin(CLIENT) == first
        it.clock.advance(0.2)
        assert it.names.begin(CLIENT) is None
        assert await it.ask() == first
        assert len(it.dns.questions) == 2 * asked


async def test_the_memory_forgets_what_was_not_used_longest() -> None:
    async with stand(remembered=2) as it:
        await it.ask("192.0.2.1")
        await it.ask("192.0.2.2")
        assert it.names.begin("192.0.2.1") == NO_NAME
        await it.ask("192.0.2.3")
        assert it.names.begin("192.0.2.1") == NO_NAME
        assert it.names.begin("192.0.2.2") is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "", "unix", "1.2.3"])
async def test_nothing_is_asked_about_loopback_nor_about_no_address(address: str) -> None:
    async with stand() as it:
        assert it.names.begin(address) == NO_NAME
        assert await it.ask(address) == NO_NAME
        assert (it.opened, it.dns.questions) == (0, [])


async def test_who_is_excluded_is_the_operators_choice() -> None:
    async with stand(excluded=(ipaddress.ip_network("192.0.2.0/24"),)) as it:
        it.dns.pointing["127.0.0.1"] = (NAME,)
        it.dns.hosted[NAME, 4] = ("127.0.0.1",)
        assert await it.ask(CLIENT) == NO_NAME
        assert await it.ask("127.0.0.1") == FOUND


async def test_one_look_up_serves_all_who_wait_and_goes_on_when_one_leaves() -> None:
    async with stand() as it:
        it.dns.gate.clear()
        assert it.names.begin(CLIENT) is None
        waiting = [asyncio.create_task(it.names.name_of(CLIENT)) for _ in range(5)]
        async with asyncio.timeout(10):
            await it.dns.asked.wait()
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        it.dns.gate.set()
        assert await asyncio.gather(*waiting[1:]) == [FOUND] * 4
        assert it.dns.questions == [CLIENT, NAME]


async def test_the_deadline_holds_over_everything_and_is_remembered_for_a_moment() -> None:
    async with stand(seconds=0.01, at_once=1) as it:
        it.dns.gate.clear()
        assert it.names.begin("192.0.2.1") is None  # has the one turn; the next waits for it
        assert await it.ask() == DEFERRED
        assert it.names.begin(CLIENT) == DEFERRED
        it.clock.advance(31)
        assert it.names.begin(CLIENT) is None


async def test_a_crowd_takes_turns_and_beyond_it_answers_are_deferred_at_once() -> None:
    async with stand(at_once=2, most_waiting=4) as it:
        it.dns.gate.clear()
        crowd = [f"192.0.2.{n}" for n in range(10, 14)]
        assert [it.names.begin(address) for address in crowd] == [None] * 4
        assert it.names.begin(CLIENT) == DEFERRED
        assert await it.ask() == DEFERRED
        it.dns.gate.set()
        assert [await it.ask(address) for address in crowd] == [NO_NAME] * 4
        assert it.dns.most_at_once <= 2
        assert await it.ask() == FOUND  # that there was no room is not remembered


async def test_without_name_servers_answers_are_deferred_and_they_are_looked_for_again() -> None:
    async with stand() as it:
        it.openings.append(OSError("no name server is configured"))
        assert await it.ask() == DEFERRED
        it.clock.advance(31)
        assert await it.ask() == FOUND
        assert it.opened == 2
        assert await it.ask("192.0.2.8") == NO_NAME
        assert it.opened == 2


async def test_at_the_end_those_who_wait_are_answered() -> None:
    async with stand() as it:
        it.dns.gate.clear()
        waiting = asyncio.create_task(it.names.name_of(CLIENT))
        async with asyncio.timeout(10):
            await it.dns.asked.wait()
        assert it.names.begin("192.0.2.1") is None  # and has not had its first step
        await it.names.stop()
        await it.names.stop()
        assert await waiting == DEFERRED
        it.dns.gate.set()
        assert await it.ask() == FOUND
        assert await it.ask("192.0.2.1") == NO_NAME


GOOD = ["a", "out.example.net", "OUT.Example.NET.", "x--1.example", "_sip.example", "xn--bcher-kva.example", "1.in.x1"]
BAD = [
    *("", ".", "..", "a..b", ".a", "a b", "a\x00b", "a\r\n.b", "a\\013b", "-a.b", "a-.b", "a@b", "[::1]", "a/b", "a%b"),
    *("ä.example", "\u212a.example", "192.0.2.1", "a.1", "x" * 64 + ".b", ".".join(["abc"] * 64), "x" * 10_000),
]


@pytest.mark.parametrize("text", GOOD)
def test_host_names(text: str) -> None:
    assert host_name(text) == text.lower().removesuffix(".")


@pytest.mark.parametrize("text", BAD)
def test_no_host_names(text: str) -> None:
    assert host_name(text) is None


@given(st.one_of(st.text(max_size=300), st.from_regex(r"\A[a-z0-9_.-]{1,260}\Z")))
def test_what_passes_can_stand_in_any_line(text: str) -> None:
    name = host_name(text)
    assert name is None or (re.fullmatch(r"[a-z0-9_.-]{1,253}", name) and host_name(name) == name)


ZONE = {
    ("7.2.0.192.in-addr.arpa", "PTR"): ["Out.Example.NET."],
    ("out.example.net", "A"): ["198.51.100.1", CLIENT],
    ("8.2.0.192.in-addr.arpa", "PTR"): ["out.example.net."],
    ("9.2.0.192.in-addr.arpa", "PTR"): ["9.8/29.2.0.192.in-addr.arpa.", r"a\013\010b.example.net."],
    ("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "PTR"): ["six.example.net."],
    ("six.example.net", "AAAA"): ["2001:db8::7"],
}


async def test_a_name_server_on_the_wire() -> None:
    async with serving(ZONE) as server:
        names = ClientNames(
            lambda seconds: Dns(seconds, server=server.address), ManualClock(), ClientNamesSettings(seconds=5.0)
        )
        async with asyncio.timeout(20):
            assert await names.name_of(CLIENT) == FOUND
            assert await names.name_of("2001:db8::7") == ClientName("six.example.net")
            assert await names.name_of("192.0.2.8") == NO_NAME  # the name is another's
            assert await names.name_of("192.0.2.9") == NO_NAME
            assert await names.name_of("192.0.2.10") == NO_NAME
            assert all(kind == "PTR" or name in {"out.example.net", "six.example.net"} for name, kind in server.asked)
            server.broken.add("")
            assert await names.name_of("192.0.2.11") == DEFERRED
        await names.stop()


async def test_a_silent_name_server_is_given_up_in_time() -> None:
    async with serving(ZONE) as server:
        server.silent.add("")
        names = ClientNames(
            lambda seconds: Dns(seconds, server=server.address), ManualClock(), ClientNamesSettings(seconds=0.1)
        )
        async with asyncio.timeout(10):
            assert await names.name_of(CLIENT) == DEFERRED
        assert server.asked
        await names.stop()


def test_a_start_does_not_wait_for_the_resolver() -> None:
    """dnspython is imported by the first question only."""
    code = "import sys, relay.node; print([name for name in sys.modules if name.split('.')[0] == 'dns'])"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "[]\n"
