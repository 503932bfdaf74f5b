"""Every client does the same twice: passed through to a primary that is up, and served by the standby alone.

What it does must look the same to it. Thunderbird alone is only run against the standby, for its time.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.account import Account
from tests.clients.office import office
from tests.peers import people
from tests.peers.certs import Authority


@pytest.fixture(scope="session")
def strangers() -> Iterator[str]:
    """Addresses that no other test uses, on the session's primary neither."""
    return (f"u{number:03}@{people.OTHER_DOMAIN}" for number in reversed(range(100)))


@pytest.fixture(params=["standby", "passed-through"])
def account(request: pytest.FixtureRequest, authority: Authority, strangers: Iterator[str]) -> Iterator[Account]:
    """Somebody with an empty mailbox."""
    address = next(strangers)
    up = request.param == "passed-through"
    primary = (request.getfixturevalue("postfix"), request.getfixturevalue("dovecot")) if up else None
    with office(authority, users=() if up else (address,), primary=primary) as made:
        yield Account(made, address, people.password_of(address), authority.client_context())
