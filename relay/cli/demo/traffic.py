"""Senders: a steady stream of real SMTP transactions that never stops for an outage, as the world does not.

Enters: an address, a rate. Leaves: `Traffic.sent` and `Traffic.accepted`.

1. A message counts as accepted when its sender has read 250 after the final dot, and not before.
2. What was answered 4xx, or got no answer, is tried again by its sender, as RFC 5321 4.5.4.1 asks.
"""

from __future__ import annotations

import smtplib
import threading
import time
from email.header import Header
from email.utils import formatdate

RECIPIENT = "anna@demo.example"
_DEADLINE = 20.0
_PATIENCE = 0.2
"""Seconds between two attempts of one sender; a real one waits minutes, and we want to see the end."""
_SENDERS = (
    ("lena@press.example", "Interview on Thursday"),
    ("billing@hosting.example", "Invoice 2026-11"),
    ("noreply@shop.example", "Your parcel is on its way"),
    ("paul@family.example", "Fotos vom Wochenende – schön war’s"),
    ("ci@builds.example", "Build 4711 passed"),
)


def compose(number: int, run: str) -> tuple[str, str, bytes]:
    """Message-ID, reverse-path and content of one message; with what a careless relay would change."""
    sender, subject = _SENDERS[number % len(_SENDERS)]
    name = f"<{number}.{run}@{sender.partition('@')[2]}>"
    lines = [
        f"From: {sender}",
        f"To: {RECIPIENT}",
        f"Subject: {Header(f'{subject} ({number})', None if subject.isascii() else 'utf-8').encode()}",
        f"Date: {formatdate()}",
        f"Message-ID: {name}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        f"Message {number} of this demo.",
        ".a line that starts with a dot",
        "..and one with two, and trailing blanks:   ",
        "Größe, naïve, 日本語",
        *(f"{number:06d} {line:03d} " + "lorem ipsum dolor sit amet " * 2 for line in range(number % 40)),
        "",
    ]
    return name, sender, "\r\n".join(lines).encode()


class Traffic:
    """Some senders at a common rate, until `stop`."""

    def __init__(self, host: str, port: int, *, rate: float, senders: int = 4) -> None:
        self.sent: dict[str, bytes] = {}
        self.accepted: set[str] = set()
        self.retried = 0
        self._host, self._port, self._rate = host, port, rate
        self._run = f"{time.time_ns():x}"
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._started = 0.0
        self._threads = [threading.Thread(target=self._send, name=f"sender-{i}") for i in range(senders)]

    def start(self) -> None:
        """From now on, mail arrives."""
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 2 * _DEADLINE) -> bool:
        """No new messages; waits for those under way. False when a sender did not end in time."""
        self._stop.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _next(self) -> tuple[float, str, str, bytes]:
        """When to send, and what."""
        with self._lock:
            number = len(self.sent)
            name, sender, content = compose(number, self._run)
            self.sent[name] = content
        return self._started + number / self._rate, name, sender, content

    def _send(self) -> None:
        client: smtplib.SMTP | None = None
        try:
            while not self._stop.is_set():
                due, name, sender, content = self._next()
                self._stop.wait(max(0.0, due - time.monotonic()))
                while True:
                    client, ok = self._attempt(client, sender, content)
                    if ok:
                        with self._lock:
                            self.accepted.add(name)
                        break
                    with self._lock:
                        self.retried += 1
                    if self._stop.wait(_PATIENCE):
                        break
        finally:
            if client is not None:
                client.close()

    def _attempt(self, client: smtplib.SMTP | None, sender: str, content: bytes) -> tuple[smtplib.SMTP | None, bool]:
        """One transaction; the connection to go on with (None after trouble) and whether it ended in 250."""
        try:
            if client is None:
                client = smtplib.SMTP(self._host, self._port, local_hostname="sender.example", timeout=_DEADLINE)
                client.ehlo()
            client.mail(sender, ["BODY=8BITMIME", f"SIZE={len(content)}"])
            client.rcpt(RECIPIENT)
            code, _ = client.data(content)
        except (OSError, smtplib.SMTPException):
            if client is not None:
                client.close()
            return None, False
        if code != 250:
            client.close()
            return None, False
        return client, True
