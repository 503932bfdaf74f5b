"""Outlook's Autodiscover: the XML form ("plain old XML", MS-OXDSCLI) and the JSON form that points to it.

1. A request is at most `MOST` octets, without a document type: no entity is ever declared, so none can be expanded.
2. An answer depends on the domain of the address alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from xml.parsers import expat
from xml.sax.saxutils import escape

import msgspec

from relay.control.setup.settings import ClientSetup, Mailbox, Security, Server

MOST = 8 * 1024
_DEPTH = 8
_REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
_RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
SCHEMA = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
"""The only kind of answer that we have: Exchange's own protocols are not spoken here."""
_ENCRYPTION = {Security.IMPLICIT: "SSL", Security.STARTTLS: "TLS"}

INVALID = (600, "Invalid Request")
OTHER_SCHEMA = (601, "Requested schema version not supported")
NOT_OURS = (500, "The email address can't be found.")


class Unusable(Exception):
    """Not a request."""


class Question(msgspec.Struct, frozen=True):
    """What a client has asked."""

    address: str
    schemas: tuple[str, ...]
    """The answers that it understands."""


def read(body: bytes) -> Question:
    """A request as XML. Unusable."""
    if len(body) > MOST:
        raise Unusable("too long")
    return _Reading().read(body)


class _Reading:
    """One pass of expat over one request."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._texts: dict[str, list[str]] = {"EMailAddress": [], "AcceptableResponseSchema": []}

    def read(self, body: bytes) -> Question:
        # UTF-8 whatever the document says: a declared encoding would be looked up among all of Python's codecs.
        parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise Unusable("not XML") from error
        (address, *more), schemas = self._texts["EMailAddress"] or [""], self._texts["AcceptableResponseSchema"]
        if more or not address.strip():
            raise Unusable("not one address")
        return Question(address.strip(), tuple(schema.strip() for schema in schemas))

    def _doctype(self, *_: object) -> None:
        raise Unusable("a document type")

    def _start(self, name: str, _attributes: object) -> None:
        self._open.append(name)
        if len(self._open) > _DEPTH:
            raise Unusable("too deep")
        if (field := self._field()) is not None:
            self._texts[field].append("")

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        if (field := self._field()) is not None:
            self._texts[field][-1] += text

    def _field(self) -> str | None:
        """The element that is open, if it is one of ours and in its place."""
        plain = [name.removeprefix(f"{_REQUEST} ") for name in self._open]
        well = len(plain) == 3 and plain[:2] == ["Autodiscover", "Request"] and plain[2] in self._texts
        return plain[2] if well else None


def answer(setup: ClientSetup, asked: Mailbox) -> bytes:
    """The settings, as XML."""
    return "\n".join(_lines(setup, asked)).encode()


def refusal(code: int, message: str, *, now: float) -> bytes:
    """An error, as XML; `now` in Unix seconds."""
    at = time.strftime("%H:%M:%S", time.gmtime(now))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<Autodiscover xmlns="{_RESPONSE}"><Response><Error Time="{at}" Id="0">'
        f"<ErrorCode>{code}</ErrorCode><Message>{escape(message)}</Message><DebugData/>"
        "</Error></Response></Autodiscover>\n"
    ).encode()


def pointer(setup: ClientSetup) -> dict[str, str]:
    """The JSON form: where the XML form is."""
    return {"Protocol": "AutodiscoverV1", "Url": f"https://{setup.web_host}/autodiscover/autodiscover.xml"}


def _lines(setup: ClientSetup, asked: Mailbox) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield f'<Autodiscover xmlns="{_RESPONSE}">'
    yield f' <Response xmlns="{SCHEMA}">'
    yield f"  <User><DisplayName>{escape(asked.address)}</DisplayName></User>"
    yield "  <Account>"
    yield "   <AccountType>email</AccountType>"
    yield "   <Action>settings</Action>"
    # One of each kind: Outlook takes the first that it reads, and others the last.
    for server in setup.imap[:1]:
        yield from _protocol("IMAP", server, asked.login(setup))
    for server in setup.submission[:1]:
        yield from _protocol("SMTP", server, asked.login(setup))
    yield "  </Account>"
    yield " </Response>"
    yield "</Autodiscover>\n"


def _protocol(kind: str, server: Server, login: str) -> Iterator[str]:
    yield "   <Protocol>"
    yield f"    <Type>{kind}</Type>"
    yield f"    <Server>{escape(server.host)}</Server>"
    yield f"    <Port>{server.port}</Port>"
    yield "    <DomainRequired>off</DomainRequired>"
    yield f"    <LoginName>{escape(login)}</LoginName>"
    yield "    <SPA>off</SPA>"
    yield "    <SSL>on</SSL>"
    yield f"    <Encryption>{_ENCRYPTION[server.security]}</Encryption>"
    yield "    <AuthRequired>on</AuthRequired>"
    if kind == "SMTP":
        yield "    <UsePOPAuth>on</UsePOPAuth>"
        yield "    <SMTPLast>off</SMTPLast>"
    yield "   </Protocol>"
