"""DKIM: what was received verifies, by dkimpy and through the real way out."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from relay.core.clock import ManualClock
from relay.core.errors import ConfigFault
from relay.vault.signing import SigningKey
from relay.world.dkim_signer import DkimKey, Signed, Signer
from relay.world.wayout import published_keys
from tests.primary.fake import FakeSmtp
from tests.world.site import Letter, site
from tests.world.verifying import ED25519, KEYS, RSA, pem, verifies

MESSAGE = (
    b"Received: from x\r\nFrom: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nTo: a@example.com,\r\n\tb@example.com\r\n"
    b"Subject:  two   blanks \r\n\r\n first  line \t\r\n\r\nlast\r\n\r\n\r\n"
)


def sign(message: bytes, *, keys: tuple[DkimKey, ...] = KEYS, block: int = 1 << 20) -> Signed:
    signing = Signer(keys, ManualClock(1_700_000_000.0)).begin()
    for at in range(0, len(message), block):
        signing.feed(message[at : at + block])
    return signing.finish()


def test_every_key_of_the_domain_signs_and_dkimpy_verifies() -> None:
    signed = sign(MESSAGE)
    assert signed.domain == "example.org"
    whole = signed.fields + MESSAGE
    assert [verifies(whole, index) for index in (0, 1)] == [True, True]
    assert b"a=rsa-sha256" in signed.fields
    assert b"a=ed25519-sha256" in signed.fields
    assert b"t=1700000000" in signed.fields
    assert all(len(line) <= 998 for line in signed.fields.split(b"\r\n"))


@pytest.mark.parametrize("block", [1, 7, 100])
def test_it_does_not_matter_how_the_message_is_cut(block: int) -> None:
    assert sign(MESSAGE, block=block, keys=KEYS[1:]) == sign(MESSAGE, keys=KEYS[1:])


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.replace(b"last", b"lost"),
        lambda m: m.replace(b"two   blanks", b"three"),
        lambda m: b"From: somebody@else.example\r\n" + m,
        lambda m: m.replace(b"joerg@", b"hans@"),
    ],
)
def test_a_change_is_seen(change: Callable[[bytes], bytes]) -> None:
    signed = sign(MESSAGE)
    changed = change(signed.fields + MESSAGE)
    assert [verifies(changed, index) for index in (0, 1)] == [False, False]


def test_what_relaxed_forgives_is_forgiven() -> None:
    signed = sign(MESSAGE)
    assert verifies(signed.fields + MESSAGE.replace(b"two   blanks ", b"two blanks") + b"\r\n")


@pytest.mark.parametrize(
    ("author", "domain"),
    [
        (b"a@example.org", "example.org"),
        (b"A <a@Sub.Example.ORG>", "sub.example.org"),
        (b"a@deep.sub.example.org", "sub.example.org"),
        (b"a@other.example.org", "example.org"),
        (b"a@notexample.org", ""),
        (b"a@org", ""),
        (b"a@example.org, b@example.org", ""),
        (b"undisclosed:;", ""),
        (b"", ""),
    ],
)
def test_the_domain_of_from_chooses_the_key(author: bytes, domain: str) -> None:
    signed = sign(b"From: " + author + b"\r\n\r\nx\r\n")
    assert signed.domain == domain
    assert bool(signed.fields) == bool(domain)


@pytest.mark.parametrize(
    "message",
    [
        b"Subject: x\r\n\r\nx\r\n",
        b"From: a@example.org\r\nFrom: a@example.org\r\n\r\nx\r\n",
        b" folded\r\nFrom: a@example.org\r\n\r\nx\r\n",
        b"From: a@example.org\r\nno colon here\r\n\r\nx\r\n",
        b"From: a@example.org\r\n" + b"X: y\r\n" * 100_000 + b"\r\nx\r\n",
        b"",
    ],
)
def test_what_cannot_be_signed_goes_unsigned(message: bytes) -> None:
    assert sign(message) == Signed()


def test_the_records_to_publish() -> None:
    names = dict(published_keys(KEYS))
    assert names["r1._domainkey.example.org"].startswith("v=DKIM1; k=rsa; p=MII")
    assert names["e1._domainkey.example.org"].startswith("v=DKIM1; k=ed25519; p=")


def test_key_files() -> None:
    traditional = SigningKey.read(pem(RSA, serialization.PrivateFormat.TraditionalOpenSSL), "k")
    assert traditional.public == KEYS[0].key.public
    assert SigningKey.read(pem(ED25519), "k").public == KEYS[1].key.public
    weak = rsa.generate_private_key(65537, 1024)
    assert SigningKey.read(pem(weak), "k").algorithm == "rsa-sha256"
    for bad in (b"", b"-----BEGIN nonsense", base64.b64encode(b"short"), pem(ec.generate_private_key(ec.SECP256R1()))):
        with pytest.raises(ConfigFault, match=r"^world\.dkim: "):
            SigningKey.read(bad, "world.dkim")


@pytest.mark.parametrize("size", [10, 600_000])
async def test_what_a_server_received_verifies(size: int) -> None:
    body = b"".join(b".%d  line \r\n" % n for n in range(size // 10))
    async with FakeSmtp() as server, site({("example.com", "A"): ["127.0.0.1"]}, server.port, keys=KEYS) as s:
        letter = Letter(b"From: user@example.org\r\nSubject: x\r\n\r\n" + body, "one@example.com")
        assert [reply.code for reply in await s.replies(letter)] == [250]
    received = server.taken[0].content
    assert received.startswith(b"Received: ")
    assert [verifies(received, index) for index in (0, 1)] == [True, True]
