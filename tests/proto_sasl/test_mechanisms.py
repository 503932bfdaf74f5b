"""Every mechanism, well and badly spoken."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.sasl.bearer import refusal
from relay.proto.sasl.credentials import Credentials, Proof
from relay.proto.sasl.mechanisms import LONGEST, MECHANISMS, Cancelled, Challenge, Exchange, Malformed, Step

XOAUTH2 = b"user=bob@example.org\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\x01\x01"
BEARER = b"n,a=bob@example.org,\x01host=mx.example.org\x01port=143\x01auth=Bearer abc.def-_~+/==\x01\x01"


def run(mechanism: str, *answers: bytes, initial: bool = False) -> Step:
    """The last step of an exchange."""
    exchange = Exchange(MECHANISMS[mechanism])
    waiting = [base64.b64encode(answer) for answer in answers]
    step = exchange.start(waiting.pop(0) if initial else None)
    while isinstance(step, Challenge) and waiting:
        step = exchange.answer(waiting.pop(0))
    return step


@pytest.mark.parametrize("initial", [True, False])
def test_plain(initial: bool) -> None:
    step = run("PLAIN", "\0bob@example.org\0pässword".encode(), initial=initial)
    assert step == Credentials("bob@example.org", "pässword".encode())
    assert isinstance(step, Credentials)
    assert not step.for_another


@pytest.mark.parametrize(("authzid", "another"), [("", False), ("bob", False), ("boss", True), ("Bob", True)])
def test_acting_for_another(authzid: str, another: bool) -> None:
    step = run("PLAIN", f"{authzid}\0bob\0secret".encode())
    assert isinstance(step, Credentials)
    assert step.for_another is another


def test_login_asks_twice_unless_the_name_comes_first() -> None:
    exchange = Exchange(MECHANISMS["LOGIN"])
    assert exchange.start(None) == Challenge(b"Username:")
    assert exchange.answer(base64.b64encode(b"bob")) == Challenge(b"Password:")
    assert exchange.answer(base64.b64encode(b"secret")) == Credentials("bob", b"secret", mechanism="LOGIN")
    assert run("LOGIN", b"bob", b"secret", initial=True) == Credentials("bob", b"secret", mechanism="LOGIN")
    assert Challenge(b"Username:").text == b"VXNlcm5hbWU6"


def test_xoauth2() -> None:
    step = run("XOAUTH2", XOAUTH2, initial=True)
    token = b"vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg=="
    assert step == Credentials("bob@example.org", token, proof=Proof.TOKEN, mechanism="XOAUTH2", message=XOAUTH2)


@pytest.mark.parametrize(
    ("name", "login"),
    [(b"a=bob", "bob"), (b"", ""), (b"a=b=2Co=3Db", "b,o=b"), ("a=bü".encode(), "bü")],
)
@pytest.mark.parametrize("flag", [b"n", b"y"])
def test_oauthbearer(name: bytes, login: str, flag: bytes) -> None:
    message = flag + b"," + name + b",\x01auth=bearer abc\x01\x01"
    step = run("OAUTHBEARER", message)
    assert step == Credentials(login, b"abc", proof=Proof.TOKEN, mechanism="OAUTHBEARER", message=message)


@pytest.mark.parametrize(
    ("mechanism", "answers"),
    [
        ("PLAIN", (b"",)),
        ("PLAIN", (b"\0bob",)),
        ("PLAIN", (b"\0bob\0a\0b",)),
        ("PLAIN", (b"\0\0secret",)),
        ("PLAIN", (b"\0bob\0",)),
        ("PLAIN", (b"\0bo\xff\0secret",)),
        ("PLAIN", (b"\0bo\r\nb\0secret",)),
        ("PLAIN", (b"\xff\0bob\0secret",)),
        ("PLAIN", (b"\0" + b"b" * 1001 + b"\0secret",)),
        ("PLAIN", (b"\0bob\0" + b"s" * 1025,)),
        ("LOGIN", (b"", b"secret")),
        ("LOGIN", (b"bob", b"")),
        ("LOGIN", (b"bob", b"sec\0ret")),
        ("XOAUTH2", (b"",)),
        ("XOAUTH2", (XOAUTH2[:-1],)),
        ("XOAUTH2", (XOAUTH2.replace(b"user", b"name"),)),
        ("XOAUTH2", (XOAUTH2.replace(b"Bearer", b"Basic"),)),
        ("XOAUTH2", (XOAUTH2.replace(b"vF", b"v F"),)),
        ("XOAUTH2", (b"user=a\x01user=b\x01auth=Bearer x\x01\x01",)),
        ("XOAUTH2", (XOAUTH2.replace(b"bob", b"b\rb"),)),
        ("XOAUTH2", (XOAUTH2.replace(b"bob", b"b\xffb"),)),
        ("XOAUTH2", (b"user=a\x01" + b"".join(b"k%s=v\x01" % bytes([65 + n]) for n in range(25)) + b"\x01",)),
        ("OAUTHBEARER", (b"",)),
        ("OAUTHBEARER", (XOAUTH2,)),
        ("OAUTHBEARER", (BEARER.replace(b"n,", b"p=tls-unique,"),)),
        ("OAUTHBEARER", (BEARER.replace(b"a=", b"b="),)),
        ("OAUTHBEARER", (BEARER.replace(b"bob", b"b=41"),)),
        ("OAUTHBEARER", (BEARER.replace(b"bob", b"b,b"),)),
        ("OAUTHBEARER", (BEARER.replace(b"port=143", b"port"),)),
        ("OAUTHBEARER", (BEARER.replace(b"143", b"\x00"),)),
    ],
)
def test_what_is_no_credentials(mechanism: str, answers: tuple[bytes, ...]) -> None:
    assert run(mechanism, *answers) == Malformed("Malformed credentials")


@pytest.mark.parametrize("mechanism", list(MECHANISMS))
def test_cancelled_too_long_and_not_base_64(mechanism: str) -> None:
    for text, step in (
        (b"*", Cancelled()),
        (b"no base 64!", Malformed("Not base 64")),
        (b"AAA", Malformed("Not base 64")),
        (b"A" * (LONGEST * 4 // 3 + 4), Malformed("Answer too long")),
    ):
        exchange = Exchange(MECHANISMS[mechanism])
        assert isinstance(exchange.start(None), Challenge)
        assert exchange.answer(text) == step


def test_empty_initial_response() -> None:
    assert Exchange(MECHANISMS["PLAIN"]).start(b"=") == Malformed("Malformed credentials")
    assert Exchange(MECHANISMS["LOGIN"]).start(b"=") == Challenge(b"Password:")


def test_a_token_of_many_kilobytes_fits() -> None:
    token = b"x" * (LONGEST - 200)
    step = run("XOAUTH2", b"user=bob\x01auth=Bearer " + token + b"\x01\x01")
    assert isinstance(step, Credentials)
    assert step.secret == token


def test_a_client_may_ask_with_an_empty_token_what_is_wanted() -> None:
    """RFC 7628 3.2.3"""
    step = run("OAUTHBEARER", b"n,,\x01auth=Bearer \x01\x01")
    assert isinstance(step, Credentials)
    assert (step.login, step.secret) == ("", b"")


def test_refusal_is_json() -> None:
    assert msgspec.json.decode(refusal()) == {"status": "invalid_token"}
    assert msgspec.json.decode(refusal(scopes=("mail", "imap"), discovery="https://x/y")) == {
        "status": "invalid_token",
        "scope": "mail imap",
        "openid-configuration": "https://x/y",
    }


def test_nothing_secret_is_printed() -> None:
    assert "secret" not in repr(Credentials("bob", b"secret"))


@given(st.sampled_from(sorted(MECHANISMS)), st.lists(st.binary(max_size=300), min_size=1, max_size=3), st.booleans())
def test_any_octets_end_in_a_step(mechanism: str, answers: list[bytes], initial: bool) -> None:
    step = run(mechanism, *answers, initial=initial)
    if isinstance(step, Credentials):
        assert step.login or step.proof is Proof.TOKEN
        assert step.login.isprintable() or not any(ord(char) < 32 for char in step.login)


@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=50))
def test_any_name_survives_oauthbearer(name: str) -> None:
    escaped = name.replace("=", "=3D").replace(",", "=2C")
    step = run("OAUTHBEARER", f"n,a={escaped},\x01auth=Bearer t\x01\x01".encode())
    assert isinstance(step, Credentials)
    assert step.login == name
