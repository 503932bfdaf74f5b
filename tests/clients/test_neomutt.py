"""NeoMutt in a terminal, with its keys pushed: reads, flags, moves, copies, deletes, keeps a draft."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.account import Account
from tests.peers import workdir
from tests.peers.process import PATIENCE, PeerFailed

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

_CONFIGURATION = """\
set imap_user = "{user}"
set imap_pass = "{password}"
set smtp_url = "smtps://{user}@localhost:{submissions}/"
set smtp_pass = "{password}"
set folder = "imaps://localhost:{port}/"
set spoolfile = "+INBOX"
set record = "+Sent"
set postponed = "+Drafts"
set ssl_ca_certificates_file = "{ca}"
set ssl_verify_host = yes
set from = "{user}"
set realname = "Uma User"
set editor = "{directory}/editor"
set abort_unmodified = no
set autoedit = yes
set include = no
set fast_reply = yes
set confirm_append = no
set confirm_create = no
set copy = yes
set delete = yes
set mail_check = 1
set mark_old = no
set move = no
set quit = yes
set sleep_time = 0
set wait_key = no
"""
_EDITOR = """\
#!/bin/sh
printf 'Written in a terminal.\\n' >> "$1"
"""


class NeoMutt:
    """The program for one account."""

    def __init__(self, account: Account, directory: Path) -> None:
        self.directory = directory
        (directory / "rc").write_text(
            _CONFIGURATION.format(
                directory=directory,
                port=account.office.ports.imaps,
                submissions=account.office.ports.submissions,
                user=account.address,
                password=account.password,
                ca=account.office.ca,
            )
        )
        editor = directory / "editor"
        editor.write_text(_EDITOR)
        editor.chmod(0o755)

    def keys(self, *functions: str) -> None:
        """Press these, then leave."""
        pushed = "".join(functions) + "<sync-mailbox><quit>"
        ours, its = pty.openpty()
        try:
            with subprocess.Popen(
                ["/usr/bin/neomutt", "-n", "-F", "rc", "-e", f"push '{pushed}'"],
                cwd=self.directory,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.directory), "LANG": "C.UTF-8", "TERM": "xterm"},
                stdin=its,
                stdout=its,
                stderr=its,
                start_new_session=True,
            ) as process:
                os.close(its)
                shown = _shown(ours)
                process.kill()  # nothing to it where it has ended by itself
        finally:
            os.close(ours)
        if process.returncode:
            raise PeerFailed(f"neomutt: {process.returncode}\n{shown[-4000:]}")


def _shown(terminal: int) -> str:
    """Everything until the program closes its end, or is late."""
    shown = bytearray()
    deadline = time.monotonic() + PATIENCE
    # A terminal whose other end is gone reads as an error, not as an end.
    with contextlib.suppress(OSError):
        while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            shown += os.read(terminal, 65_536)
    return shown.decode(errors="replace")


def _find(subject: str) -> str:
    """Keys that go to a message."""
    return f'<first-entry><search>~s "{subject}"<enter>'


@pytest.fixture
def neomutt(account: Account) -> Iterator[NeoMutt]:
    """For this account."""
    directory = workdir.make("nm")
    yield NeoMutt(account, directory)
    workdir.remove(directory)


def test_reading_flagging_moving_copying_deleting(account: Account, neomutt: NeoMutt) -> None:
    account.receives("number one", "number two", "number three", "number four")
    neomutt.keys(
        *(_find("number one"), "<pipe-message>cat > read<enter>", "<display-message><exit>", "<flag-message>"),
        *(_find("number two"), "<save-message><kill-line>+Projects<enter>"),
        *(_find("number three"), "<copy-message><kill-line>+Projects<enter>"),
        *(_find("number four"), "<delete-message>"),
    )
    assert "Good morning." in (neomutt.directory / "read").read_text()
    assert {subject: "\\Flagged" in flags for subject, flags in account.shows().items()} == {
        "number one": True,
        "number three": False,
    }
    assert "\\Seen" in account.shows()["number one"]
    assert set(account.shows("Projects")) == {"number two", "number three"}


def test_a_draft_is_kept(account: Account, neomutt: NeoMutt) -> None:
    neomutt.keys("<mail>bob@example.org<enter>for later<enter>", "<postpone-message>")
    ((subject, flags, content),) = account.messages("Drafts")
    assert subject == "for later"
    assert b"Written in a terminal." in content
    assert "\\Draft" in flags or "\\Seen" in flags


def test_an_answer_is_sent_and_kept(newcomer: Account, tmp_path: Path) -> None:
    # To oneself: the answer is for its sender here, and its copy goes to Sent.
    question = newcomer.letter("question", sender=newcomer.address)
    asyncio.run(newcomer.office.arrives(question, newcomer.address))
    NeoMutt(newcomer, tmp_path).keys(_find("question"), "<reply><send-message>")
    newcomer.until(lambda: set(newcomer.shows()) == {"question", "Re: question"}, "the answer is in INBOX")
    assert set(newcomer.shows("Sent")) == {"Re: question"}
    assert "\\Answered" in newcomer.shows()["question"]
