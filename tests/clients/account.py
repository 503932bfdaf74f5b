"""One person's account, and a second opinion on what is in it: the standard library's IMAP client.

What a client under test has done is judged by another, through the same relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import email
import imaplib
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.clients.office import Office, letter
from tests.peers.process import PATIENCE, PeerFailed

_FLAGS: Final = re.compile(rb"FLAGS \(([^)]*)\)")


@dataclasses.dataclass(frozen=True)
class Account:
    """An address in an office, with its password and an empty mailbox."""

    office: Office
    address: str
    password: str
    trust: ssl.SSLContext

    def letter(self, subject: str, **parts: str) -> bytes:
        """A letter to this person."""
        return letter(subject, to=self.address, **parts)

    def receives(self, *subjects: str) -> None:
        """Letters come from outside, one after the other, and are in INBOX when this returns."""
        for subject in subjects:
            asyncio.run(self.office.arrives(self.letter(subject), self.address))
            self.until(lambda: subject in self.shows(), f"{subject} is there")  # noqa: B023 - called in this round only

    @contextlib.contextmanager
    def login(self) -> Iterator[imaplib.IMAP4_SSL]:
        """Logged in with the standard library's client."""
        with imaplib.IMAP4_SSL(
            "localhost", self.office.ports.imaps, ssl_context=self.trust, timeout=PATIENCE
        ) as client:
            client.login(self.address, self.password)
            yield client

    def shows(self, mailbox: str = "INBOX") -> dict[str, frozenset[str]]:
        """Subject of every message in a mailbox, with its flags (\\Recent is not one to count on)."""
        return {subject: flags for subject, flags, _ in self.messages(mailbox)}

    def messages(self, mailbox: str = "INBOX") -> list[tuple[str, frozenset[str], bytes]]:
        """Subject, flags and content of every message in a mailbox, in UID order."""
        with self.login() as client:
            status, _ = client.select(f'"{mailbox}"', readonly=True)
            if status != "OK":
                return []
            status, parts = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
            assert status == "OK", parts
        found = []
        for at, part in enumerate(parts):
            if isinstance(part, tuple):
                after = parts[at + 1] if at + 1 < len(parts) else b""
                match = _FLAGS.search(part[0]) or _FLAGS.search(after if isinstance(after, bytes) else b"")
                assert match is not None, part[0]
                subject = str(email.message_from_bytes(part[1])["Subject"])
                found.append((subject, frozenset(match[1].decode().split()) - {"\\Recent"}, part[1]))
        return found

    def mailboxes(self) -> set[str]:
        """Names of all mailboxes."""
        with self.login() as client:
            _, lines = client.list()
        return {line.decode().rpartition(' "/" ')[2].strip('"') for line in lines if isinstance(line, bytes)}

    def until(self, what: Callable[[], bool], why: str) -> None:
        """Ask again until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, f"never: {why}"
            self.office.relay.process.pause()


def run(argv: Sequence[str], *, directory: Path) -> str:
    """Run a client's command to its end; what it printed. PeerFailed where it fails or does not end."""
    try:
        done = subprocess.run(
            list(argv),
            cwd=directory,
            env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as late:
        raise PeerFailed(f"{argv[0]} does not end: {(late.output or b'')[-4000:].decode(errors='replace')}") from late
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        raise PeerFailed(f"{argv[0]}: {done.returncode}\n{said[-6000:]}")
    return said
