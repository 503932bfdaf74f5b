"""What is shown to whom, and what follows the primary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap.capabilities import BASIC, EVERYTHING, TABLE, Login, enabled, shown

EXCHANGE_SHOWS = "IMAP4 IMAP4rev1 AUTH=PLAIN UIDPLUS MOVE ID CHILDREN IDLE NAMESPACE LITERAL+"
EXCHANGE = tuple(EXCHANGE_SHOWS.split(" "))
DOVECOT_SHOWS = (
    "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS"
    " THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED"
    " I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE SNIPPET=FUZZY"
    " PREVIEW=FUZZY PREVIEW STATUS=SIZE SAVEDATE LITERAL+ NOTIFY SPECIAL-USE"
)
DOVECOT = tuple(DOVECOT_SHOWS.split(" "))


def test_a_stranger_on_a_plain_connection() -> None:
    assert shown(EVERYTHING - {"IMAP4rev2"}, logged_in=False, tls_possible=True, login_possible=False) == (
        "IMAP4rev1", "STARTTLS", "LOGINDISABLED", "SASL-IR", "LITERAL-", "ID", "ENABLE",
    )  # fmt: skip


def test_a_stranger_inside_tls() -> None:
    assert shown(BASIC, logged_in=False) == (
        "IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "LITERAL-", "ID", "ENABLE",
    )  # fmt: skip


def test_a_user_where_nothing_is_known_of_the_primary() -> None:
    words = shown(EVERYTHING, logged_in=True, append_limit=1000)
    after = {token for token, row in TABLE.items() if Login.AFTER in row.login}
    assert set(words) == after - {"APPENDLIMIT"} | {"APPENDLIMIT=1000"}
    assert not {"STARTTLS", "LITERAL-", "SASL-IR"} & set(words)


def test_what_exchange_shows_is_what_its_users_see() -> None:
    assert shown(EVERYTHING - {"IMAP4rev2"}, logged_in=True, primary=EXCHANGE) == (
        "IMAP4rev1", "LITERAL+", "ID", "ENABLE", "IDLE", "NAMESPACE", "CHILDREN", "UIDPLUS", "MOVE",
    )  # fmt: skip


def test_what_is_shown_for_dovecot() -> None:
    words = set(shown(EVERYTHING - {"IMAP4rev2"}, logged_in=True, primary=DOVECOT))
    assert {"SORT", "THREAD=REFERENCES", "SEARCHRES", "PREVIEW", "SPECIAL-USE", "CHILDREN"} <= words
    assert not words & {"QUOTA", "OBJECTID", "REPLACE", "UTF8=ACCEPT", "CONDSTORE", "QRESYNC", "CREATE-SPECIAL-USE"}


def test_a_primary_of_rev2_has_what_rev2_contains() -> None:
    words = shown(EVERYTHING, logged_in=True, primary=["imap4REV2"])
    assert {"IMAP4rev2", "MOVE", "ESEARCH", "LIST-STATUS", "SPECIAL-USE"} <= set(words)
    assert not {"SORT", "QUOTA"} & set(words)


@given(
    st.sets(st.sampled_from(sorted(EVERYTHING))),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.none() | st.sets(st.sampled_from([*EXCHANGE, *DOVECOT, "IMAP4rev2", "QUOTA"])),
)
def test_nothing_is_shown_that_is_not_offered(
    offers: set[str], logged_in: bool, tls: bool, login: bool, primary: set[str] | None
) -> None:
    words = shown(offers, logged_in=logged_in, tls_possible=tls, login_possible=login, primary=primary, append_limit=5)
    assert {word.removesuffix("=5") for word in words} <= offers
    assert len(words) == len(set(words))
    if logged_in or not login:
        assert not any(word.startswith("AUTH=") for word in words)
    if not tls:
        assert "STARTTLS" not in words


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), ()),
        (("UTF8=accept", "CONDSTORE", "X"), ("UTF8=ACCEPT",)),
        (("IMAP4REV2", "IMAP4rev2", "SORT"), ("IMAP4rev2",)),
    ],
)
def test_what_enable_switches_on(asked: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert enabled(asked, EVERYTHING) == expected
    assert enabled(asked, BASIC) == ()
