"""The content of one message, streamed from the connection into a draft (DATA and BDAT alike).

Octets of the inlet enter; the draft grows; a verdict leaves. The content is always read to its true end, so that no
piece of it can be taken for a command, with three exceptions that close the connection: the peer is gone, it is too
slow, or it sends far more than it may.

1. At most one block is in hand at a time, whatever the size of the message. Without a draft it is read for nothing.
2. After the first fault nothing more is written to the draft; the reply comes at the end.
3. Time counts against the sender only while we were willing to read.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.core.errors import NotNow
from relay.core.reply import Reply
from relay.inbound import replies
from relay.inbound.inlet import Inlet
from relay.inbound.ports import Draft
from relay.inbound.settings import InboundSettings
from relay.proto.smtp.content import REPLIES, ContentCheck, ContentFault
from relay.proto.smtp.data import DataScanner

BLOCK = 64 * 1024
HELD_IN_MEMORY = 128 * 1024
"""Messages up to this size are handed to the primary from memory, not read back from the spool."""
_PATIENCE = 600.0
"""Seconds that a connection may be stopped by the budget of all."""


class Hopeless(Exception):
    """The content will not be read to its end: say this and close."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.text)
        self.reply = answer


class Body:
    """One message being received."""

    def __init__(
        self, inlet: Inlet, draft: Draft | None, settings: InboundSettings, monotonic: Callable[[], float]
    ) -> None:
        self.draft = draft
        self.trouble: NotNow | None = None
        """The spool could not keep it; the reply is 4xx whatever else is wrong."""
        self._inlet = inlet
        self._limits = settings.limits
        self._deadlines = settings.deadlines
        self._check = ContentCheck(settings.content)
        self._monotonic = monotonic
        self._waited = 0.0
        self._received = 0
        self._held: list[bytes] | None = [] if draft is not None else None

    @property
    def fault(self) -> ContentFault | None:
        """What is wrong with the content so far."""
        return self._check.fault

    @property
    def size(self) -> int:
        """Octets of content so far."""
        return self._check.size

    @property
    def too_big(self) -> bool:
        """Over the limit."""
        return self._check.size > self._limits.message_size

    @property
    def held(self) -> tuple[bytes, ...] | None:
        """All of the content where it is small; None = read it back from the spool."""
        return None if self._held is None else tuple(self._held)

    async def data(self) -> None:
        """Read to the end of data. Gone, Hopeless."""
        scanner = DataScanner()
        while not scanner.done:
            await self._take(scanner.feed(await self._block(BLOCK)))
        self._inlet.unread(scanner.rest)

    async def chunk(self, size: int) -> None:
        """Read exactly `size` octets (RFC 3030 2). Gone, Hopeless."""
        if self._check.size + size > self._most:
            raise Hopeless(replies.TOO_BIG)
        while size:
            block = await self._block(min(BLOCK, size))
            size -= len(block)
            await self._take(block)

    def refusal(self) -> Reply | None:
        """Why the content is not taken; None = it is. Call at the end."""
        self._check.finish()
        return self.refusal_so_far()

    def refusal_so_far(self) -> Reply | None:
        """The same before the end."""
        if self.too_big:
            return replies.TOO_BIG
        if self.trouble is not None:
            return replies.TRY_LATER
        return None if self._check.fault is None else REPLIES[self._check.fault]

    async def discard(self) -> None:
        """Drop the draft. Idempotent."""
        if self.draft is not None:
            await self.draft.discard()

    @property
    def _most(self) -> int:
        return 2 * self._limits.message_size + HELD_IN_MEMORY

    async def _take(self, content: bytes) -> None:
        check = self._check
        check.see(content)
        if check.size > self._most:
            raise Hopeless(replies.TOO_BIG)
        draft = self.draft
        if draft is None or check.fault is not None or self.too_big or self.trouble is not None or not content:
            return
        if self._held is not None:
            self._held.append(content)
            if check.size > HELD_IN_MEMORY:
                self._held = None
        try:
            await draft.write(content)
        except NotNow as trouble:
            self.trouble = trouble

    async def _block(self, most: int) -> bytes:
        inlet, deadlines = self._inlet, self._deadlines
        stopped = 0.0
        while True:
            allowed = deadlines.grace + self._received / deadlines.minimum_rate - self._waited
            patience = _PATIENCE if inlet.stopped else max(0.0, min(deadlines.block, allowed))
            ours = inlet.stopped
            start = self._monotonic()
            try:
                block = await inlet.block(most, within=patience)
            except TimeoutError:
                stopped += self._monotonic() - start if ours else 0.0
                if (ours or inlet.stopped) and stopped < _PATIENCE:
                    continue
                raise Hopeless(replies.TRY_LATER if ours else replies.TOO_SLOW) from None
            if not ours:
                self._waited += self._monotonic() - start
            self._received += len(block)
            return block
