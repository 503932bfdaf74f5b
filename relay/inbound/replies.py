"""What we say by ourselves: fixed texts with their enhanced codes (RFC 3463). They hold nothing a peer sent."""

from __future__ import annotations

from collections.abc import Sequence

from relay.core.ids import ItemId
from relay.core.reply import Reply, reply
from relay.inbound.settings import Limits

OK = reply(250, "2.0.0 Ok")
MAIL_OK = reply(250, "2.1.0 Sender ok")
RCPT_OK = reply(250, "2.1.5 Recipient ok")
GO_ON = Reply(354, ("End data with <CR><LF>.<CR><LF>",))
BYE = reply(221, "2.0.0 Bye")
READY_FOR_TLS = reply(220, "2.0.0 Ready to start TLS")
CANNOT_VRFY = reply(252, "2.1.5 Cannot verify, but will take mail for a recipient that exists")
HELP = reply(214, "2.0.0 See RFC 5321")

BUSY = reply(421, "4.7.0 Too many connections, try again later")
STOPPING = reply(421, "4.3.2 Service is stopping, try again later")
TIMEOUT = reply(421, "4.4.2 Timeout, closing connection")
TOO_SLOW = reply(421, "4.4.2 Content comes too slowly, closing connection")
TOO_MANY_ERRORS = reply(421, "4.7.0 Too many errors, closing connection")
TOO_MANY_LOGINS = reply(421, "4.7.0 Too many failed logins, closing connection")
TOO_MANY_MESSAGES = reply(421, "4.7.0 Too many messages on this connection, open another")  # RFC 9422 3.1

TRY_LATER = reply(451, "4.3.0 Local problem, try again later")
UNKNOWN_FOR_NOW = reply(450, "4.1.1 Recipient cannot be verified at the moment, try again later")
NO_ROOM = reply(452, "4.3.1 Insufficient storage, try again later")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3 Too many recipients")
LOGIN_LATER = reply(454, "4.7.0 Login is not possible at the moment, try again later")
NO_TLS_NOW = reply(454, "4.7.0 TLS is not available")

NOT_A_LINE = reply(500, "5.5.2 A line ends with CRLF")
LINE_TOO_LONG = reply(500, "5.5.2 Line too long")
UNKNOWN_COMMAND = reply(500, "5.5.1 Command not recognized")
NOT_IMPLEMENTED = reply(502, "5.5.1 Command not implemented")
NO_ARGUMENT = reply(501, "5.5.4 This command takes no argument")
LOGIN_CANCELLED = reply(501, "5.7.0 Login cancelled")
HELLO_FIRST = reply(503, "5.5.1 Send HELO or EHLO first")
MAIL_FIRST = reply(503, "5.5.1 Send MAIL first")
NO_RECIPIENTS = reply(554, "5.5.1 No valid recipients")
NESTED_MAIL = reply(503, "5.5.1 A mail transaction is open already")
IN_CHUNKS = reply(503, "5.5.1 The message came in chunks; finish with BDAT LAST or RSET")
CHUNKS_FAILED = reply(503, "5.5.1 An earlier chunk failed; send RSET")
TLS_ALREADY = reply(503, "5.5.1 TLS is active already")
LOGIN_ALREADY = reply(503, "5.5.1 Logged in already")
NOT_NOW_LOGIN = reply(503, "5.5.1 AUTH is not possible within a mail transaction")
UNKNOWN_MECHANISM = reply(504, "5.5.4 Mechanism not offered")
LOGIN_NEEDED = reply(530, "5.7.0 Authentication required")
TLS_FOR_LOGIN = reply(538, "5.7.11 Encryption required for authentication")
BAD_LOGIN = reply(535, "5.7.8 Authentication credentials invalid")
NO_SUCH_RECIPIENT = reply(550, "5.1.1 No such recipient here")
NO_RELAY = reply(550, "5.7.1 Relaying denied")
NO_ROUTING = reply(550, "5.7.1 Sender-specified routing is refused")
NOT_YOUR_SENDER = reply(553, "5.7.1 You may not send with this sender address")
NOT_YOUR_FROM = reply(550, "5.7.1 You may not send with this From address")
NO_FROM = reply(554, "5.6.0 The From field is missing or cannot be read")
HEADER_TOO_BIG = reply(554, "5.6.0 The header section is too large")
TOO_BIG = reply(552, "5.3.4 Message is larger than the limit")
AFTER_STARTTLS = reply(554, "5.5.1 Nothing may follow STARTTLS before the handshake, closing connection")


def hello(hostname: str, limits: Limits, *, starttls: bool, mechanisms: Sequence[str]) -> Reply:
    """What we can do (RFC 5321 4.1.1.1); `mechanisms` of AUTH, if it may be tried now."""
    words = [
        f"SIZE {limits.message_size}",
        "PIPELINING",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "DSN",
        f"LIMITS RCPTMAX={limits.recipients} MAILMAX={limits.transactions}",  # RFC 9422 4
    ]
    if starttls:
        words.append("STARTTLS")
    if mechanisms:
        words.append("AUTH " + " ".join(mechanisms))
    return Reply(250, (hostname, *words))


def queued(item: ItemId) -> Reply:
    """We have it."""
    return reply(250, f"2.0.0 Queued as {item}")


def with_code(answer: Reply) -> Reply:
    """A reply of the primary's with enhanced codes, which we promised (RFC 2034 4) even where it does not."""
    if answer.enhanced is not None or answer.intermediate:
        return answer
    head = f"{answer.code // 100}.0.0 "
    return Reply(answer.code, tuple(head + line for line in answer.lines))
