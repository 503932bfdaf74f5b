"""AUTH towards a server (RFC 4954): credentials and what it offers enter, its last reply leaves.

Passwords go by PLAIN or LOGIN, whichever the server has; a token goes in its client's own words, by its own mechanism.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable

from relay.core.reply import Reply
from relay.primary.errors import NoContact
from relay.proto.sasl.credentials import Credentials, Proof
from relay.proto.sasl.mechanisms import MECHANISMS

Say = Callable[[bytes], Awaitable[Reply]]


async def authenticate(credentials: Credentials, offered: Iterable[str], say: Say) -> Reply:
    """The reply that decides. NoContact: the server has no mechanism for this."""
    mechanisms = {word.upper() for word in offered}
    login, secret = credentials.login.encode(), credentials.secret
    if credentials.proof is Proof.TOKEN and credentials.mechanism in mechanisms:
        reply = await say(_line(credentials.mechanism, credentials.message))
        if reply.code == 334:  # RFC 7628 3.2.3: an error, which the client dismisses
            reply = await say(base64.b64encode(MECHANISMS[credentials.mechanism].dismissal) + b"\r\n")
        return reply
    if credentials.proof is Proof.PASSWORD and "PLAIN" in mechanisms:
        return await say(_line("PLAIN", b"\0".join((credentials.authzid.encode(), login, secret))))  # RFC 4616 2
    if credentials.proof is Proof.PASSWORD and "LOGIN" in mechanisms:
        reply = await say(b"AUTH LOGIN\r\n")
        for answer in (login, secret):
            if reply.code == 334:
                reply = await say(base64.b64encode(answer) + b"\r\n")
        return reply
    raise NoContact("server offers no AUTH mechanism that we have", evidence=False)


def _line(mechanism: str, message: bytes) -> bytes:
    return b"AUTH " + mechanism.encode("ascii") + b" " + (base64.b64encode(message) or b"=") + b"\r\n"
