"""Certificates and event loops for the listeners under test."""

from __future__ import annotations

import functools

import pytest

from tests.inbound.tls import Tls
from tests.listen.loops import LOOPS, Run, run_on
from tests.peers.certs import Authority, Pair, server_context


@pytest.fixture(scope="session")
def tls(authority: Authority, server_pair: Pair) -> Tls:
    """For localhost."""
    return Tls(server_context(server_pair), authority.client_context())


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function on each kind of loop."""
    return functools.partial(run_on, request.param)
