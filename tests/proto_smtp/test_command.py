"""Command lines: what is read, what is refused, and with which code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.envelope import BodyType
from relay.proto.smtp.command import (
    Chunk,
    Command,
    parse_bdat,
    parse_greeting,
    parse_line,
    parse_mail,
    parse_rcpt,
)
from relay.proto.smtp.parameters import CommandFault
from relay.proto.smtp.path import unquoted

ALL = frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "DSN"})


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"QUIT", "QUIT", ""),
        (b"quit  ", "QUIT", ""),
        (b"Mail FROM:<a@b>", "MAIL", "FROM:<a@b>"),
        ("RCPT TO:<bärbel@bücher.example>".encode(), "RCPT", "TO:<bärbel@bücher.example>"),
        (b"NOOP  some  words ", "NOOP", "some  words"),
    ],
)
def test_lines(line: bytes, verb: str, argument: str) -> None:
    assert parse_line(line) == Command(verb, argument)


@pytest.mark.parametrize(
    "line", [b"", b" ", b"\xff\xfe", b"MAIL\0", b"RSET\x07", b"M\tX", b"<a@b>", b"A" * 40, b"\x16\x03\x01"]
)
def test_lines_that_are_none(line: bytes) -> None:
    with pytest.raises(CommandFault) as caught:
        parse_line(line)
    assert caught.value.reply.code == 500


@given(st.binary(max_size=80))
def test_any_octets_are_a_command_or_a_fault(line: bytes) -> None:
    try:
        command = parse_line(line)
    except CommandFault:
        return
    for parse in (
        lambda a: parse_mail(a, ALL),
        lambda a: parse_rcpt(a, ALL, smtputf8=True),
        parse_bdat,
        parse_greeting,
    ):
        try:
            parse(command.argument)
        except CommandFault as caught:
            assert caught.reply.permanent


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("<>", ""),
        ("<a@example.org>", "a@example.org"),
        (" <a@example.org>", "a@example.org"),
        ("<A.b+c@Example.ORG>", "A.b+c@Example.ORG"),
        ("<@one.example,@two.example:a@example.org>", "a@example.org"),
        ('<"a b"@example.org>', '"a b"@example.org'),
        ('<"a\\"b@>c"@example.org>', '"a\\"b@>c"@example.org'),
        ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
        ("<a@[tag:stuff]>", "a@[tag:stuff]"),
        ("<a@example.org.>", "a@example.org."),
        ("<a..b.@docomo.example>", "a..b.@docomo.example"),
        ("<prvs=12ab=u@example.org>", "prvs=12ab=u@example.org"),
    ],
)
def test_reverse_paths(text: str, address: str) -> None:
    assert parse_mail("FROM:" + text, ALL).reverse_path == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a@example.org",
        "<a@example.org",
        "<a>",
        "<@example.org>",
        "<a@>",
        "<a@b@c>",
        "<a b@example.org>",
        '<"a@example.org>',
        "<a@-b.example>",
        "<a@b-.example>",
        "<a@b..example>",
        "<a@.example>",
        "<a@[300.1.1.1]>",
        "<a@[1.2.3]>",
        "<a@[IPv6:zz]>",
        "<a@[]>",
        "<a@[x]>",
        "<a@" + "b" * 300 + ">",
        "<" + "a" * 600 + "@b>",
        "<<a@b>>",
        '<"a"b@c>',
        "<a,b@c>",
        "<a@b,c>",
        "<@:a@b>",
    ],
)
def test_what_is_no_path(text: str) -> None:
    for parse in (lambda: parse_mail("FROM:" + text, ALL), lambda: parse_rcpt("TO:" + text, ALL, smtputf8=False)):
        with pytest.raises(CommandFault) as caught:
            parse()
        assert caught.value.reply.code in {501, 553}
        assert (caught.value.reply.enhanced or "").startswith("5.")


def test_postmaster_needs_no_domain_and_the_null_path_is_no_recipient() -> None:
    assert parse_rcpt("TO:<Postmaster>", ALL, smtputf8=False).address == "Postmaster"
    for argument in ("TO:<>", "TO:<postmaster@>", "FROM:<a@b>"):
        with pytest.raises(CommandFault):
            parse_rcpt(argument, ALL, smtputf8=False)
    with pytest.raises(CommandFault):
        parse_mail("FROM:<postmaster>", ALL)


def test_parameters_keep_their_case() -> None:
    mail = parse_mail("from:<a@b> SIZE=100 body=8bitmime SMTPUTF8 RET=hdrs ENVID=QqZ+2B314", ALL)
    assert (mail.size, mail.body, mail.smtputf8, mail.ret) == (100, BodyType.EIGHT_BIT, True, "HDRS")
    assert mail.envid == "QqZ+2B314"
    rcpt = parse_rcpt("TO:<a@b> NOTIFY=success,Failure ORCPT=rfc822;Bob+2Bx@Example.org", ALL, smtputf8=False)
    assert rcpt.notify == ("SUCCESS", "FAILURE")
    assert rcpt.orcpt == "rfc822;Bob+2Bx@Example.org"


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("FROM:<a@b> SIZE=1 SIZE=2", 501),
        ("FROM:<a@b> size=1 SIZE=1", 501),
        ("FROM:<a@b> SIZE", 501),
        ("FROM:<a@b> SIZE=x", 501),
        ("FROM:<a@b> SIZE=-1", 501),
        ("FROM:<a@b> SIZE=" + "9" * 21, 501),
        ("FROM:<a@b> BODY=BINARYMIME", 501),
        ("FROM:<a@b> BODY=9BIT", 501),
        ("FROM:<a@b> SMTPUTF8=1", 501),
        ("FROM:<a@b> RET=ALL", 501),
        ("FROM:<a@b> ENVID=a+b", 501),
        ("FROM:<a@b> =x", 501),
        ("FROM:<a@b>SIZE=1", 501),
        ("FROM:<a@b> X-FOO=1", 555),
        ("FROM:<a@b> NOTIFY=NEVER", 555),
        ("FROM:<a@b> AUTH=<>", 555),
        ("FROM:<a@b> " + "A=1 " * 30, 501),
        ("FROM:<ä@b>", 553),
    ],
)
def test_bad_mail_parameters(argument: str, code: int) -> None:
    with pytest.raises(CommandFault) as caught:
        parse_mail(argument, ALL)
    assert caught.value.reply.code == code


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("TO:<a@b> NOTIFY=NEVER,SUCCESS", 501),
        ("TO:<a@b> NOTIFY=SUCCESS,SUCCESS", 501),
        ("TO:<a@b> NOTIFY=", 501),
        ("TO:<a@b> ORCPT=rfc822", 501),
        ("TO:<a@b> ORCPT=rfc822;a+b", 501),
        ("TO:<a@b> SIZE=1", 555),
        ("TO:<ä@b>", 553),
    ],
)
def test_bad_rcpt_parameters(argument: str, code: int) -> None:
    with pytest.raises(CommandFault) as caught:
        parse_rcpt(argument, ALL, smtputf8=False)
    assert caught.value.reply.code == code


def test_after_helo_no_parameter_is_known() -> None:
    with pytest.raises(CommandFault) as caught:
        parse_mail("FROM:<a@b> SIZE=1", frozenset())
    assert caught.value.reply.code == 555


def test_bdat() -> None:
    assert parse_bdat("1000") == Chunk(1000, last=False)
    assert parse_bdat("0 last") == Chunk(0, last=True)
    for argument in ("", "LAST", "-1", "1 LAST LAST", "1 FIRST", "9" * 21, "1LAST", "١"):
        with pytest.raises(CommandFault):
            parse_bdat(argument)


def test_quotes_carry_no_meaning() -> None:
    assert unquoted('"Joe"') == "Joe"
    assert unquoted('"a\\"b"') == 'a"b'
    assert unquoted("joe") == "joe"
    assert unquoted('"') == '"'
