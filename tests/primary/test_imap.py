"""Looking into the primary's mailboxes: on a real Dovecot, and on servers that misbehave."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from relay.core.ids import ItemId, item_id
from relay.primary.imap import Access, ImapPrimary, ImapSettings, Mark, Sight, Verdict
from relay.primary.imap_client import ImapGone, Session
from relay.primary.settings import Endpoint, TlsMode
from relay.proto.sasl.credentials import Credentials
from tests.peers import people
from tests.peers.certs import Authority, Pair, server_context
from tests.peers.dovecot import EXCHANGE_CAPABILITY, Dovecot, DovecotSettings
from tests.peers.plugin import MakeDovecot

NOW = time.time()
ITEM = item_id(1_800_000_000_000, b"0123456789")
OTHER = item_id(1_800_000_000_001, b"0123456789")


def message(item: ItemId | None, message_id: str = "<m@example.net>") -> bytes:
    trace = (
        f"Received: from a (b [192.0.2.1])\r\n by relay.example.org with ESMTP id {item};\r\n date\r\n" if item else ""
    )
    return f"{trace}Message-ID: {message_id}\r\nSubject: x\r\n\r\nbody\r\n".encode()


def eyes(dovecot: Dovecot, authority: Authority, **more: object) -> ImapPrimary:
    endpoint = Endpoint("localhost", dovecot.imap_port, TlsMode.STARTTLS, ca_file=str(authority.ca))
    master = Credentials(people.MASTER_USER, people.MASTER_PASSWORD.encode())
    settings = ImapSettings(endpoint, access=Access.MASTER, master=master)
    return ImapPrimary(msgspec.structs.replace(settings, **more))


def append(dovecot: Dovecot, address: str, folder: str, *bodies: bytes) -> None:
    with dovecot.login(address) as client:
        client.create(folder)
        for body in bodies:
            client.append(folder, "", "", body)


@pytest.mark.peers
async def test_passwords_are_verified_over_starttls(dovecot: Dovecot, authority: Authority) -> None:
    primary = eyes(dovecot, authority)
    address = "dave@example.org"
    assert await primary.verify(address, people.password_of(address)) is Verdict.OK
    assert await primary.verify(address, "wrong") is Verdict.REFUSED
    assert await primary.verify(address, 'tricky "\\ \u00e9 password') is Verdict.REFUSED
    assert await primary.verify("nobody@example.org", "x\r\na LOGOUT") is Verdict.REFUSED


@pytest.mark.peers
async def test_a_message_is_found_by_our_id_wherever_it_was_filed(dovecot: Dovecot, authority: Authority) -> None:
    primary = eyes(dovecot, authority)
    append(dovecot, "u001@example.org", "Projects", message(ITEM))
    mark = Mark(ITEM, NOW, "<m@example.net>")
    assert await primary.look("u001@example.org", mark) is Sight.FOUND
    assert await primary.look("u001@example.org", Mark(ITEM, NOW)) is Sight.FOUND
    # The same Message-ID under another id of ours is another delivery.
    assert await primary.look("u001@example.org", Mark(OTHER, NOW, "<m@example.net>")) is Sight.ABSENT
    assert await primary.look("u002@example.org", mark) is Sight.ABSENT
    locked_out = eyes(dovecot, authority, master=Credentials(people.MASTER_USER, b"wrong"))
    assert await locked_out.look("u001@example.org", mark) is Sight.UNSEEN


@pytest.mark.peers
async def test_scanning_finds_what_a_search_does_not(dovecot: Dovecot, authority: Authority) -> None:
    primary = eyes(dovecot, authority)
    bodies = [message(ITEM if i == 3 else None, f"<{i}@example.net>") for i in range(230)]
    append(dovecot, "u003@example.org", "INBOX", *bodies)
    # The Message-ID is wrong, so that the search finds nothing and the headers have to be read.
    assert await primary.look("u003@example.org", Mark(ITEM, NOW, "<else@example.net>")) is Sight.FOUND
    few = eyes(dovecot, authority, most_headers=100)
    assert await few.look("u003@example.org", Mark(ITEM, NOW, "<else@example.net>")) is Sight.UNSEEN


@pytest.mark.peers
async def test_a_server_that_offers_no_more_than_exchange_is_enough(
    make_dovecot: MakeDovecot, server_pair: Pair, authority: Authority
) -> None:
    exchange = make_dovecot(DovecotSettings(certificate=server_pair, capability=EXCHANGE_CAPABILITY))
    append(exchange, "alice@example.org", "INBOX", message(ITEM))
    assert await eyes(exchange, authority).look("alice@example.org", Mark(ITEM, NOW)) is Sight.FOUND


@pytest.mark.peers
async def test_thousands_of_lines_in_one_read_are_no_trouble(dovecot: Dovecot, authority: Authority) -> None:
    append(dovecot, "u004@example.org", "INBOX", *[message(None, f"<{i}@x>") for i in range(1500)])
    endpoint = Endpoint("localhost", dovecot.imap_port, TlsMode.STARTTLS, ca_file=str(authority.ca))
    async with Session(endpoint, 10.0) as session:
        assert (await session.login("u004@example.org", people.password_of("u004@example.org"))).ok
        assert await session.examine("INBOX")
        uids = await session.search("ALL")
        assert uids is not None
        assert len(uids) == 1500
        assert len(await session.headers(uids[:200], "RECEIVED MESSAGE-ID")) == 200
        with pytest.raises(ValueError, match="too many"):
            await session.headers(uids[:201], "RECEIVED")


# --- servers that misbehave -----------------------------------------------------------------------------------------

Answering = Callable[[str, str], str | None]
"""(tag, rest of the line) -> what to send, None to hang up; "" says nothing."""


@asynccontextmanager
async def imap_server(greeting: str, answer: Answering, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(greeting.encode())
            while line := await reader.readline():
                tag, _, rest = line.decode().strip().partition(" ")
                text = answer(tag, rest)
                if text is None:
                    return
                writer.write(text.encode())
                if rest == "STARTTLS" and context is not None:
                    await writer.start_tls(context)
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(talk(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def usual(tag: str, rest: str) -> str | None:
    if rest == "CAPABILITY":
        return f"* CAPABILITY IMAP4rev1 STARTTLS\r\n{tag} OK done\r\n"
    return f"{tag} OK done\r\n"


def login_says(said: str | None) -> Answering:
    return lambda tag, rest: usual(tag, rest) if not rest.startswith("LOGIN") else said and said.replace("@", tag)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("@ OK in\r\n", Verdict.OK),
        ("@ NO [AUTHENTICATIONFAILED] wrong\r\n", Verdict.REFUSED),
        ("@ NO LOGIN failed.\r\n", Verdict.REFUSED),
        ("@ NO [UNAVAILABLE] directory is down\r\n", Verdict.UNAVAILABLE),
        ("@ BAD what\r\n", Verdict.UNAVAILABLE),
        ("* BYE closing\r\n", Verdict.UNAVAILABLE),
        ("nonsense OK hello\r\n", Verdict.UNAVAILABLE),
        ("* LIST {99999999}\r\n", Verdict.UNAVAILABLE),
        ("", Verdict.UNAVAILABLE),
        (None, Verdict.UNAVAILABLE),
    ],
)
async def test_only_a_judged_password_is_refused(said: str | None, verdict: Verdict) -> None:
    async with imap_server("* OK hello\r\n", login_says(said)) as port:
        primary = ImapPrimary(ImapSettings(Endpoint("127.0.0.1", port, TlsMode.NONE), seconds=0.3))
        assert await primary.verify("alice", "secret") is verdict


async def test_no_secret_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with imap_server("* OK hello\r\n", login_says("nonsense OK hello\r\n")) as port:
            primary = ImapPrimary(ImapSettings(Endpoint("127.0.0.1", port, TlsMode.NONE), seconds=0.3))
            await primary.verify("alice@example.org", "open sesame")
    assert "sesame" not in caplog.text
    assert "alice" not in caplog.text


@pytest.mark.parametrize("greeting", ["* PREAUTH welcome\r\n", "* OK hello\r\n"])
async def test_nobody_talks_us_out_of_tls(greeting: str) -> None:
    said: list[str] = []

    def answer(tag: str, rest: str) -> str | None:
        said.append(rest)
        capability = "IMAP4rev1 STARTTLS" if "PREAUTH" in greeting else "IMAP4rev1"
        return f"* CAPABILITY {capability}\r\n{tag} OK done\r\n" if rest == "CAPABILITY" else usual(tag, rest)

    async with imap_server(greeting, answer) as port:
        primary = ImapPrimary(ImapSettings(Endpoint("127.0.0.1", port, TlsMode.STARTTLS), seconds=0.3))
        assert await primary.verify("alice", "secret") is Verdict.UNAVAILABLE
    assert not any("LOGIN" in line for line in said)


async def test_a_server_that_knows_us_already_gets_no_password() -> None:
    """RFC 9051 11.3: PREAUTH under opportunistic TLS may be somebody in between who keeps us in clear."""
    said: list[str] = []

    def answer(tag: str, rest: str) -> str | None:
        said.append(rest)
        return usual(tag, rest)

    async with imap_server("* PREAUTH welcome\r\n", answer) as port:
        settings = ImapSettings(
            Endpoint("127.0.0.1", port, TlsMode.OPPORTUNISTIC),
            access=Access.MASTER,
            master=Credentials("relay", b"secret"),
            seconds=1.0,
        )
        primary = ImapPrimary(settings)
        assert await primary.verify("alice", "secret") is Verdict.UNAVAILABLE
        assert await primary.enter_as_master(1.0) is Verdict.UNAVAILABLE
    assert not any(word in line for line in said for word in ("LOGIN", "AUTHENTICATE"))


async def test_what_comes_with_the_starttls_response_ends_it(authority: Authority) -> None:
    def answer(tag: str, rest: str) -> str | None:
        extra = "* CAPABILITY IMAP4rev1 AUTH=EVIL\r\n" if rest == "STARTTLS" else ""
        return f"{usual(tag, rest)}{extra}"

    context = server_context(authority.issue())
    async with imap_server("* OK hello\r\n", answer, context) as port:
        endpoint = Endpoint("127.0.0.1", port, TlsMode.STARTTLS, ca_file=str(authority.ca))
        with pytest.raises(ImapGone):
            await Session(endpoint, 1.0).open()


async def test_a_lost_connection_fails_what_waits_at_once() -> None:
    def answer(tag: str, rest: str) -> str | None:
        return usual(tag, rest) if rest == "CAPABILITY" else None

    async with asyncio.timeout(5.0), imap_server("* OK hello\r\n", answer) as port:
        session = Session(Endpoint("127.0.0.1", port, TlsMode.NONE), 30.0)
        await session.open()
        with pytest.raises(ImapGone):
            await session.folders()
        with pytest.raises(ImapGone):
            await session.folders()
