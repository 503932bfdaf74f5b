"""Every client does the same twice: passed through to a primary that is up, and served by the standby alone.

What it does must look the same to it. Thunderbird alone is only run against the standby, for its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.clients.account import Account
from tests.clients.office import Office, office
from tests.peers import people
from tests.peers.certs import Authority
from tests.peers.dovecot import Dovecot
from tests.peers.postfix import Postfix

STRANGERS: Final = tuple(f"u{number:03}@{people.OTHER_DOMAIN}" for number in range(70, 100))
"""Whom no other test writes to, on the session's primary neither."""


@pytest.fixture(scope="session")
def strangers() -> dict[str, Iterator[str]]:
    """Who has not been in a test yet, by office."""
    return {office: iter(STRANGERS) for office in ("outage", "fair_weather")}


@pytest.fixture(scope="session")
def outage(authority: Authority) -> Iterator[Office]:
    """An office that has only the standby. It stays open; every test has an account of its own in it."""
    with office(authority, users=STRANGERS) as made:
        yield made


@pytest.fixture(scope="session")
def fair_weather(authority: Authority, postfix: Postfix, dovecot: Dovecot) -> Iterator[Office]:
    """An office whose primary is up."""
    with office(authority, primary=(postfix, dovecot)) as made:
        yield made


@pytest.fixture
def newcomer(outage: Office, authority: Authority, strangers: dict[str, Iterator[str]]) -> Account:
    """Somebody with an empty mailbox on the standby."""
    address = next(strangers["outage"])
    return Account(outage, address, people.password_of(address), authority.client_context())


@pytest.fixture(params=["outage", "fair_weather"])
def account(request: pytest.FixtureRequest, authority: Authority, strangers: dict[str, Iterator[str]]) -> Account:
    """Somebody with an empty mailbox, in each of the offices."""
    made: Office = request.getfixturevalue(request.param)
    address = next(strangers[request.param])
    return Account(made, address, people.password_of(address), authority.client_context())
