"""MAIL and RCPT as bytes, with the parameters that the server offers. Pure.

What the server does not offer is left out where the message stays deliverable without it (8BITMIME, DSN, SIZE), and
refused here where it does not (a UTF-8 address without SMTPUTF8).
"""

from __future__ import annotations

import re

from relay.core.envelope import BodyType, Envelope, Recipient
from relay.core.reply import Reply, reply
from relay.proto.smtp.ehlo import Extensions

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")

_NEEDS_UTF8 = reply(553, "5.6.7 The server does not take internationalised addresses")
_MALFORMED = reply(553, "5.1.3 Malformed address")


def mail_command(envelope: Envelope, size: int, offered: Extensions) -> bytes | Reply:
    """`MAIL FROM:<...>` with its CRLF, or the refusal that the server would have to give."""
    refusal = _refusal(envelope.reverse_path, offered)
    if refusal is not None:
        return refusal
    words = [f"MAIL FROM:<{envelope.reverse_path}>"]
    if size and "SIZE" in offered:
        words.append(f"SIZE={size}")  # RFC 1870 6; 0 = not known yet (the sender did not say)
    if envelope.body is not BodyType.SEVEN_BIT and "8BITMIME" in offered:
        # RFC 6152 wants a conversion where it is not offered; everyone sends the eight bits as they are instead, and
        # a conversion would break signatures. BINARYMIME is never offered to senders, so DATA carries everything.
        words.append("BODY=8BITMIME")
    if envelope.smtputf8 and "SMTPUTF8" in offered:
        words.append("SMTPUTF8")  # RFC 6531 3.4
    if "DSN" in offered:
        if envelope.ret:
            words.append(f"RET={envelope.ret}")  # RFC 3461 4.3
        if envelope.envid:
            words.append(f"ENVID={envelope.envid}")  # RFC 3461 4.4
    return _line(words)


def rcpt_command(recipient: Recipient, offered: Extensions) -> bytes | Reply:
    """`RCPT TO:<...>` with its CRLF, or the refusal that the server would have to give."""
    refusal = _refusal(recipient.address, offered)
    if refusal is not None:
        return refusal
    words = [f"RCPT TO:<{recipient.address}>"]
    if "DSN" in offered:
        if recipient.notify:
            words.append(f"NOTIFY={','.join(recipient.notify)}")  # RFC 3461 4.1
        if recipient.orcpt:
            words.append(f"ORCPT={recipient.orcpt}")  # RFC 3461 4.2
    return _line(words)


def _refusal(address: str, offered: Extensions) -> Reply | None:
    if _UNSAFE.search(address):
        return _MALFORMED
    if not address.isascii() and "SMTPUTF8" not in offered:
        return _NEEDS_UTF8
    return None


def _line(words: list[str]) -> bytes:
    line = " ".join(words)
    if _UNSAFE.search(line):
        raise ValueError("a control character in an envelope parameter")
    return line.encode("utf-8") + b"\r\n"
