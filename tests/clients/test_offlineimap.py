"""OfflineIMAP: the other way to keep a Maildir and a mailbox the same, with a status file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.account import Account, run
from tests.peers import workdir

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]

_CONFIGURATION = """\
[general]
accounts = one
ui = basic
metadata = {directory}/metadata
socktimeout = 30

[Account one]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {mail}

[Repository far]
type = IMAP
remotehost = localhost
remoteport = {port}
remoteuser = {user}
remotepass = {password}
ssl = yes
sslcacertfile = {ca}
maxconnections = 2
"""


class OfflineImap:
    """A Maildir tree and the command that keeps it."""

    def __init__(self, account: Account, directory: Path) -> None:
        self._directory = directory
        self.mail = directory / "mail"
        (directory / "rc").write_text(
            _CONFIGURATION.format(
                directory=directory,
                mail=self.mail,
                port=account.office.ports.imaps,
                user=account.address,
                password=account.password,
                ca=account.office.ca,
            )
        )

    def sync(self) -> str:
        """Once; what it says that it did."""
        return run(["/usr/bin/offlineimap", "-o", "-c", "rc"], directory=self._directory)

    def files(self, mailbox: str = "INBOX") -> list[Path]:
        """All messages of a mailbox."""
        return sorted(path for part in ("new", "cur") for path in (self.mail / mailbox / part).iterdir())

    def file(self, subject: str, mailbox: str = "INBOX") -> Path:
        """The file that holds a message."""
        return next(path for path in self.files(mailbox) if f"Subject: {subject}\n" in path.read_text())


@pytest.fixture
def offlineimap(account: Account) -> Iterator[OfflineImap]:
    """One with nothing in it yet."""
    directory = workdir.make("oi")
    yield OfflineImap(account, directory)
    workdir.remove(directory)


def test_both_sides_become_the_same(account: Account, offlineimap: OfflineImap) -> None:
    account.receives("one", "two", "three")
    offlineimap.sync()
    assert len(offlineimap.files()) == 3
    assert "Good morning." in offlineimap.file("one").read_text()

    path = offlineimap.file("one")
    path.rename(path.parent.parent / "cur" / f"{path.name.partition(':')[0]}:2,FS")
    offlineimap.file("two").unlink()
    written = account.letter("written here").replace(b"\r\n", b"\n")
    (offlineimap.mail / "INBOX" / "new" / "1.own.host").write_bytes(written)
    account.receives("four")
    offlineimap.sync()
    shown = account.shows()
    assert set(shown) == {"one", "three", "written here", "four"}
    assert shown["one"] == {"\\Flagged", "\\Seen"}
    assert len(offlineimap.files()) == 4

    with account.login() as other:
        other.select("INBOX")
        other.store("1", "-FLAGS", "\\Flagged")
        other.store("2", "+FLAGS", "\\Deleted")  # "three": numbers close the gap that "two" left
        other.expunge()
    offlineimap.sync()
    assert offlineimap.file("one").name.endswith(":2,S")
    assert len(offlineimap.files()) == 3

    before = [(path.name, path.read_bytes()) for path in offlineimap.files()]
    report = offlineimap.sync()
    assert [(path.name, path.read_bytes()) for path in offlineimap.files()] == before, report
    assert set(account.shows()) == {"one", "written here", "four"}


def test_folders_are_made_and_filled(account: Account, offlineimap: OfflineImap) -> None:
    account.receives("one", "two")
    offlineimap.sync()
    folder = offlineimap.mail / "Projects"
    for part in ("cur", "new", "tmp"):
        (folder / part).mkdir(parents=True)
    moved = offlineimap.file("one")
    moved.rename(folder / "new" / "1.moved.host")
    offlineimap.sync()
    assert set(account.shows("Projects")) == {"one"}
    assert set(account.shows()) == {"two"}
