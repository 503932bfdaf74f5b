"""curl: one command a connection, by URL. Lists, reads, searches, stores, flags, and sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.account import Account, run
from tests.peers import workdir

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]


class Curl:
    """The command for one account."""

    def __init__(self, account: Account, directory: Path) -> None:
        self._account = account
        self._directory = directory
        self._common = [
            *("/usr/bin/curl", "--silent", "--show-error", "--fail", "--max-time", "30"),
            *("--cacert", str(account.office.ca), "--user", f"{account.address}:{account.password}"),
        ]
        self._imap = f"imaps://localhost:{account.office.ports.imaps}"

    def imap(self, path: str, *options: str) -> str:
        """What the server answers under this path."""
        return run([*self._common, f"{self._imap}/{path}", *options], directory=self._directory)

    def send(self, file: Path, recipient: str, *, implicit: bool) -> None:
        """Hand a message to submission, by implicit TLS or STARTTLS."""
        ports = self._account.office.ports
        url = f"smtps://localhost:{ports.submissions}" if implicit else f"smtp://localhost:{ports.submission}"
        options = ["--ssl-reqd", "--mail-from", self._account.address, "--mail-rcpt", recipient]
        run([*self._common, url, *options, "--upload-file", str(file)], directory=self._directory)


@pytest.fixture
def curl(account: Account) -> Iterator[Curl]:
    """For this account."""
    directory = workdir.make("cu")
    yield Curl(account, directory)
    workdir.remove(directory)


def test_reading(account: Account, curl: Curl) -> None:
    account.receives("one", "two")
    assert "INBOX" in curl.imap("")
    assert "* SEARCH 1 2" in curl.imap("INBOX?ALL")
    assert "* SEARCH 2" in curl.imap("INBOX?SUBJECT%20two")
    assert curl.imap("INBOX;UID=1").endswith(account.letter("one").decode())
    assert curl.imap("INBOX;UID=2;SECTION=TEXT") == "Good morning.\r\n"
    assert curl.imap("INBOX;UID=2;SECTION=HEADER.FIELDS%20(Subject)").startswith("Subject: two\r\n")
    assert "* 2 EXISTS" in curl.imap("", "--request", "EXAMINE INBOX")
    assert "MESSAGES 2" in curl.imap("", "--request", "STATUS INBOX (MESSAGES)")
    # curl reads with BODY[], not with BODY.PEEK[]: what it has read is seen (RFC 9051 6.4.5).
    assert account.shows() == {"one": {"\\Seen"}, "two": {"\\Seen"}}


def test_storing_and_flagging(account: Account, curl: Curl, tmp_path: Path) -> None:
    account.receives("one")
    file = tmp_path / "letter"
    file.write_bytes(account.letter("put here"))
    curl.imap("INBOX", "--upload-file", str(file))
    assert set(account.shows()) == {"one", "put here"}
    curl.imap("INBOX", "--request", "STORE 1 +FLAGS.SILENT (\\Flagged \\Deleted)")
    assert account.shows()["one"] == {"\\Flagged", "\\Deleted"}
    curl.imap("", "--request", "CREATE Papers")
    assert "Papers" in account.mailboxes()
    curl.imap("INBOX", "--request", "COPY 2 Papers")
    assert set(account.shows("Papers")) == {"put here"}
    curl.imap("INBOX", "--request", "EXPUNGE")
    assert set(account.shows()) == {"put here"}
    curl.imap("", "--request", "DELETE Papers")
    assert "Papers" not in account.mailboxes()


@pytest.mark.parametrize("implicit", [True, False])
def test_sending(newcomer: Account, tmp_path: Path, implicit: bool) -> None:
    file = tmp_path / "letter"
    file.write_bytes(newcomer.letter("to myself", sender=newcomer.address))
    Curl(newcomer, tmp_path).send(file, newcomer.address, implicit=implicit)
    newcomer.until(lambda: set(newcomer.shows()) == {"to myself"}, "it is in INBOX")
