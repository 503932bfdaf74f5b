"""What the door and the session both say."""

from __future__ import annotations

from relay.proto.imap import encode
from relay.serve.settings import ServeSettings
from relay.serve.talk import Talk


def identify(talk: Talk, settings: ServeSettings) -> None:
    """The ID response (RFC 2971 3.2)."""
    pairs = [b'"name"', b'"standby-relay"']
    if settings.version:
        pairs += [b'"version"', encode.string(settings.version.encode())]
    talk.untagged(b"ID", encode.parens(pairs))
