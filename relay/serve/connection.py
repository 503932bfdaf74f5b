"""One client connection from its first octet to its last: door, then standby session or passage."""

from __future__ import annotations

import asyncio
import ssl

from relay.core.errors import NotNow
from relay.obs.logs import bound, logger
from relay.primary.stream import Stream
from relay.proto.imap import encode
from relay.proto.imap.passing import passable
from relay.serve.capabilities import after_login
from relay.serve.door import ByPrimary, Door
from relay.serve.passing import Passage
from relay.serve.ports import Services
from relay.serve.session import Session
from relay.serve.talk import Gone, Talk

_log = logger("serve.connection")


class Connection:
    """Begins by being made, on a stream that is connected; `client` is an IP address."""

    def __init__(self, stream: Stream, client: str, services: Services, context: ssl.SSLContext | None) -> None:
        self._stream = stream
        self._services = services
        self._context = context
        self._talk = Talk(stream, client, services.settings.limits.errors, services.metrics)
        self._passage: Passage | None = None
        self.ended = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Serve until either side has had enough."""
        try:
            with bound(conn=self._talk.conn, client=self._talk.client):
                await self._serve()
        except Gone:
            pass
        except asyncio.CancelledError:
            self._stream.abort()
            raise
        except Exception as bug:  # a bug ends its own connection, no other one, and not in silence
            _log.exception("connection_failed", exc_info=bug)
            self._stream.put(encode.condition(None, "BYE", "Local problem, connect again", b"UNAVAILABLE"))
        finally:
            self._talk.close()
            self._stream.close()

    async def _serve(self) -> None:
        talk, services = self._talk, self._services
        while True:
            way = await Door(talk, services, self._context).run()
            if isinstance(way, ByPrimary):
                primary, said = way.session.hand_over()
                shown = " ".join(["CAPABILITY", *passable(way.capabilities)]).encode("ascii", "replace")
                answer = encode.condition(way.tag, "OK", "Logged in", shown)
                self._passage = Passage(self._stream, primary, services)
                del way  # its reader is of no use any more, and thousands of sessions may sit here
                await self._passage.run(answer + said, talk.receiver.drain() + self._stream.take())
                return
            try:
                account = await services.mailboxes.open_account(way.address)
            except NotNow as later:
                _log.warning("account_not_opened", exc_info=later)
                talk.no(way.tag, "Mailboxes are not available at the moment, try again later", b"UNAVAILABLE")
                await talk.settle()
                continue
            talk.ok(way.tag, "Logged in", after_login(services.settings, services.offer.shown))
            await talk.settle()
            await Session(talk, services, account).run()

    def heed(self) -> None:
        """A mode has turned: a primary that is down keeps no client."""
        if self._passage is not None:
            self._passage.end_if_down()

    def stop(self) -> None:
        """The node stops: end as soon as no command is under way."""
        if self._passage is not None:
            self._passage.stop()
        self._talk.stop()

    def cut(self) -> None:
        """End now."""
        self.ended.cancel()
