"""Handing a message to the primary while its sender still waits.

The sender's recipients enter and come back as the primary's own replies; None comes back where the primary has nothing
to say that the sender should hear (no contact, a quarrel between it and us): the standby decides then. MAIL waits for
the first RCPT, as servers that delay their rejections do, so that both cost one round trip; what the primary has
against the sender is then its answer to every RCPT.

1. Every step is bounded by the deadlines of the pool.
2. Trouble before the final dot is `Lost`, trouble after it is `Unsure`; nothing in between.
3. What was seen is handed to the mode board as evidence, without anything about the message. Good evidence is only a
   word on a whole message: a primary that answers every command and hangs at the content is down.
4. A connection with an unanswered command on it is never used again.
5. An attempt at rest holds no connection; the content opens a new one and says the envelope again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import TypeAlias, TypeVar

import msgspec

from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.mode import USES_PRIMARY, ModeBoard, Service, Signal
from relay.core.reply import QUARREL, Reply
from relay.primary.errors import NoContact, ReplyLost
from relay.primary.smtp import SmtpPool
from relay.primary.transaction import BeforeDot, Transaction

_TRACE_SIZE = 512
"""Octets of our own header lines, about; part of what is declared by SIZE."""


class Answered(msgspec.Struct, frozen=True):
    """The primary's word on the message."""

    reply: Reply


class Lost(msgspec.Struct, frozen=True):
    """Not delivered, for certain; to be tried again."""

    reply: Reply | None = None


class Unsure(msgspec.Struct, frozen=True):
    """Delivered or not: nobody knows."""


Outcome: TypeAlias = Answered | Lost | Unsure


def final(reply: Reply) -> bool:
    """Whether a sender should hear this 5xx: it is about the message."""
    return reply.permanent and reply.code not in QUARREL


_Answers = TypeVar("_Answers", bound=tuple[Reply | None, ...])


class Attempt:
    """One transaction with the primary on behalf of a sender. `close` it in any case.

    `declared` is the sender's own SIZE. Nothing is said to the primary before the first recipient.
    """

    def __init__(
        self,
        pool: SmtpPool,
        board: ModeBoard,
        envelope: Envelope,
        origin: Origin,
        declared: int | None,
        *,
        service: Service = Service.SMTP,
    ) -> None:
        self._pool = pool
        self._board = board
        self._service = service
        self._envelope = envelope
        self._origin = origin
        self._size = 0 if declared is None else declared + _TRACE_SIZE
        self._tx: Transaction | None = None
        self._begun = False
        self.sender_refused: Reply | None = None
        """What the primary has against the sender: the answer to every recipient, and nothing about any of them."""
        self._at_rest = False

    @property
    def alive(self) -> bool:
        """Whether the primary is still in it, or may yet be, and still trusted."""
        there = self._tx is not None or self._at_rest or not self._begun
        return there and USES_PRIMARY[self._board.mode(self._service)]

    async def rcpt(self, recipient: Recipient) -> Reply | None:
        """RCPT, after MAIL where it is the first. A sender that the primary refuses has none of its recipients."""
        if self.sender_refused is not None:
            return self.sender_refused
        reply = await (self._next(recipient) if self._begun else self._first(recipient))
        return None if reply is None or (reply.permanent and not final(reply)) else reply

    async def _first(self, recipient: Recipient) -> Reply | None:
        self._begun = True
        try:
            tx = self._tx = await self._pool.begin(self._origin)
        except NoContact as trouble:
            self._failed(trouble)
            return None
        both = await self._step(tx.begin(self._envelope, self._size, recipient))
        if both is None:
            return None
        mail, rcpt = both
        if mail.positive and rcpt is not None:
            return rcpt
        self.close()
        if final(mail):
            self.sender_refused = mail
        return self.sender_refused

    async def _next(self, recipient: Recipient) -> Reply | None:
        tx = self._tx
        if tx is None:
            return None
        answer = await self._step(_alone(tx.rcpt(recipient)))
        return None if answer is None else answer[0]

    def data_follows(self) -> None:
        """The sender begins with its content: ask the primary for its 354 meanwhile."""
        if self._tx is not None:
            with contextlib.suppress(NoContact):  # `data` meets the same
                self._tx.data_follows()

    def rest(self) -> None:
        """The sender takes its time: let the connection go (invariant 5)."""
        if self._tx is not None:
            self.close()
            self._at_rest = True

    async def data(
        self, envelope: Envelope, content: AsyncIterator[bytes], prepend: bytes, before_dot: BeforeDot | None = None
    ) -> Outcome:
        """The content; the attempt is over afterwards. `envelope` is what the primary has taken so far.

        `before_dot` is awaited when all but the final dot was sent; what it raises ends the attempt undelivered.
        """
        try:
            if self._at_rest:
                refusal = await self._again(envelope)
                if refusal is not None:
                    return refusal
            tx = self._tx
            if tx is None:
                return Lost()
            reply = await tx.data(content, prepend=prepend, before_dot=before_dot)
        except NoContact as trouble:
            self._failed(trouble)
            return Lost()
        except ReplyLost as trouble:
            self._evidence(Signal.FAIL, trouble.reason)
            return Unsure()
        finally:
            self.close()
        if reply.code == 421:
            self._evidence(Signal.FAIL, "primary is closing")
        else:
            self._evidence(Signal.OK, "primary judged a message")
        return Answered(reply) if reply.positive or final(reply) else Lost(reply)

    async def _again(self, envelope: Envelope) -> Lost | None:
        """A new connection, the same envelope. Lost when the primary does not take all of it again. NoContact."""
        self._at_rest = False
        tx = self._tx = await self._pool.begin(self._origin)
        mail, rcpts = await tx.envelope(envelope, 0)
        # What it has changed its mind about is the queue's to find out, recipient by recipient.
        other = next((reply for reply in (mail, *rcpts) if not reply.positive), None)
        return None if other is None else Lost()

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        tx, self._tx, self._at_rest = self._tx, None, False
        if tx is not None:
            self._pool.end(tx)

    async def _step(self, command: Awaitable[_Answers]) -> _Answers | None:
        """One exchange. A connection that breaks, closes (421) or is left unanswered ends the attempt."""
        try:
            answers = await command
        except NoContact as trouble:
            self._failed(trouble)
            self.close()
            return None
        except BaseException:
            if self._tx is not None:
                self._tx.connection.wire.kill("given up before the reply")
            self.close()
            raise
        if any(reply is not None and reply.code == 421 for reply in answers):  # RFC 5321 3.8
            self._evidence(Signal.FAIL, "primary is closing")
            self.close()
            return None
        return answers

    def _failed(self, trouble: NoContact) -> None:
        if trouble.evidence:
            self._evidence(Signal.FAIL, trouble.reason)

    def _evidence(self, signal: Signal, reason: str) -> None:
        self._board.evidence(self._service, signal, reason)


async def _alone(reply: Awaitable[Reply]) -> tuple[Reply]:
    return (await reply,)
