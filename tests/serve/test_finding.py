"""What SEARCH leaves out at a glance is never what a careful look would have found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import search as keys
from relay.proto.imap import text
from relay.proto.imap.flags import System
from relay.serve.finding import _Needs

_PIECES = (b"Report", b"mArch", b" ", b"\r\n ", b"=?utf-8?q?m=C3=A4rz?=", b"\xc3\xa4", b"Subject: ", b"\r\n", b"\t")


@given(
    st.lists(st.sampled_from(_PIECES), max_size=8),
    st.lists(st.sampled_from(("report", "march", " ", "märz", "repo", "ä", "x")), max_size=3),
)
def test_an_excluded_header_does_not_match(pieces: list[bytes], wanted: list[str]) -> None:
    header = b"Subject: " + b"".join(pieces) + b"\r\n\r\n"
    key = keys.HeaderHas("subject", "".join(wanted))
    found = any(key.text in value.casefold() for value in text.fields(header).get("subject", []))
    assert not (found and not _Needs(key).may_meet([header]))
    assert list(_Needs(keys.Not(key)).may_meet([header])) == [0]
    assert list(_Needs(keys.AnyOf(key, keys.All(()))).may_meet([header])) == [0]


def test_most_headers_are_left_out_at_a_glance() -> None:
    key = keys.All((keys.HasFlags(System.SEEN), keys.HeaderHas("subject", "march report")))
    plain, folded = b"Subject: report of May\r\n\r\n", b"Subject: March\r\n Report\r\n\r\n"
    assert list(_Needs(key).may_meet([plain, folded, plain, None])) == [1, 3]
