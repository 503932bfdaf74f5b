"""No section is passed over that could have the words; those that are plain and lack one are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap.plain import may_have

_PIECES = (b"Subject: ", b"word", b"WoRd", b"or", b"=", b"?", b"=?", b"\r\n", b" ", b"\xc3\xa4", b"d")
_SECTIONS = st.lists(st.lists(st.sampled_from(_PIECES), max_size=6).map(b"".join), max_size=8)


@given(_SECTIONS, st.lists(st.sampled_from((b"word", b"or", b"d", b"?")), max_size=3))
def test_it_says_what_a_look_at_each_says(sections: list[bytes], words: list[bytes]) -> None:
    assert may_have(words, sections) == [
        place
        for place, section in enumerate(sections)
        if not section.isascii() or b"=?" in section or all(word in section.lower() for word in words)
    ]
