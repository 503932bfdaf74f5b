"""Thunderbird, as a person uses it in an outage: set up by autoconfig, and then a day's work.

It is driven through its own windows; what the server made of it is judged by another client.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.account import Account
from tests.clients.desktop import Desktop
from tests.clients.gateway import gateway
from tests.clients.hands import Hands
from tests.clients.office import ALICE, BOB, letter, office
from tests.clients.thunderbird import Thunderbird
from tests.peers.certs import Authority
from tests.peers.people import password_of

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

_REFUSED = re.compile(r"CreateNewLineFromSocket: \d+ (?:NO|BAD) ")


class Desk:
    """Alice at her desk, and who else is in the office."""

    def __init__(self, alice: Account, bob: Account, desktop: Desktop, thunderbird: Thunderbird) -> None:
        self.alice, self.bob = alice, bob
        self.desktop = desktop
        self.thunderbird = thunderbird
        self.hands = Hands(thunderbird)


@pytest_asyncio.fixture
async def desk(authority: Authority) -> AsyncIterator[Desk]:
    """Everything started; nothing is set up in Thunderbird yet."""
    with office(authority, users=(ALICE, BOB)) as made, Desktop() as desktop:
        async with gateway(made.ways) as port:
            with Thunderbird(desktop, ca=authority.ca, proxy_port=port) as thunderbird:
                trust = authority.client_context()
                alice, bob = (Account(made, who, password_of(who), trust) for who in (ALICE, BOB))
                yield Desk(alice, bob, desktop, thunderbird)


async def test_a_day_in_an_outage(desk: Desk, tmp_path: Path) -> None:
    for subject in ("minutes", "budget", "lunch"):
        await desk.alice.office.arrives(letter(subject, sender=f"Bob <{BOB}>"), ALICE)
    # The gateway lives in this loop, so Thunderbird is driven from beside it.
    await asyncio.to_thread(_set_up, desk)
    await desk.alice.office.arrives(letter("while you were reading"), ALICE)
    await asyncio.to_thread(_work, desk)
    picture = desk.desktop.picture(tmp_path / "thunderbird.png")
    assert picture.stat().st_size > 10_000, "an empty screen packs smaller"
    await asyncio.to_thread(_judge, desk)


def _set_up(desk: Desk) -> None:
    found = desk.hands.set_up("Alice Example", ALICE, desk.alice.password)
    # The names, ports and TLS of the relay's own autoconfig page (3 is implicit TLS).
    assert found["incoming"] == ["imap.example.org", 993, 3]
    assert found["outgoing"].endswith("@smtp.example.org:465/")
    desk.hands.sees("INBOX", "lunch")


def _work(desk: Desk) -> None:
    hands = desk.hands
    # By IDLE: by itself it would look again in ten minutes.
    hands.sees("INBOX", "while you were reading")
    assert "Good morning." in hands.read("minutes")
    hands.flag("minutes")
    hands.make_folder("R&D")
    hands.move("minutes", "R&D")
    hands.delete("budget")
    hands.draft("carol@example.net", "an idea", "Not finished.")
    hands.answer("lunch", "At noon?")


def _judge(desk: Desk) -> None:
    alice, bob = desk.alice, desk.bob
    # Thunderbird shows what it does at once, and tells the server when it has a moment.
    alice.until(lambda: set(alice.shows()) == {"lunch", "while you were reading"}, "two letters are left")
    alice.until(lambda: "Re: lunch" in alice.shows("Sent"), "a copy of the answer is in Sent")
    alice.until(lambda: "\\Answered" in alice.shows()["lunch"], "the letter is marked as answered")
    assert {"\\Seen", "\\Flagged"} <= alice.shows("R&-D")["minutes"]
    assert set(alice.shows("Trash")) == {"budget"}
    ((subject, flags, content),) = alice.messages("Drafts")
    assert (subject, "\\Draft" in flags) == ("an idea", True)
    assert b"Not finished." in content
    bob.until(lambda: "Re: lunch" in bob.shows(), "the answer is in Bob's INBOX")
    ((_, _, answer),) = bob.messages()
    assert b"At noon?" in answer
    assert b"In-Reply-To: <lunch@example.net>" in answer
    dialogue = desk.thunderbird.dialogue()
    assert any("IDLE" in line for line in dialogue)
    assert [line for line in dialogue if _REFUSED.search(line)] == []
