"""Certificates by server name, and new ones without a restart: real handshakes on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from relay.core.errors import ConfigFault
from relay.listen.certificates import Certificates, Pair
from tests.listen.loops import Run
from tests.peers.certs import Authority
from tests.peers.certs import Pair as Issued

Names = tuple[str, ...]


def shown(certificates: Certificates, name: str | None, *, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Names:
    """The names of the certificate that a client sees when it asks for `name`, by a handshake in memory."""
    assert certificates.context is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = _trusting_anybody(most).wrap_bio(to_client, to_server, server_hostname=name)
    server_side = certificates.context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client_side, server_side]
    for _ in range(10):
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return _names(client_side.getpeercert(binary_form=True))


def _trusting_anybody(most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = most
    return context


def _names(der: bytes | None) -> Names:
    assert der is not None
    found = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return tuple(found.value.get_values_for_type(x509.DNSName))


def pair(issued: Issued) -> Pair:
    return Pair(issued.certificate, issued.private_key)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """One of the test's own: it writes where the test may overwrite."""
    return Authority(tmp_path)


FIRST: Names = ("mx1.example.org", "both.example.org")
SECOND: Names = ("imap.example.net", "both.example.org", "*.example.net")
THIRD: Names = ("*.example.net", "special.example.net")


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, FIRST),
        ("mx1.example.org", FIRST),
        ("both.example.org", FIRST),
        ("nobody.example.com", FIRST),
        ("imap.example.net", SECOND),
        ("IMAP.Example.NET", SECOND),
        ("smtp.example.net", SECOND),
        ("special.example.net", THIRD),
        ("a.b.example.net", FIRST),
        ("example.net", FIRST),
        ("localhost", FIRST),
    ],
)
def test_the_name_decides(authority: Authority, asked: str | None, expected: Names, most: ssl.TLSVersion) -> None:
    issued = [authority.issue(*names, stem=f"c{n}") for n, names in enumerate((FIRST, SECOND, THIRD))]
    assert shown(Certificates([pair(one) for one in issued]), asked, most=most) == expected


def test_the_first_to_end_is_the_one_to_renew(authority: Authority) -> None:
    long, short = authority.issue(days=80, stem="long"), authority.issue(days=20, stem="short")
    alone, both = Certificates([pair(long)]), Certificates([pair(long), pair(short)])
    assert alone.expires is not None
    assert both.expires is not None
    assert 59 * 86_400 < alone.expires - both.expires < 61 * 86_400


def test_without_a_certificate_there_is_no_tls() -> None:
    certificates = Certificates([])
    certificates.reload()
    assert (certificates.context, certificates.expires) == (None, None)


@pytest.mark.parametrize("asked", [None, "mx1.example.org"])
def test_reload_leaves_nothing_of_a_key_of_another_type(authority: Authority, asked: str | None) -> None:
    """Within one OpenSSL context the old chain would still serve clients that do not know the new key's type."""
    certificates = Certificates([pair(authority.issue("mx1.example.org"))])
    context = certificates.context
    rsa_key = rsa.generate_private_key(65537, 2048)
    authority.issue("mx1.example.org", "new.example.org", key=rsa_key)
    assert shown(certificates, asked) == ("mx1.example.org",)
    certificates.reload()
    assert certificates.context is context
    assert shown(certificates, asked) == ("mx1.example.org", "new.example.org")


def test_what_cannot_be_used_changes_nothing(authority: Authority) -> None:
    first, second = authority.issue("mx1.example.org", stem="a"), authority.issue("imap.example.net", stem="b")
    other = Pair(second.certificate, second.private_key, where="tls.more[0]")
    certificates = Certificates([pair(first), other])
    before = certificates.expires
    authority.issue("new.example.org", stem="a", days=9)
    second.private_key.write_bytes(first.private_key.read_bytes())
    for spoil, complaint in (
        (lambda: None, "tls.more[0].certificate: .* do not go together"),
        (lambda: second.certificate.write_text("nothing"), "tls.more[0].certificate: no PEM certificate"),
        (second.private_key.unlink, r"tls.more[0].private_key: .* cannot be read"),
    ):
        spoil()
        with pytest.raises(ConfigFault, match=complaint.replace("[", r"\[").replace("]", r"\]")):
            certificates.reload()
        assert shown(certificates, None) == ("mx1.example.org",)
        assert shown(certificates, "imap.example.net") == ("imap.example.net",)
        assert certificates.expires == before


def test_an_encrypted_key_fails_and_nobody_is_asked_for_its_password(authority: Authority) -> None:
    issued = authority.issue()
    key = serialization.load_pem_private_key(issued.private_key.read_bytes(), None)
    sealed = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    issued.private_key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, sealed))
    with pytest.raises(ConfigFault, match="not encrypted"):
        Certificates([pair(issued)])


def test_sessions_under_way_go_on_while_new_ones_see_the_new_chain(authority: Authority, run: Run) -> None:
    issued = [authority.issue(name, stem=name) for name in ("mx1.example.org", "imap.example.net")]

    async def scenario() -> None:
        certificates = Certificates([pair(one) for one in issued])

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line)
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=certificates.context)
        port = server.sockets[0].getsockname()[1]

        async def client(name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection(
                "127.0.0.1", port, ssl=authority.client_context(), server_hostname=name
            )

        old_reader, old = await client("imap.example.net")
        authority.issue("imap.example.net", "renewed.example.net", stem="imap.example.net")
        certificates.reload()
        new_reader, new = await client("renewed.example.net")
        assert _names(new.get_extra_info("ssl_object").getpeercert(True)) == ("imap.example.net", "renewed.example.net")
        assert _names(old.get_extra_info("ssl_object").getpeercert(True)) == ("imap.example.net",)
        for reader, writer in ((old_reader, old), (new_reader, new)):
            writer.write(b"still here\n")
            assert await reader.readline() == b"still here\n"
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(scenario)
