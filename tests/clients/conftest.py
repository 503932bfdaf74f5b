"""Every client does the same twice: passed through to a primary that is up, and served by the standby alone.

What it does must look the same to it. Thunderbird alone is only run against the standby, for its time.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.account import Account
from tests.clients.office import Office, office
from tests.peers import people
from tests.peers.certs import Authority
from tests.peers.dovecot import Dovecot
from tests.peers.postfix import Postfix


@pytest.fixture(scope="session")
def strangers() -> Iterator[str]:
    """Addresses that no other test uses, on the session's primary neither."""
    return (f"u{number:03}@{people.OTHER_DOMAIN}" for number in reversed(range(100)))


@pytest.fixture(scope="session")
def outage(authority: Authority) -> Iterator[Office]:
    """An office that has only the standby. It stays open; every test has an account of its own in it."""
    with office(authority) as made:
        yield made


@pytest.fixture(scope="session")
def fair_weather(authority: Authority, postfix: Postfix, dovecot: Dovecot) -> Iterator[Office]:
    """An office whose primary is up."""
    with office(authority, primary=(postfix, dovecot)) as made:
        yield made


@pytest.fixture(params=["outage", "fair_weather"])
def account(request: pytest.FixtureRequest, authority: Authority, strangers: Iterator[str]) -> Account:
    """Somebody with an empty mailbox."""
    made: Office = request.getfixturevalue(request.param)
    address = next(strangers)
    if not made.has_primary:
        made.add_user(address)
    return Account(made, address, people.password_of(address), authority.client_context())
