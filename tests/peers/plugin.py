"""Fixtures for the real peers.

`authority`, `dovecot`, `postfix` and `maildir_postfix` live for the whole session: use them for what leaves no trace in
the way of others (other recipients), and never stop them. A test that stops, kills, stalls or reconfigures a peer makes
its own with `make_postfix` or `make_dovecot`. `fault_proxy` puts a `FaultProxy` in front of any port.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.peers import workdir
from tests.peers.certs import Authority, Pair
from tests.peers.dovecot import Dovecot, DovecotSettings
from tests.peers.faultproxy import FaultProxy, Script
from tests.peers.postfix import Postfix, PostfixSettings
from tests.peers.relay import Relay, RelaySettings

MakePostfix = Callable[[PostfixSettings], Postfix]
MakeDovecot = Callable[[DovecotSettings], Dovecot]
MakeRelay = Callable[[RelaySettings], Relay]
MakeProxy = Callable[..., Awaitable[FaultProxy]]


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    """A throw-away certificate authority."""
    directory: Path = workdir.make("ca")
    yield Authority(directory)
    workdir.remove(directory)


@pytest.fixture(scope="session")
def server_pair(authority: Authority) -> Pair:
    """A server certificate for localhost and the example hosts."""
    return authority.issue()


@pytest.fixture(scope="session")
def dovecot(server_pair: Pair) -> Iterator[Dovecot]:
    """A running Dovecot that stays up."""
    with Dovecot(DovecotSettings(certificate=server_pair)) as peer:
        yield peer


@pytest.fixture(scope="session")
def postfix(dovecot: Dovecot, server_pair: Pair) -> Iterator[Postfix]:
    """A running Postfix that delivers into `dovecot` by LMTP and stays up."""
    settings = PostfixSettings(
        lmtp_socket=dovecot.lmtp_socket, certificate=server_pair.certificate, private_key=server_pair.private_key
    )
    with Postfix(settings) as peer:
        yield peer


@pytest.fixture(scope="session")
def maildir_postfix() -> Iterator[Postfix]:
    """A running Postfix that delivers into Maildirs and stays up."""
    with Postfix() as peer:
        yield peer


@pytest.fixture
def make_postfix() -> Iterator[MakePostfix]:
    """Makes Postfix instances of the test's own, started; they are closed after it."""
    with contextlib.ExitStack() as stack:
        yield lambda settings: stack.enter_context(Postfix(settings))


@pytest.fixture
def make_dovecot() -> Iterator[MakeDovecot]:
    """Makes Dovecot instances of the test's own, started; they are closed after it."""
    with contextlib.ExitStack() as stack:
        yield lambda settings: stack.enter_context(Dovecot(settings))


@pytest.fixture
def make_relay() -> Iterator[MakeRelay]:
    """Makes relays, not yet started; they are closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(settings: RelaySettings) -> Relay:
            made = Relay(settings)
            stack.callback(made.close)
            return made

        yield make


@pytest_asyncio.fixture
async def fault_proxy() -> AsyncIterator[MakeProxy]:
    """Makes proxies: `await fault_proxy(port, Script(...), ...)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(port: int, *scripts: Script) -> FaultProxy:
            return await stack.enter_async_context(FaultProxy(port, *scripts))

        yield make
