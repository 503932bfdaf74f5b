"""XOAUTH2 and OAUTHBEARER at the IMAP door: on the standby, and passed to a Dovecot that judges tokens itself."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterator

import msgspec
import pytest

from relay.core.mode import Mode
from relay.primary.imap_raw import RawSettings
from relay.primary.settings import Endpoint, TlsMode
from relay.proto.imap.client import Continuation, Status
from relay.proto.sasl.credentials import Proof
from relay.serve.capabilities import OFFERS, before_login
from relay.serve.offer import TOKENS, Offer
from tests.peers import workdir
from tests.peers.certs import Pair
from tests.peers.dovecot import Dovecot, DovecotSettings
from tests.peers.issuer import Signer
from tests.peers.plugin import MakeDovecot
from tests.serve.client import Client
from tests.serve.conftest import BOB, Front, MakeFront


def xoauth2(token: bytes, user: str = BOB) -> str:
    return base64.b64encode(b"user=" + user.encode() + b"\x01auth=Bearer " + token + b"\x01\x01").decode()


def bearer(token: bytes, user: str = BOB) -> str:
    return base64.b64encode(b"n,a=" + user.encode() + b",\x01auth=Bearer " + token + b"\x01\x01").decode()


async def refused(client: Client, *pieces: str) -> tuple[bytes, Status]:
    """The error challenge and the tagged answer of a login by token that must fail."""
    client.send(b"x " + pieces[0].encode() + b"\r\n")
    for piece in pieces[1:]:
        assert isinstance(await client.event(), Continuation)
        client.send(piece.encode() + b"\r\n")
    challenge = await client.event()
    assert isinstance(challenge, Continuation), challenge
    client.send(b"AQ==\r\n")
    answer = await client.event()
    assert isinstance(answer, Status)
    return base64.b64decode(challenge.text), answer


def test_capabilities_name_the_mechanisms() -> None:
    assert b" AUTH=PLAIN AUTH=XOAUTH2 SASL-IR" in before_login(OFFERS, starttls=False, mechanisms=("PLAIN", "XOAUTH2"))
    assert b" STARTTLS LOGINDISABLED SASL-IR" in before_login(OFFERS, starttls=True, mechanisms=())


def test_an_offer_is_what_the_primary_showed_last() -> None:
    offer = Offer()
    shown: list[tuple[str, ...]] = [(), ("AUTH=PLAIN", "AUTH=XOAUTH2"), ("AUTH=OAUTHBEARER",)]
    found = []
    for capabilities in shown:
        offer.learn(capabilities)
        found.append(offer.tokens)
    assert found == [(), ("XOAUTH2",), ("OAUTHBEARER",)]


async def test_tokens_on_the_standby(make_front: MakeFront) -> None:
    front = await make_front(signed_tokens=True, token_refusal=b'{"status":"invalid_token","scope":"imap"}')
    client = await front.client()
    await client.ok("CAPABILITY")
    assert all(f"AUTH={name}" in repr(client.untagged) for name in TOKENS)
    for pieces in (
        (f"AUTHENTICATE XOAUTH2 {xoauth2(b'secret')}",),
        ("AUTHENTICATE XOAUTH2", xoauth2(b"secret")),
        ("authenticate oauthbearer", bearer(b"secret")),
    ):
        client = await front.client()
        assert (await client.command(*pieces)).status == "OK"
    assert {claimed.proof for claimed in front.logins.claimed} == {Proof.TOKEN}
    client = await front.client()
    told, answer = await refused(client, f"AUTHENTICATE OAUTHBEARER {bearer(b'wrong')}")
    assert msgspec.json.decode(told) == {"status": "invalid_token", "scope": "imap"}
    assert (answer.status, answer.code) == ("NO", "AUTHENTICATIONFAILED")
    _, answer = await refused(client, "AUTHENTICATE OAUTHBEARER", base64.b64encode(b"n,,\1auth=Bearer \1\1").decode())
    assert answer.code == "AUTHENTICATIONFAILED"
    assert (await client.command(f"AUTHENTICATE XOAUTH2 {xoauth2(b'x', 'nobody@x')}")).code == "UNAVAILABLE"
    await client.login()


async def test_tokens_of_many_kilobytes(make_front: MakeFront) -> None:
    front = await make_front(signed_tokens=True)
    client = await front.client()
    token = b"t" * 11_000
    client.send(f"a AUTHENTICATE XOAUTH2 {xoauth2(token)}\r\n".encode())
    assert isinstance(await client.event(), Continuation)
    assert front.logins.claimed[0].secret == token


async def test_tokens_are_not_taken_where_nobody_judges_them(front: Front) -> None:
    client = await front.client()
    await client.ok("CAPABILITY")
    assert "AUTH=LOGIN" in repr(client.untagged)
    assert "OAUTH" not in repr(client.untagged)
    assert (await client.command(f"AUTHENTICATE XOAUTH2 {xoauth2(b'secret')}")).code == "CANNOT"
    assert front.logins.tried == []


# --- a primary that judges tokens ---

_OAUTH = """
auth_mechanisms = plain xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {directory}/oauth2.conf.ext
}}
"""
_KEYS = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={directory}/
username_attribute = email
"""


@pytest.fixture
def signer() -> Signer:
    """The key that Dovecot believes."""
    return Signer("one")


@pytest.fixture
def oauth_dovecot(make_dovecot: MakeDovecot, server_pair: Pair, signer: Signer) -> Iterator[Dovecot]:
    """A Dovecot with local validation: keys are files, named by azp, algorithm and key."""
    directory = workdir.make("oa")
    keys = directory / "default" / "ES256"
    keys.mkdir(parents=True)
    (keys / "one").write_bytes(signer.pem)
    (directory / "oauth2.conf.ext").write_text(_KEYS.format(directory=directory))
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755)
    yield make_dovecot(DovecotSettings(certificate=server_pair, extra=_OAUTH.format(directory=directory)))
    workdir.remove(directory)


@pytest.mark.peers
async def test_tokens_go_to_the_primary_as_they_are(
    make_front: MakeFront, oauth_dovecot: Dovecot, signer: Signer
) -> None:
    raw = RawSettings(Endpoint("127.0.0.1", oauth_dovecot.imap_port, TlsMode.NONE))
    front = await make_front(primary=raw)
    front.board.all(Mode.NORMAL)
    assert await front.services.offer.look(raw, None)
    now = int(time.time())
    # Not of this second: Dovecot's clock may still show the last one, and a token of the future is refused.
    good = signer.sign({"email": BOB, "sub": BOB, "iat": now - 60, "exp": now + 600})
    expired = signer.sign({"email": BOB, "sub": BOB, "iat": now - 700, "exp": now - 600})
    for pieces in ((f"AUTHENTICATE XOAUTH2 {xoauth2(good)}",), ("AUTHENTICATE OAUTHBEARER", bearer(good))):
        client = await front.client()
        answer = await client.command(*pieces)
        assert answer.status == "OK", (answer, oauth_dovecot.logged())
        assert "SORT" in repr(answer.arguments)  # Dovecot's, not ours
        await client.ok("SELECT INBOX")
        async with asyncio.timeout(20):
            assert await front.logins.remembered.get() == (BOB, good)
    client = await front.client()
    told, answer = await refused(client, f"AUTHENTICATE XOAUTH2 {xoauth2(expired)}")
    assert b"status" in told
    assert answer.code == "AUTHENTICATIONFAILED"
    assert front.logins.refusals == 1
    front.board.all(Mode.STANDBY)  # what the primary showed holds on, for tokens that are remembered
    client = await front.client()
    assert (await client.command(f"AUTHENTICATE XOAUTH2 {xoauth2(b'secret')}")).status == "OK"
