"""What users do in their mailboxes during an outage leaves the books right: `relay audit` after each of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.scene import BOB, Scene, message, scene
from tests.e2e.test_user_actions import DRAFT, said
from tests.peers.certs import Pair

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]


@pytest.fixture
async def here(server_pair: Pair) -> AsyncIterator[Scene]:
    """An outage, a user whom the relay remembers, and one message that arrived in it."""
    with scene(server_pair, config={"retention": {"shadow": "1s"}}) as made:
        with made.login(BOB):
            pass
        await made.until(lambda: "bob" in made.relay.command("user", "list").stdout)
        await made.primary_down()
        await made.accept(message("arrived in the outage"), BOB)
        yield made


def books(here: Scene) -> dict[str, Any]:
    """What the audit says; it must be content."""
    found = json.loads(here.relay.command("audit", "--bodies", "--json").stdout)
    assert isinstance(found, dict)
    assert found["ok"] is True
    return {name: found[name] for name in ("accepted", "queued", "stored", "removed")}


async def test_the_books_after_each_thing_that_a_user_does(here: Scene) -> None:
    with here.login(BOB) as client:
        said(client, "append", "Drafts", "(\\Draft)", "", DRAFT)
        assert books(here) == {"accepted": 2, "queued": 1, "stored": 1, "removed": 0}
        said(client, "create", "Work")
        said(client, "select", "Drafts")
        said(client, "copy", "1", "Work")
        said(client, "select", "INBOX")
        said(client, "copy", "1", "Work")
        said(client, "uid", "MOVE", "1:*", "Archive")
        assert books(here) == {"accepted": 2, "queued": 1, "stored": 1, "removed": 0}
        for name in ("Drafts", "Work", "Archive"):
            said(client, "select", name)
            said(client, "store", "1:*", "+FLAGS", "(\\Deleted)")
            said(client, "expunge")
        # Kept for as long as a shadow copy is, though no mailbox shows it; what arrived is owed all the same.
        assert books(here) == {"accepted": 2, "queued": 1, "stored": 1, "removed": 0}
    here.relay.stop()
    here.relay.start()  # a sweep is the first thing that it does
    await here.until(lambda: books(here)["removed"] == 1)
    assert books(here) == {"accepted": 2, "queued": 1, "stored": 0, "removed": 1}
    shown = " ".join(here.relay.command("audit").stdout.split())
    assert "removed by its user 1" in shown
