"""A user with an ordinary IMAP client (the standard library's), on the relay or on the primary."""

from __future__ import annotations

import contextlib
import imaplib
import re
import smtplib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Session: TypeAlias = AbstractContextManager[imaplib.IMAP4]

_DEADLINE = 20.0
_BATCH = 200


class MailboxTrouble(Exception):
    """The server said no, or nothing."""


@contextlib.contextmanager
def session(host: str, port: int, user: str, password: str) -> Iterator[imaplib.IMAP4]:
    """Logged in; logged out at the end. Whatever goes wrong in between is a MailboxTrouble."""
    try:
        client = imaplib.IMAP4(host, port, timeout=_DEADLINE)
        try:
            client.login(user, password)
            yield client
        finally:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                client.logout()
    except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
        raise MailboxTrouble(f"{user} on port {port}: {error}") from error


def newest(client: imaplib.IMAP4) -> int:
    """Opens INBOX; the number of its newest message, 0 when it is empty."""
    return int(_done(client.select("INBOX"))[-1] or b"0")


def idle_until_new(client: imaplib.IMAP4, number: int) -> None:
    """Wait in IDLE (RFC 2177) until the server tells of more than `number` messages; returns within the deadline."""
    client.send(b"idle IDLE\r\n")
    if not client.readline().startswith(b"+"):
        raise MailboxTrouble("the server does not let us IDLE")
    for line in iter(client.readline, b""):
        told = re.fullmatch(rb"\* (\d+) EXISTS\r\n", line)
        if told and int(told[1]) > number:
            break
    client.send(b"DONE\r\n")
    for line in iter(client.readline, b""):
        if line.startswith(b"idle OK"):
            return
    raise MailboxTrouble("the connection broke off in IDLE")


def read_newest(client: imaplib.IMAP4) -> tuple[int, str]:
    """Open the newest message, which marks it as read: its number and subject."""
    number = newest(client)
    subject = BytesHeaderParser().parsebytes(_one(client, number, "BODY[]"))["Subject"] or ""
    return number, str(make_header(decode_header(subject)))


def delete_newest(client: imaplib.IMAP4) -> None:
    """Gone for good."""
    number = newest(client)
    _done(client.store(f"{number}", "+FLAGS", r"(\Deleted)"))
    _done(client.expunge())


def send_again(client: imaplib.IMAP4, host: str, port: int, recipient: str) -> None:
    """The newest message a second time, by SMTP."""
    message = _one(client, newest(client), "BODY.PEEK[]")
    with smtplib.SMTP(host, port, timeout=_DEADLINE) as sender:
        sender.sendmail("", [recipient], message, mail_options=["BODY=8BITMIME"])


def everything(client: imaplib.IMAP4) -> Iterator[bytes]:
    """Every message of INBOX, whole, in batches."""
    last = int(_done(client.select("INBOX", readonly=True))[-1] or b"0")
    for first in range(1, last + 1, _BATCH):
        yield from _literals(client, f"{first}:{min(last, first + _BATCH - 1)}", "BODY.PEEK[]")


def _one(client: imaplib.IMAP4, number: int, what: str) -> bytes:
    literals = _literals(client, f"{number}", what)
    if len(literals) != 1:
        raise MailboxTrouble(f"message {number} is not there")
    return literals[0]


def _literals(client: imaplib.IMAP4, numbers: str, what: str) -> list[bytes]:
    return [part[1] for part in _done(client.fetch(numbers, f"({what})")) if isinstance(part, tuple)]


def _done(answer: tuple[str, Sequence[T]]) -> Sequence[T]:
    status, lines = answer
    if status != "OK":
        raise MailboxTrouble(f"the server said {status}")
    return lines
