"""The standard library's imaplib: every command that it has a method for."""

from __future__ import annotations

import imaplib
import re
from typing import Any

import pytest

from tests.clients.account import Account
from tests.peers.process import PATIENCE

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]


def _ok(answer: tuple[str, Any]) -> Any:
    status, lines = answer
    assert status == "OK", lines
    return lines


def test_mailboxes(account: Account) -> None:
    with account.login() as client:
        _ok(client.noop())
        _ok(client.capability())
        assert b'"/"' in _ok(client.namespace())[0]
        _ok(client.create("Papers"))
        _ok(client.create("Papers/2026"))
        _ok(client.subscribe("Papers/2026"))
        assert any(b"Papers/2026" in line for line in _ok(client.lsub()))
        _ok(client.unsubscribe("Papers/2026"))
        assert not any(b"Papers/2026" in (line or b"") for line in _ok(client.lsub()))
        _ok(client.rename("Papers", "Files"))
        assert {"Files", "Files/2026"} <= account.mailboxes()
        assert b"MESSAGES 0" in _ok(client.status("Files/2026", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"))[0]
        _ok(client.delete("Files/2026"))
        _ok(client.delete("Files"))
        assert not {"Files", "Files/2026"} & account.mailboxes()
        assert client.select("Files")[0] == "NO"
        if "QUOTA" in client.capabilities:
            _ok(client.getquotaroot("INBOX"))


def test_messages(account: Account) -> None:
    account.receives("pears", "apples", "oranges")
    with account.login() as client:
        assert _ok(client.select("INBOX")) == [b"3"]
        _ok(client.check())
        assert _ok(client.search(None, "SUBJECT", '"apples"')) == [b"2"]
        assert _ok(client.uid("SEARCH", "ALL"))[0].split() == [b"1", b"2", b"3"]
        assert _ok(client.sort("(SUBJECT)", "UTF-8", "ALL")) == [b"2 3 1"]
        assert b"(1)" in _ok(client.thread("ORDEREDSUBJECT", "UTF-8", "ALL"))[0]
        head, body = _ok(client.fetch("1", "(UID FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[TEXT])"))[0]
        assert re.match(rb"1 \(.*UID 1\b", head), head
        assert body == b"Good morning.\r\n"
        assert b"\\Flagged" in _ok(client.store("1", "+FLAGS", "\\Flagged"))[0]
        assert b"$Later" in _ok(client.store("1", "+FLAGS", "$Later"))[0]
        _ok(client.append("INBOX", "(\\Seen)", '"22-Nov-2026 12:00:00 +0000"', account.letter("plums")))
        _ok(client.create("Fruit"))
        _ok(client.copy("1:2", "Fruit"))
        _ok(client.uid("MOVE", "3", "Fruit"))
        assert set(account.shows("Fruit")) == {"pears", "apples", "oranges"}
        assert account.shows("Fruit")["pears"] == {"\\Flagged", "$Later"}
        _ok(client.store("2", "+FLAGS.SILENT", "\\Deleted"))
        assert _ok(client.expunge())[-1] == b"2"  # behind the 3 of MOVE
        _ok(client.store("1", "+FLAGS.SILENT", "\\Deleted"))
        _ok(client.close())
        assert account.shows() == {"plums": {"\\Seen"}}
        _ok(client.select("INBOX", readonly=True))
        client.store("1", "+FLAGS", "\\Flagged")  # refused here, passed over in silence by Dovecot
        assert account.shows() == {"plums": {"\\Seen"}}
        _ok(client.unselect())


def test_starttls_and_authenticate(account: Account) -> None:
    with imaplib.IMAP4("localhost", account.office.relay.imap_port, timeout=PATIENCE) as client:
        _ok(client.starttls(account.trust))
        plain = f"\0{account.address}\0{account.password}".encode()
        _ok(client.authenticate("PLAIN", lambda _: plain))
        assert "IMAP4REV1" in client.capabilities
        if "UTF8=ACCEPT" in client.capabilities:  # the standby has it, Dovecot 2.3 does not
            _ok(client.enable("UTF8=ACCEPT"))
            _ok(client.create("Entwürfe"))
            _ok(client.append("Entwürfe", None, None, account.letter("Grüße")))
            assert _ok(client.select("Entwürfe")) == [b"1"]
            _ok(client.delete("Entwürfe"))


def test_a_wrong_password(account: Account) -> None:
    with (
        imaplib.IMAP4_SSL("localhost", account.office.ports.imaps, ssl_context=account.trust) as client,
        pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"),
    ):
        client.login(account.address, "wrong")
