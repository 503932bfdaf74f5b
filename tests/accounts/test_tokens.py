"""Keys that outlive their issuer's outage, and logins by token: rotation, restarts, other workers, revocation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.accounts.issuer import Issuer
from relay.accounts.jwks import Rejected, Signed, UnknownKey
from relay.accounts.login import LoginSettings, Reason, Verdict
from relay.accounts.oauth import OAuthSettings
from relay.accounts.tokens import SETTING, Tokens
from relay.accounts.users import Users
from relay.core.errors import NotNow
from relay.proto.sasl.credentials import Credentials, Proof
from relay.store.records import Change, ChangeKind
from tests.accounts.conftest import World
from tests.peers.certs import Authority, Pair, server_context
from tests.peers.issuer import AUDIENCE, Signer, TestIssuer, answer, issuer, key_set

CLIENT = "192.0.2.7"
HOUR = 3_600.0
BOB = "bob@example.org"


@pytest.fixture
async def idp() -> AsyncIterator[TestIssuer]:
    """An identity provider that is up."""
    async with issuer() as made:
        yield made


def settings(idp: TestIssuer, **changes: Any) -> OAuthSettings:
    return msgspec.structs.replace(OAuthSettings(idp.url, (AUDIENCE,), timeout=20.0), **changes)


def worker(world: World, chosen: OAuthSettings) -> Tokens:
    """Tokens as another process would have them."""
    return Tokens(Issuer(chosen), world.store, world.vault, world.clock, chosen)


def token(login: str, secret: bytes) -> Credentials:
    """A claim by token."""
    return Credentials(login, secret, proof=Proof.TOKEN, mechanism="XOAUTH2")


def bobs(world: World, idp: TestIssuer, **claims: Any) -> bytes:
    return idp.token(BOB, now=world.clock.now(), **claims)


# --- keys ---


async def test_keys_are_found_by_discovery_and_kept_for_the_outage(world: World, idp: TestIssuer) -> None:
    tokens = worker(world, settings(idp))
    assert await tokens.judge(bobs(world, idp)) == Signed(BOB, world.clock.now())
    assert idp.asked == ["/.well-known/openid-configuration", "/keys"]
    assert isinstance(await tokens.judge(bobs(world, idp)), Signed)
    assert len(idp.asked) == 2
    idp.down = True
    world.clock.advance(10 * HOUR)
    restarted = worker(world, settings(idp))
    assert isinstance(await restarted.judge(bobs(world, idp)), Signed)
    assert len(idp.asked) == 2
    world.clock.advance(30 * 24 * HOUR)
    assert await restarted.judge(bobs(world, idp)) == UnknownKey()


async def test_a_rotated_key_is_fetched_once_for_all_who_wait(world: World, idp: TestIssuer) -> None:
    tokens = worker(world, settings(idp, jwks_url=f"{idp.url}/keys"))
    await tokens.judge(bobs(world, idp))
    old = bobs(world, idp)
    idp.rotate("two")
    world.clock.advance(61)
    fresh = bobs(world, idp)
    verdicts = await asyncio.gather(*(tokens.judge(fresh) for _ in range(20)))
    assert all(isinstance(one, Signed) for one in verdicts)
    assert idp.asked == ["/keys"] * 2
    assert await tokens.judge(old) == UnknownKey()


async def test_unknown_keys_do_not_make_us_a_weapon(world: World, idp: TestIssuer) -> None:
    tokens = worker(world, settings(idp, jwks_url=f"{idp.url}/keys"))
    await tokens.judge(bobs(world, idp))
    stranger = Signer("stranger")
    claims = {"iss": idp.url, "aud": AUDIENCE, "exp": world.clock.now() + HOUR, "email": BOB}
    for n in range(50):
        verdict = await tokens.judge(stranger.sign(claims, {"kid": f"k{n}"}))
        assert verdict == UnknownKey()
    assert len(idp.asked) == 1
    for _ in range(3):
        world.clock.advance(61)
        await tokens.judge(stranger.sign(claims))
    assert len(idp.asked) == 4


async def test_what_is_no_key_set_does_not_replace_one(world: World, idp: TestIssuer) -> None:
    tokens = worker(world, settings(idp, jwks_url=f"{idp.url}/keys"))
    good = bobs(world, idp)
    assert isinstance(await tokens.judge(good), Signed)
    other = Signer("other").sign({"iss": idp.url})
    for bad in (
        answer(b"<html>we are sorry</html>"),
        answer(b'{"keys": []}'),
        answer(key_set(*idp.signers), "500 Oops"),
        answer(b"", "302 Found", "Location: http://127.0.0.1:1/"),
        answer(b"x" * 300_000),
        answer(b"x", "200 OK", "Content-Encoding: gzip"),
        b"SSH-2.0-x\r\n",
    ):
        idp.answers["/keys"] = bad
        world.clock.advance(61)
        assert await tokens.judge(other) == UnknownKey()
        assert isinstance(await tokens.judge(good), Signed)


@pytest.mark.parametrize(
    "description",
    [
        {"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"},
        {"issuer": None},
        {"issuer": "", "jwks_uri": "http://evil.example/keys"},
    ],
)
async def test_descriptions_that_are_not_believed(idp: TestIssuer, description: dict[str, Any]) -> None:
    if description.get("issuer") == "":
        description = description | {"issuer": idp.url}
    idp.answers["/.well-known/openid-configuration"] = answer(json.dumps(description).encode())
    with pytest.raises(NotNow):
        await Issuer(settings(idp)).fetch()
    assert "/keys" not in idp.asked


async def test_an_issuer_that_hangs_has_a_deadline(world: World) -> None:
    done = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        done.set()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(NotNow, match="in time"):
        await Issuer(OAuthSettings(url, (AUDIENCE,), timeout=2.0)).fetch()
    async with asyncio.timeout(20):
        await done.wait()
    server.close()
    await server.wait_closed()


async def test_an_issuer_is_known_by_its_certificate(authority: Authority, server_pair: Pair) -> None:
    async with issuer(server_context(server_pair)) as idp:
        found = await Issuer(settings(idp, ca_file=str(authority.ca))).fetch()
        assert found == key_set(*idp.signers)
        asked = len(idp.asked)
        with pytest.raises(NotNow, match="cannot be asked"):
            await Issuer(settings(idp)).fetch()
        assert len(idp.asked) == asked


async def test_keys_from_a_file(world: World, idp: TestIssuer, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    chosen = settings(idp, jwks_file=file)
    tokens = worker(world, chosen)
    assert await tokens.judge(bobs(world, idp)) == UnknownKey()
    file.write_bytes(key_set(*idp.signers))
    world.clock.advance(61)
    assert isinstance(await tokens.judge(bobs(world, idp)), Signed)
    assert idp.asked == []


async def test_another_worker_hears_of_new_keys(world: World, idp: TestIssuer) -> None:
    here, there = worker(world, settings(idp)), worker(world, settings(idp))
    await here.judge(bobs(world, idp))
    await there.judge(bobs(world, idp))
    assert len(idp.asked) == 2
    idp.rotate("two")
    world.clock.advance(61)
    fresh = bobs(world, idp)
    await here.judge(fresh)
    idp.down = True
    there.heed(Change(1, world.clock.now(), ChangeKind.SETTING, new=SETTING))
    assert isinstance(await there.judge(fresh), Signed)


async def test_keys_of_another_issuer_are_not_taken_over(world: World, idp: TestIssuer) -> None:
    await worker(world, settings(idp)).judge(bobs(world, idp))
    idp.down = True
    moved = worker(world, settings(idp, jwks_url=f"{idp.url}/elsewhere"))
    assert await moved.judge(bobs(world, idp)) == UnknownKey()


async def test_keys_are_fetched_ahead(world: World, idp: TestIssuer) -> None:
    tokens = worker(world, settings(idp))
    running = asyncio.create_task(tokens.run())
    async with asyncio.timeout(20):
        while await world.store.setting(SETTING) is None:
            pass
    idp.rotate("two")
    first = await world.store.setting(SETTING)
    world.clock.advance(HOUR)
    tokens.wake()
    async with asyncio.timeout(20):
        while await world.store.setting(SETTING) == first:
            pass
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    idp.down = True
    assert isinstance(await worker(world, settings(idp)).judge(bobs(world, idp)), Signed)


async def test_kept_keys_are_sealed(world: World, idp: TestIssuer) -> None:
    await worker(world, settings(idp)).judge(bobs(world, idp))
    kept = await world.store.setting(SETTING)
    assert kept is not None
    assert b"kty" not in kept
    await world.store.put_setting(SETTING, kept[:-1] + bytes([kept[-1] ^ 1]), now=world.clock.now())
    idp.down = True
    assert await worker(world, settings(idp)).judge(bobs(world, idp)) == UnknownKey()


# --- logins ---


async def test_a_signed_token_logs_in_whoever_it_names(world: World, idp: TestIssuer) -> None:
    logins = world.logins(tokens=worker(world, settings(idp)))
    for login in ("Bob@example.org", "bob", "sales", ""):
        result = await logins.check(token(login, bobs(world, idp)), client=CLIENT)
        assert (result.ok, result.address, result.reason) == (True, BOB, Reason.SIGNED)
    result = await logins.check(token("carol", bobs(world, idp)), client=CLIENT)
    assert (result.verdict, result.address) == (Verdict.REFUSED, None)


async def test_a_bad_token_is_refused_and_counts(world: World, idp: TestIssuer) -> None:
    logins = world.logins(tokens=worker(world, settings(idp)))
    for claims in ({"aud": "other"}, {"life": -HOUR}, {"email": None}):
        result = await logins.check(token("bob", bobs(world, idp, **claims)), client=CLIENT)
        assert result.verdict is Verdict.REFUSED
    assert len(world.slept) == 3


async def test_tokens_are_not_refused_while_nobody_can_tell(world: World, idp: TestIssuer) -> None:
    idp.down = True
    logins = world.logins(tokens=worker(world, settings(idp)))
    for n in range(30):
        result = await logins.check(token("bob", bobs(world, idp, jti=str(n))), client=CLIENT)
        assert result.verdict is Verdict.UNAVAILABLE
    assert world.slept == []
    assert await logins.admits("bob", client=CLIENT)


async def test_a_revoked_user_needs_a_token_from_after_that(world: World, idp: TestIssuer) -> None:
    logins = world.logins(tokens=worker(world, settings(idp)))
    old = bobs(world, idp)
    assert (await logins.check(token("bob", old), client=CLIENT)).ok
    world.clock.advance(1)
    await Users(world.credentials, world.naming, world.clock).revoke("bob")
    for claimed in (old, bobs(world, idp, iat=None)):
        assert (await logins.check(token("bob", claimed), client=CLIENT)).reason is Reason.REVOKED
    world.clock.advance(1)
    assert (await logins.check(token("bob", bobs(world, idp)), client=CLIENT)).ok


async def test_an_opaque_token_is_remembered_for_its_short_life(world: World) -> None:
    here, there = world.logins(), world.logins()
    await here.remember(token("bob", b"opaque-1"), client=CLIENT)
    await there.remember(token("bob", b"opaque-2"), client=CLIENT)
    for secret in (b"opaque-1", b"opaque-2"):
        result = await here.check(token("bob", secret), client=CLIENT)
        assert (result.address, result.reason) == (BOB, Reason.REMEMBERED)
    assert (await here.check(token("carol", b"opaque-1"), client=CLIENT)).verdict is Verdict.UNAVAILABLE
    assert not (await here.check(Credentials("bob", b"opaque-1"), client=CLIENT)).ok  # no password
    world.clock.advance(HOUR)
    assert not (await here.check(token("bob", b"opaque-1"), client=CLIENT)).ok


async def test_a_token_that_says_when_it_ends_is_not_remembered_longer(world: World) -> None:
    logins = world.logins()
    short = Signer("k").sign({"exp": world.clock.now() + 60, "iss": "https://elsewhere.example"})
    await logins.remember(token("bob", short), client=CLIENT)
    assert (await logins.check(token("bob", short), client=CLIENT)).ok
    world.clock.advance(60)
    assert not (await logins.check(token("bob", short), client=CLIENT)).ok


async def test_tokens_are_forgotten_when_refused_revoked_or_too_many(world: World) -> None:
    logins = world.logins()
    await logins.remember(token("bob", b"one"), client=CLIENT)
    await logins.refused(token("bob", b"one"), client=CLIENT)
    assert not (await logins.check(token("bob", b"one"), client=CLIENT)).ok
    for n in range(20):
        await logins.remember(token("bob", b"t%d" % n), client=CLIENT)
    good = [(await logins.check(token("bob", b"t%d" % n), client=CLIENT)).ok for n in range(20)]
    assert good == [False] * 4 + [True] * 16
    await Users(world.credentials, world.naming, world.clock).revoke("bob")
    assert not (await logins.check(token("bob", b"t19"), client=CLIENT)).ok


async def test_tokens_need_not_be_remembered(world: World) -> None:
    for chosen in (LoginSettings(remember=False), LoginSettings(token_max_age=0.0)):
        logins = world.logins(chosen)
        await logins.remember(token("bob", b"opaque"), client=CLIENT)
        await logins.remember(token("", b"opaque"), client=CLIENT)
    assert await world.store.credentials() == []


async def test_a_token_of_the_issuer_is_rejected_even_when_it_was_remembered(world: World, idp: TestIssuer) -> None:
    tokens = worker(world, settings(idp))
    logins = world.logins(tokens=tokens)
    secret = bobs(world, idp, aud="other")
    await logins.remember(token("bob", secret), client=CLIENT)
    assert await tokens.judge(secret) == Rejected("claims")
    assert (await logins.check(token("bob", secret), client=CLIENT)).verdict is Verdict.REFUSED


async def test_no_token_is_readable_at_rest(world: World) -> None:
    await world.logins().remember(token("marked-name", b"marked-token"), client=CLIENT)
    for file in world.path.iterdir():
        if file.name != "relay.key":
            assert b"marked" not in file.read_bytes()
