"""What a user does in the outage is there after a power cut, whichever worker answers, and no file tells of it."""

from __future__ import annotations

import imaplib
import re

import pytest

from tests.e2e.scene import BOB, message, scene
from tests.peers.certs import Pair

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

DRAFT = b"From: bob@example.org\r\nSubject: Umlaufmappe\r\nMessage-ID: <draft@example.org>\r\n\r\nGeheimsache\r\n"
MARKS = (b"Umlaufmappe", b"Geheimsache", b"Vertraulich", b"draft@example.org")


def said(client: imaplib.IMAP4, name: str, *arguments: str | bytes) -> list[bytes]:
    """A command that succeeds, and its data."""
    status, data = getattr(client, name)(*arguments)
    assert status == "OK", data
    return [line for line in data if isinstance(line, bytes)]


async def test_folders_and_drafts_outlive_a_kill(server_pair: Pair) -> None:
    with scene(server_pair, workers=2, config={"imap.folders": {"sent": "Sent Items"}}) as here:
        with here.login(BOB):
            pass  # the primary lets him in, and the relay remembers
        await here.until(lambda: "bob" in here.relay.command("user", "list").stdout)
        await here.primary_down()
        await here.accept(message("arrived in the outage"), BOB)
        with here.login(BOB) as client:
            listed = b"\n".join(said(client, "list"))
            assert b'\\Sent) "/" "Sent Items"' in listed
            said(client, "create", "Vertraulich/2026")
            said(client, "append", "Vertraulich/2026", "(\\Draft \\Seen)", "", DRAFT)
            said(client, "append", '"Sent Items"', "(\\Seen)", "", DRAFT)
            said(client, "select", "INBOX")
            said(client, "uid", "MOVE", "1:*", "Vertraulich/2026")
            assert said(client, "uid", "SEARCH", "ALL") == [b""]
        here.relay.kill()
        for file in (*here.relay.data_dir.rglob("*"), here.relay.log):
            if file.is_file():
                content = file.read_bytes()
                assert not [mark for mark in MARKS if mark in content], file
        here.relay.start()
        with here.login(BOB) as client:
            assert re.search(rb"MESSAGES 1\b", said(client, "status", '"Sent Items"', "(MESSAGES UNSEEN)")[0])
            said(client, "select", "Vertraulich/2026")
            assert [b"Draft" in line for line in said(client, "fetch", "1:*", "(FLAGS)")] == [True, False]
            status, parts = client.fetch("1", "(BODY.PEEK[])")
            assert status == "OK"
            assert parts[0] is not None
            assert parts[0][1] == DRAFT
