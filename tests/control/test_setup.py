"""Client set-up: the three documents read as their clients read them, and over real HTTPS."""

from __future__ import annotations

import asyncio
import json
import plistlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.control.http.public import PublicServer
from relay.control.setup import autodiscover
from relay.control.setup.pages import setup_app
from relay.control.setup.records import Record, records
from relay.control.setup.settings import ClientSetup, Security, Server, mailbox
from relay.core.clock import SystemClock
from tests.peers.certs import Authority, server_context

SETUP = ClientSetup(
    domains=("example.org", "example.net"),
    imap=(
        Server("imap.example.org", 993, Security.IMPLICIT),
        Server("imap.example.org", 143, Security.STARTTLS),
    ),
    submission=(
        Server("smtp.example.org", 465, Security.IMPLICIT),
        Server("smtp.example.org", 587, Security.STARTTLS),
    ),
    web_host="mail.example.org",
    display_name="Post & <Mail>",
)
LOCAL = ClientSetup(("example.org",), SETUP.imap[1:], SETUP.submission[1:], "mail.example.org", username="local")
OUTER = "{http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006}"
INNER = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"


def client(setup: ClientSetup = SETUP, host: str = "mail.example.org") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=setup_app(setup, SystemClock()))
    return httpx.AsyncClient(transport=transport, base_url=f"https://{host}")


def request(address: str = "bob@example.org", schema: str = autodiscover.SCHEMA) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>'
        f"<EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>{schema}</AcceptableResponseSchema>"
        "</Request></Autodiscover>"
    )


async def discover(body: str | bytes, setup: ClientSetup = SETUP) -> ElementTree.Element:
    async with client(setup) as web:
        got = await web.post("/autodiscover/autodiscover.xml", content=body)
    assert got.status_code == 200
    assert got.headers["content-type"] == "text/xml; charset=utf-8"
    return ElementTree.fromstring(got.content)


# --- autoconfig -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml"])
async def test_autoconfig_says_all_servers(path: str) -> None:
    async with client() as web:
        got = await web.get(path, params={"emailaddress": "Bob@Example.ORG"})
    assert got.headers["content-type"] == "text/xml; charset=utf-8"
    root = ElementTree.fromstring(got.content)
    assert (root.tag, root.get("version")) == ("clientConfig", "1.1")
    (provider,) = root
    assert provider.get("id") == provider.findtext("domain") == "example.org"
    assert provider.findtext("displayName") == "Post & <Mail>"
    found = [
        (one.tag, one.get("type"), *(one.findtext(name) for name in ("hostname", "port", "socketType", "username")))
        for one in provider
        if one.get("type")
    ]
    assert found == [
        ("incomingServer", "imap", "imap.example.org", "993", "SSL", "%EMAILADDRESS%"),
        ("incomingServer", "imap", "imap.example.org", "143", "STARTTLS", "%EMAILADDRESS%"),
        ("outgoingServer", "smtp", "smtp.example.org", "465", "SSL", "%EMAILADDRESS%"),
        ("outgoingServer", "smtp", "smtp.example.org", "587", "STARTTLS", "%EMAILADDRESS%"),
    ]
    assert {one.findtext("authentication") for one in provider if one.get("type")} == {"password-cleartext"}


@pytest.mark.parametrize(
    ("host", "setup", "domain"),
    [
        ("autoconfig.example.net", SETUP, "example.net"),
        ("example.org", SETUP, "example.org"),
        ("mail.example.org", SETUP, None),
        ("mail.example.org", LOCAL, "example.org"),
    ],
)
async def test_autoconfig_without_an_address_goes_by_the_host(
    host: str, setup: ClientSetup, domain: str | None
) -> None:
    async with client(setup, host) as web:
        got = await web.get("/.well-known/autoconfig/mail/config-v1.1.xml")
    assert got.status_code == (404 if domain is None else 200)
    if domain is not None:
        assert ElementTree.fromstring(got.content).findtext("emailProvider/domain") == domain


async def test_logins_without_the_domain() -> None:
    async with client(LOCAL) as web:
        got = await web.get("/mail/config-v1.1.xml")
    assert ElementTree.fromstring(got.content).findtext("emailProvider/incomingServer/username") == "%EMAILLOCALPART%"
    assert (await discover(request(), LOCAL)).findtext(f".//{INNER}LoginName") == "bob"


# --- Autodiscover -----------------------------------------------------------------------------------------------------


async def test_autodiscover_says_one_server_of_each_kind() -> None:
    root = await discover(request("a&amp;b@example.org"))
    assert root.tag == f"{OUTER}Autodiscover"
    account = root.find(f"{INNER}Response/{INNER}Account")
    assert account is not None
    assert (account.findtext(f"{INNER}AccountType"), account.findtext(f"{INNER}Action")) == ("email", "settings")
    found = [{child.tag.removeprefix(INNER): child.text for child in one} for one in account.iter(f"{INNER}Protocol")]
    common = {"DomainRequired": "off", "LoginName": "a&b@example.org", "SPA": "off", "SSL": "on"}
    common |= {"Encryption": "SSL", "AuthRequired": "on"}
    assert found == [
        {"Type": "IMAP", "Server": "imap.example.org", "Port": "993"} | common,
        {"Type": "SMTP", "Server": "smtp.example.org", "Port": "465", "UsePOPAuth": "on", "SMTPLast": "off"} | common,
    ]
    root = await discover(request(), LOCAL)
    assert [one.text for one in root.iter(f"{INNER}Encryption")] == ["TLS", "TLS"]


BOMB = '<!DOCTYPE x [<!ENTITY a "bob">]>' + request("&a;@example.org").removeprefix(
    '<?xml version="1.0" encoding="utf-8"?>'
)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "600"),
        (b"not XML", "600"),
        (b"\xff\xfe\x00", "600"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', "600"),
        (BOMB, "600"),
        (request().replace("<Autodiscover", "<!DOCTYPE a><Autodiscover", 1), "600"),
        (request() + " " * autodiscover.MOST, "600"),
        ("<a>" * 100 + "</a>" * 100, "600"),
        (request(""), "600"),
        (request().replace("<Request>", "<Request><EMailAddress>x@example.org</EMailAddress>"), "600"),
        (request().replace("2006", "2007"), "600"),
        (request(schema="http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"), "601"),
        (request("bob@example.com"), "500"),
        (request("bob"), "500"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_autodiscover_refuses(body: str | bytes, code: str) -> None:
    root = await discover(body)
    assert root.findtext(f"{OUTER}Response/{OUTER}Error/{OUTER}ErrorCode") == code


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: request(text).encode("utf-8", "replace")))
def test_no_request_breaks_the_reader(body: bytes) -> None:
    try:
        asked = autodiscover.read(body)
    except autodiscover.Unusable:
        return
    found = mailbox(asked.address, SETUP.domains)
    if found is not None:
        ElementTree.fromstring(autodiscover.answer(SETUP, found))


@given(st.text(max_size=70))
def test_whatever_is_typed_is_no_address_or_fits_into_every_document(local: str) -> None:
    found = mailbox(f"{local}@example.org", SETUP.domains)
    if found is not None:
        root = ElementTree.fromstring(autodiscover.answer(SETUP, found))
        assert root.findtext(f".//{INNER}DisplayName") == found.address


async def test_any_case_of_the_path_and_of_parameters() -> None:
    async with client() as web:
        for path in ("/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.XML"):
            got = await web.post(path, content=request())
            assert b"<Type>IMAP</Type>" in got.content
        assert (await web.get("/autodiscover/autodiscover.xml")).content.count(b"<ErrorCode>600<") == 1
        for path in (
            "/autodiscover/autodiscover.json?Email=bob@example.org&Protocol=AutodiscoverV1",
            "/Autodiscover/Autodiscover.JSON?email=bob%40example.org&PROTOCOL=autodiscoverv1",
            "/autodiscover/autodiscover.json/v1.0/bob@example.org?Protocol=Autodiscoverv1",
        ):
            got = await web.get(path)
            assert (got.status_code, got.headers["content-type"]) == (200, "application/json")
            assert got.json() == {
                "Protocol": "AutodiscoverV1",
                "Url": "https://mail.example.org/autodiscover/autodiscover.xml",
            }


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("Email=bob@example.org&Protocol=ActiveSync", 400, "InvalidProtocol"),
        ("Email=bob@example.org", 400, "InvalidProtocol"),
        ("Email=bob@example.com&Protocol=AutodiscoverV1", 404, "UserNotFound"),
        ("Protocol=AutodiscoverV1", 404, "UserNotFound"),
    ],
)
async def test_the_json_form_refuses(query: str, status: int, code: str) -> None:
    async with client() as web:
        got = await web.get(f"/autodiscover/autodiscover.json?{query}")
    assert (got.status_code, got.json()["ErrorCode"]) == (status, code)


# --- Apple ------------------------------------------------------------------------------------------------------------


async def test_a_profile_is_a_property_list_with_stable_identifiers() -> None:
    async with client() as web:
        got = await web.get("/mail/apple.mobileconfig", params={"emailaddress": "bob@example.org"})
        again = await web.get("/mail/apple.mobileconfig", params={"emailaddress": "bob@EXAMPLE.org"})
        other = await web.get("/mail/apple.mobileconfig", params={"emailaddress": "eve@example.org"})
    assert got.headers["content-type"] == "application/x-apple-aspen-config"
    assert got.headers["content-disposition"] == 'attachment; filename="mail.mobileconfig"'
    content = plistlib.loads(got.content, fmt=plistlib.FMT_XML)
    (account,) = content["PayloadContent"]
    assert content["PayloadType"] == "Configuration"
    assert account["PayloadType"] == "com.apple.mail.managed"
    assert (account["IncomingMailServerHostName"], account["IncomingMailServerPortNumber"]) == ("imap.example.org", 993)
    assert (account["OutgoingMailServerHostName"], account["OutgoingMailServerPortNumber"]) == ("smtp.example.org", 465)
    assert account["IncomingMailServerUseSSL"] is account["OutgoingMailServerUseSSL"] is True
    assert account["EmailAddress"] == account["IncomingMailServerUsername"] == "bob@example.org"
    assert not any("Password" in key and key != "OutgoingPasswordSameAsIncomingPassword" for key in account)
    assert again.content == got.content
    identifiers = {content["PayloadUUID"], account["PayloadUUID"], plistlib.loads(other.content)["PayloadUUID"]}
    assert len(identifiers) == 3


# --- who asks, and where ----------------------------------------------------------------------------------------------


async def test_nothing_tells_whether_a_mailbox_exists() -> None:
    """Two addresses of a domain get the same answer but for the address itself; other domains get none."""
    async with client() as web:
        for path in ("/mail/config-v1.1.xml", "/mail/apple.mobileconfig"):
            answers = [
                (await web.get(path, params={"emailaddress": f"{name}@example.org"})) for name in ("root", "nobody")
            ]
            assert [got.status_code for got in answers] == [200, 200]
            assert answers[0].headers.keys() == answers[1].headers.keys()
            for address in ("bob@example.com", "bob", "@example.org", "b ob@example.org", "b\x00b@example.org"):
                assert (await web.get(path, params={"emailaddress": address})).status_code == 404


async def test_nothing_is_set_up_where_nothing_is_served() -> None:
    async with client(ClientSetup(("example.org",), (), (), "mail.example.org")) as web:
        assert (await web.get("/mail/config-v1.1.xml")).status_code == 404


@asynccontextmanager
async def public(context: ssl.SSLContext) -> AsyncIterator[PublicServer]:
    server = PublicServer(setup_app(SETUP, SystemClock()), "127.0.0.1", 0, context, shared=False)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def test_over_https_and_after_a_renewal(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = server_context(authority.issue(stem="old"))
    async with public(context) as server:
        seen = set()
        for stem in ("old", "new"):
            context.load_cert_chain(*vars(authority.issue(stem=stem)).values())
            async with httpx.AsyncClient(verify=authority.client_context()) as web:
                base = f"https://localhost:{server.port}"
                got = await web.get(f"{base}/mail/config-v1.1.xml?emailaddress=bob@example.org")
                assert ElementTree.fromstring(got.content).tag == "clientConfig"
                for path in ("/metrics", "/livez", "/readyz", "/api/v1/status", "/", "/docs"):
                    assert (await web.get(base + path)).status_code == 404
                raw = (got.extensions["network_stream"]).get_extra_info("ssl_object").getpeercert(binary_form=True)
                seen.add(raw)
        assert len(seen) == 2


async def test_strangers_are_few_and_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setattr("relay.control.http.public._MOST", 1)
    monkeypatch.setattr("relay.control.http.public._LIFE_SECONDS", 0.3)
    async with public(server_context(authority.issue())) as server, asyncio.timeout(20):
        tls = authority.client_context()
        slow, writer = await asyncio.open_connection("localhost", server.port, ssl=tls)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        with suppress(ConnectionError):  # cut before its handshake was over on this side, perhaps
            second, other = await asyncio.open_connection("localhost", server.port, ssl=tls)
            assert await second.read() == b""
            other.close()
        with suppress(ConnectionError):
            assert await slow.read() == b""
        writer.close()


# --- DNS --------------------------------------------------------------------------------------------------------------


def test_records_for_a_zone() -> None:
    assert list(records(LOCAL)) == [
        Record("_imaps._tcp.example.org.", "SRV", "0 0 0 ."),
        Record("_imap._tcp.example.org.", "SRV", "10 1 143 imap.example.org."),
        Record("_submissions._tcp.example.org.", "SRV", "0 0 0 ."),
        Record("_submission._tcp.example.org.", "SRV", "10 1 587 smtp.example.org."),
        Record("_autodiscover._tcp.example.org.", "SRV", "0 1 443 mail.example.org."),
        Record("autoconfig.example.org.", "CNAME", "mail.example.org."),
        Record("autodiscover.example.org.", "CNAME", "mail.example.org."),
    ]
    assert json.dumps([one.value for one in records(SETUP)]).count("0 1 993 imap.example.org.") == 2
