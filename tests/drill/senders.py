"""Senders that behave like mail servers: they try again with the same bytes until they have seen a 250.

What they remember is the whole truth about promises: `promised` holds a letter's number only after its 250 was read.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.drill.letters import Letter, letter
from tests.peers.smtpclient import SmtpClient, Violation

_PAUSE: Final = 0.05
"""Seconds between two tries of one letter; a real server waits minutes, the drill wants pressure."""


class Senders:
    """`count` senders at full rate; letters `first`, `first + 1`, ... until `last` or `stop`."""

    def __init__(self, port: int, *, seed: int, first: int, last: int, count: int, patience: float = 15.0) -> None:
        self._port = port
        self._seed = seed
        self._count = count
        self._patience = patience
        self._numbers: Iterator[int] = iter(range(first, last))
        self._stopping = asyncio.Event()
        self.started: set[int] = set()
        self.promised: set[int] = set()
        self.refused: list[str] = []
        """Permanent refusals: a relay that is ill must not give any."""
        self.violations: list[str] = []
        self.replies: Counter[int] = Counter()
        """Final or refusing reply codes."""
        self.broken = 0
        """Connections that ended without an answer."""

    def stop(self) -> None:
        """Begin no new letter and give up on those not promised yet."""
        self._stopping.set()

    async def run(self) -> None:
        """Until every letter is promised, or `stop`."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._send_all(random.Random(f"sender {self._seed} {number}")))

    async def _send_all(self, chance: random.Random) -> None:
        client: SmtpClient | None = None
        try:
            for number in self._numbers:
                self.started.add(number)
                client = await self._until_promised(letter(self._seed, number), client)
                if client is not None and chance.random() < 0.7:
                    await self._leave(client)
                    client = None
                if self._stopping.is_set():
                    return
        finally:
            if client is not None:
                await client.close()

    async def _until_promised(self, mail: Letter, client: SmtpClient | None) -> SmtpClient | None:
        """Try one letter until it is promised; the connection, where it may be used again."""
        while True:
            try:
                if client is None:
                    client = await self._connect()
                if await self._try(client, mail):
                    self.promised.add(mail.number)
                    return client
            except Violation as wrong:
                self.violations.append(f"letter {mail.number}: {wrong}")
            except OSError:
                self.broken += 1
            if client is not None:
                await client.close()
                client = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _PAUSE)
            if self._stopping.is_set():
                return None

    async def _connect(self) -> SmtpClient:
        client = await SmtpClient.connect(self._port, timeout=self._patience)
        if client.greeting.code == 220:
            try:
                await client.ehlo()
            except BaseException:
                client.abort()
                raise
            return client
        self.replies[client.greeting.code] += 1
        await client.close()
        raise ConnectionRefusedError(client.greeting.text)

    async def _try(self, client: SmtpClient, mail: Letter) -> bool:
        parameters = f" BODY=8BITMIME SIZE={len(mail.content)}"
        outcome = await client.transaction(mail.reverse_path, mail.recipients, mail.content, parameters=parameters)
        answers = [outcome.mail, *outcome.recipients, outcome.data, outcome.final]
        for answer in answers:
            if answer is not None and answer.code >= 400:
                self.replies[answer.code] += 1
                if answer.code >= 500:
                    self.refused.append(f"letter {mail.number}: {answer.code} {answer.text}")
        if outcome.accepted:
            self.replies[250] += 1
        # A letter that only some recipients were granted for would need a second transaction: none of ours is.
        return outcome.accepted and all(answer.ok for answer in outcome.recipients)

    async def _leave(self, client: SmtpClient) -> None:
        try:
            await client.quit()
        except (OSError, Violation):
            self.broken += 1
        await client.close()
