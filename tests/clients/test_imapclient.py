"""IMAPClient: the usual Python library for mail, with UIDs throughout and an IDLE of its own."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator

import imapclient
import pytest

from tests.clients.account import Account
from tests.peers.process import PATIENCE

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]


@contextlib.contextmanager
def _client(account: Account) -> Iterator[imapclient.IMAPClient]:
    with imapclient.IMAPClient(
        "localhost", account.office.ports.imaps, ssl_context=account.trust, timeout=PATIENCE
    ) as client:
        client.login(account.address, account.password)
        yield client


def _flags(answer: dict[int, tuple[bytes, ...]]) -> set[bytes]:
    """Of message 1; \\Recent is for whoever comes first."""
    return set(answer[1]) - {imapclient.RECENT}


def test_mailboxes(account: Account) -> None:
    with _client(account) as client:
        assert client.id_({"name": "test"})
        personal = client.namespace().personal
        assert personal == (("", "/"),)
        client.create_folder("Käse/Alt")
        client.subscribe_folder("Käse/Alt")
        assert "Käse/Alt" in {name for _, _, name in client.list_sub_folders()}
        assert "Käse/Alt" in {name for _, _, name in client.list_folders("", "Käse*")}
        client.rename_folder("Käse/Alt", "Käse/Neu")
        assert client.folder_exists("Käse/Neu")
        assert not client.folder_exists("Käse/Alt")
        assert client.folder_status("Käse/Neu", ["MESSAGES", "UIDNEXT"]) == {b"MESSAGES": 0, b"UIDNEXT": 1}
        client.unsubscribe_folder("Käse/Neu")
        client.delete_folder("Käse/Neu")
        for use, name in ((b"\\Drafts", "Drafts"), (b"\\Sent", "Sent"), (b"\\Trash", "Trash")):
            assert client.find_special_folder(use) == name


def test_messages(account: Account) -> None:
    account.receives("pears", "apples", "oranges")
    with _client(account) as client:
        opened = client.select_folder("INBOX")
        assert opened[b"EXISTS"] == 3
        assert b"\\*" in opened[b"PERMANENTFLAGS"]
        assert client.search(["SUBJECT", "apples"]) == [2]
        assert client.search(["TEXT", "Grüße"], charset="UTF-8") == []
        assert client.sort("SUBJECT") == [2, 3, 1]
        assert len(client.thread("ORDEREDSUBJECT")) == 3
        got = client.fetch([1, 2], ["ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE", "INTERNALDATE", "BODY.PEEK[HEADER]"])
        assert got[1][b"ENVELOPE"].subject == b"pears"
        assert got[2][b"ENVELOPE"].from_[0].mailbox == b"carol"
        assert not got[1][b"BODYSTRUCTURE"].is_multipart
        assert isinstance(got[1][b"INTERNALDATE"], datetime.datetime)
        assert _flags(client.add_flags([1], [imapclient.FLAGGED, "$Later"])) == {b"\\Flagged", b"$Later"}
        assert _flags(client.remove_flags([1], ["$Later"])) == {b"\\Flagged"}
        assert _flags(client.set_flags([1], [imapclient.SEEN])) == {b"\\Seen"}
        assert _flags(client.get_flags([1])) == {b"\\Seen"}
        client.create_folder("Fruit")
        client.copy([1, 2], "Fruit")
        client.move([3], "Fruit")
        client.append("Fruit", account.letter("plums"), [imapclient.SEEN], datetime.datetime(2026, 11, 22, 12, 0))
        assert set(account.shows("Fruit")) == {"pears", "apples", "oranges", "plums"}
        if client.has_capability("MULTIAPPEND"):
            client.multiappend("Fruit", [account.letter("figs"), account.letter("dates")])
            assert {"figs", "dates"} <= set(account.shows("Fruit"))
        client.delete_messages([1, 2])
        client.uid_expunge([1])
        assert set(account.shows()) == {"apples"}
        client.expunge()
        assert account.shows() == {}
        client.unselect_folder()


def test_mail_arrives_by_idle(account: Account) -> None:
    account.receives("first")
    with _client(account) as client:
        client.select_folder("INBOX")
        client.idle()
        account.receives("second")
        said = client.idle_check(timeout=PATIENCE)
        client.idle_done()
        assert (2, b"EXISTS") in said
        assert client.search("UID 2:*") == [2]
