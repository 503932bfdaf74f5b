"""mbsync (isync): a Maildir and the mailbox are made the same, both ways, and then nothing is left to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.account import Account, run
from tests.peers import workdir

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]

_CONFIGURATION = """\
IMAPAccount relay
Host localhost
Port {port}
User {user}
Pass "{password}"
SSLType IMAPS
CertificateFile {ca}

IMAPStore far
Account relay

MaildirStore near
Path {mail}/
Inbox {mail}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
CopyArrivalDate yes
SyncState *
"""


class Mbsync:
    """A Maildir tree and the command that keeps it."""

    def __init__(self, account: Account, directory: Path) -> None:
        self._directory = directory
        self.mail = directory / "mail"
        self.mail.mkdir()
        (directory / "mbsyncrc").write_text(
            _CONFIGURATION.format(
                port=account.office.ports.imaps,
                user=account.address,
                password=account.password,
                ca=account.office.ca,
                mail=self.mail,
            )
        )

    def sync(self) -> str:
        """Once; what it says that it did."""
        return run(["/usr/bin/mbsync", "-V", "-c", "mbsyncrc", "-a"], directory=self._directory)

    def file(self, subject: str, mailbox: str = "INBOX") -> Path:
        """The file that holds a message."""
        return next(path for path in self.files(mailbox) if f"Subject: {subject}\n" in _text(path))

    def files(self, mailbox: str = "INBOX") -> list[Path]:
        """All messages of a mailbox."""
        return sorted(path for part in ("new", "cur") for path in (self.mail / mailbox / part).iterdir())

    def mark(self, subject: str, letters: str) -> None:
        """Give a message these flags, as a Maildir has them."""
        path = self.file(subject)
        path.rename(path.parent.parent / "cur" / f"{path.name.partition(':')[0]}:2,{letters}")


def _text(path: Path) -> str:
    return path.read_text().replace("\r\n", "\n")


@pytest.fixture
def mbsync(account: Account) -> Iterator[Mbsync]:
    """One with nothing in it yet."""
    directory = workdir.make("mb")
    yield Mbsync(account, directory)
    workdir.remove(directory)


def test_both_sides_become_the_same(account: Account, mbsync: Mbsync) -> None:
    account.receives("one", "two", "three")
    mbsync.sync()
    assert {"Good morning." in _text(path) for path in mbsync.files()} == {True}
    assert len(mbsync.files()) == 3

    # Read and flagged here, deleted here, written here; and something new there.
    mbsync.mark("one", "FS")
    mbsync.file("two").unlink()
    (mbsync.mail / "INBOX" / "new" / "1.own.host").write_bytes(account.letter("written here").replace(b"\r\n", b"\n"))
    account.receives("four")
    mbsync.sync()
    shown = account.shows()
    assert set(shown) == {"one", "three", "written here", "four"}
    assert shown["one"] == {"\\Flagged", "\\Seen"}
    assert len(mbsync.files()) == 4

    # And back: what another client did is seen here.
    with account.login() as other:
        other.select("INBOX")
        other.store("1", "-FLAGS", "\\Flagged")
        other.store("2", "+FLAGS", "\\Deleted")  # "three": numbers close the gap that "two" left
        other.expunge()
    mbsync.sync()
    assert mbsync.file("one").name.endswith(":2,S")
    assert len(mbsync.files()) == 3

    before = [(path.name, path.read_bytes()) for path in mbsync.files()]
    report = mbsync.sync()
    assert [(path.name, path.read_bytes()) for path in mbsync.files()] == before, report
    assert set(account.shows()) == {"one", "written here", "four"}


def test_folders_are_made_filled_and_removed(account: Account, mbsync: Mbsync) -> None:
    account.receives("one", "two")
    mbsync.sync()
    folder = mbsync.mail / "Projects"
    for part in ("cur", "new", "tmp"):
        (folder / part).mkdir(parents=True)
    # A move, as a mail reader on a Maildir does it.
    moved = mbsync.file("one")
    moved.rename(folder / "new" / "1.moved.host")
    mbsync.sync()
    assert set(account.shows("Projects")) == {"one"}
    assert set(account.shows()) == {"two"}

    (folder / "cur").joinpath(mbsync.files("Projects")[0].name).unlink(missing_ok=True)
    for path in mbsync.files("Projects"):
        path.unlink()
    mbsync.sync()
    assert account.shows("Projects") == {}
