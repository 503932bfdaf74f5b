"""Real-shaped mail, made the same on every run: what clients, lists, gateways and broken scripts send.

`corpus()` gives named messages with CRLF line ends: the hand-made ones, each for one rule of the format that mail
keeps or breaks, then `COMPOSED` ones put together by a seeded generator.
"""

# ruff: noqa: E501  # a message reads best unbroken

from __future__ import annotations

import base64
import random
import textwrap
from typing import Final

COMPOSED: Final = 120


def _crlf(text: str) -> bytes:
    lines = textwrap.dedent(text).lstrip("\n").split("\n")
    return "\r\n".join(lines).encode("latin-1")


_HEAD: Final = "From: Ann <ann@example.org>\r\nTo: Bob <bob@example.com>\r\nDate: Mon, 2 Nov 2026 10:11:12 +0100\r\n"


def _with(fields: str, body: str) -> bytes:
    return (_HEAD + fields.replace("\n", "\r\n") + "\r\n" + body.replace("\n", "\r\n")).encode("latin-1")


def _mixed(body: str, *, boundary: str = "b1", kind: str = "mixed") -> bytes:
    return _with(f'MIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary="{boundary}"\n', body)


ADDRESS_FIELDS: Final[tuple[str, ...]] = (
    "ann@example.org",
    "Ann <ann@example.org>",
    '"Ann, of Example" <ann@example.org>',
    "ann@example.org (Ann Other)",
    "Ann (work) <ann@example.org> (really)",
    "a@b, c@d , e@f",
    "undisclosed-recipients:;",
    "Team: ann@example.org, Bob <bob@example.com>;",
    "Team: ann@example.org, Bob <bob@example.com>; , carl@example.net",
    "Empty group: ;, x@y",
    '"quoted local"@example.org',
    '"with\\"quote"@example.org',
    "ann . other @ example . org",
    "<ann@example.org>",
    "<>",
    "Ann <>",
    "Ann",
    "Ann Other",
    '"Ann Other"',
    "Ann <ann>",
    "ann@",
    "@example.org",
    "Ann <ann@example.org",
    "Ann <@relay.example,@other.example:ann@example.org>",
    "Ann <@relay.example ann@example.org>",
    "ann@[192.0.2.1]",
    "ann@[IPv6:2001:db8::1]",
    "ann@[broken",
    "=?utf-8?Q?J=C3=BCrgen?= <j@example.org>",
    "=?utf-8?B?w5w=?= =?utf-8?B?w5w=?= <j@example.org>",
    "J\xfcrgen <j@example.org>",
    "j\xfcrgen@example.org",
    "Ann   Many    Blanks <ann@example.org>",
    "a@b,, c@d",
    ", a@b",
    "a@b,",
    "a@b c@d",
    "a@b; c@d",
    "Ann O'Hara <ann@example.org>",
    "Ann J. Other <ann@example.org>",
    "Dr. Ann <ann@example.org>",
    ".ann@example.org",
    "ann.@example.org",
    "a..b@example.org",
    "(only a comment)",
    "(unclosed comment ann@example.org",
    '"unclosed quote ann@example.org',
    "((((((((((nested)))))))))) a@b",
    "mailto:ann@example.org",
    "ann at example dot org",
    "MAILER-DAEMON",
    "a@b (first) (second)",
    "a@b (back\\)slash)",
    "Ann\tTab <ann@example.org>",
    "Ann <ann@example.org>,\r\n\tBob <bob@example.com>,\r\n Carl <carl@example.net>",
    "",
    " ",
    "<ann@example.org> trailing words",
    "Ann <ann@example.org> <other@example.org>",
    "group: nested: a@b;;",
    "Ann <ann@example.org>;",
    "Ann: <ann@example.org>",
    "[Bracket] <a@b>",
    "Ann [list] <a@b>",
    "Ann @ Work <a@b>",
    "a@example.;org",
    "a@example.",
    "a@example..org",
    "a@.example",
    "a.@b",
    "a. b@c",
    "Ann <a.@b>",
    "Ann <a@b.>",
    "Ann <@r.:a@b>",
)

TYPES: Final[tuple[str, ...]] = (
    "Content-Type: text/plain",
    "Content-Type: TEXT/Plain; CHARSET=UTF-8",
    "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes",
    'Content-Type: text/plain; charset="utf-8"',
    "Content-Type: text/plain; charset='utf-8'",
    "Content-Type: text / plain ; charset = utf-8",
    "Content-Type: text/plain (a comment); charset=utf-8 (another)",
    "Content-Type: text",
    "Content-Type: text/",
    "Content-Type: /plain",
    "Content-Type:",
    "Content-Type: ;",
    "Content-Type: a(pplication/pdf; name=x",
    "Content-Type: text/plain (open; name=x",
    "Content-Type: text/(comment)plain",
    "Content-Type: text/plain/x; name=x",
    "Content-Type: multipart/;boundary=b1",
    "Content-Type: (c) text/plain",
    "Content-Type: plain text; charset=utf-8",
    "Content-Type: text/plain charset=utf-8",
    "Content-Type: text/plain; charset",
    "Content-Type: text/plain; charset=",
    "Content-Type: text/plain;; charset=utf-8",
    "Content-Type: text/plain; =utf-8; name=x",
    'Content-Type: text/plain; name="unclosed',
    'Content-Type: text/plain; name="with \\"quotes\\" and \\\\"',
    'Content-Type: text/plain; name="folded\r\n name.txt"',
    "Content-Type: text/plain;\r\n\tcharset=utf-8;\r\n\tname=a.txt",
    "Content-Type: text/plain; name==?utf-8?B?w5w=?=; x=y",
    'Content-Type: text/plain; name="=?utf-8?B?w5w=?="',
    "Content-Type: text/plain; name=J\xfcrgen.txt",
    "Content-Type: application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20;\r\n"
    ' title*1*=%2A%2A%2Afun%2A%2A%2A%20;\r\n title*2="isn\'t it!"',
    "Content-Type: application/pdf; name*=utf-8''%C3%9Cbersicht.pdf",
    'Content-Type: application/pdf; name*0="long-"; name*1="name.pdf"',
    'Content-Type: application/pdf; name*1="b"; name*0="a"',
    'Content-Type: application/pdf; name*0="a"; name*2="c"',
    "Content-Type: application/pdf; name*0=50%; name*1*=%20x",
    "Content-Type: application/pdf; NAME*0=a; name*1=b",
    "Content-Type: application/pdf; name*x=a",
    "Content-Type: application/octet-stream\r\nContent-Type: text/html",
    "Content-Type: multipart",
    "Content-Type: multipart/",
    "Content-Type: multipart/mixed",
    "Content-Type: message/rfc822",
    "Content-Type: message/delivery-status",
    "Content-Type: message/partial; number=1; total=2; id=x",
    "Content-Type: message/external-body; access-type=anon-ftp",
    "Content-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <a@b>\r\n"
    "Content-Description: A picture\r\n of something\r\nContent-Disposition: inline; filename=a.png\r\n"
    "Content-Language: de, en\r\nContent-Location: http://example.org/a\r\n\t.png\r\nContent-MD5: Q2hlY2s=",
    "Content-Transfer-Encoding: 8bit",
    "Content-Transfer-Encoding: quoted-printable (why not)",
    "Content-Transfer-Encoding: 7 bit",
    "Content-Transfer-Encoding:",
    "Content-Transfer-Encoding: 7bit;",
    "Content-Disposition: attachment",
    "Content-Disposition: attachment; filename",
    'Content-Disposition: attachment; filename="a;b.txt"; size=12',
    "Content-Disposition: attachment\r\nContent-Disposition: inline; filename=b",
    "Content-Disposition: attachment; filename=a\r\nContent-Disposition: inline; filename=b",
    "Content-Disposition:",
    "Content-Disposition: attachment; filename*0*=UTF-8''%41; filename*1=b; filename*2*=%43",
    "Content-Language: en",
    "Content-Language: en-GB,de",
    "Content-Language: ,",
    "Content-Language:",
    "Content-Description: 8-bit \xfc text",
    "Content-Description:",
    "Content-Description: =?utf-8?Q?=C3=9C?=",
    'Content-Description: with "quotes"',
    "Content-ID: <a@b> (comment)",
    "content-id : <a@b>",
    "CONTENT-ID:<a@b>",
    "Content-ID: <first@b>\r\nContent-ID: <second@b>",
)

SUBJECTS: Final[tuple[str, ...]] = (
    "plain", "", " ", "  leading", "trailing  ", "two  blanks", "tab\there", "=?utf-8?Q?J=C3=BCrgen?=",
    "=?utf-8?B?w5w=?=\r\n =?utf-8?B?w5w=?=", 'with "quotes"', "with \\ backslash", "8-bit \xfc", "a\r\n b\r\n\tc",
    "\r\n starts on the next line", "x" * 900, '"""""""""""', "{5}", "NIL", "(paren", "percent %", "star * 5",
)  # fmt: skip


def _broken() -> dict[str, bytes]:
    """One rule kept or broken in each."""
    deep = "".join(f"Content-Type: multipart/mixed; boundary=d{n}\n\n--d{n}\n" for n in range(20)) + "\nat the bottom\n"
    inner = "Subject: inner\nFrom: In Ner <in@example.org>\nMessage-ID: <in@example.org>\n"
    return {
        "one empty line": b"\r\n",
        "body only": b"\r\njust text\r\n",
        "header only": _HEAD.encode() + b"Subject: no empty line\r\n",
        "header without line end": _HEAD.encode() + b"Subject: cut",
        "no body": _with("Subject: none\n", ""),
        "no mime": _with("Subject: plain\n", "text\n"),
        "no final line end": _with("Subject: plain\n", "text\nlast"),
        "mime version alone": _with("MIME-Version: 1.0\nContent-Disposition: inline\n", "text\n"),
        "disposition without mime": _with("Content-Disposition: inline\n", "text\n"),
        "missing colon": _with("Subject: a\nthis is no field\nX-Other: b\n", "text\n"),
        "colon alone": _with(": nameless\nSubject: a\n", "text\n"),
        "blank before colon": _with("Subject : a\nX-Y\t: b\n", "text\n"),
        "continuation first": b" leading blank\r\nSubject: a\r\n\r\ntext\r\n",
        "blank line with blanks": _with("Subject: a\n \n", "text\n"),
        "lone cr in header": b"Subject: a\rb\r\nX: y\r\n\r\ntext\r\n",
        "nul in header": b"Subject: a\0b\r\nFrom: a\0b <c@d>\r\n\r\ntext\r\n",
        "8-bit header": _with("Subject: \xdcber\nX-J\xfcrgen: x\n", "text\n"),
        "two froms": _with("From: second <second@example.org>\nSubject: a\nSubject: b\n", "text\n"),
        "long line": _with("Subject: " + "x" * 5000 + "\n", "y" * 5000 + "\n"),
        "many fields": _with("".join(f"X-{n}: {n}\n" for n in range(300)), "text\n"),
        "mbox line": b"From ann Mon Nov  2 10:11:12 2026\r\nSubject: a\r\n\r\ntext\r\n",
        "mixed": _mixed("preamble\n--b1\nContent-Type: text/plain\n\none\n--b1\nContent-Type: text/html\n\n<p>two\n--b1--\nepi\n"),
        "mixed without preamble": _mixed("--b1\n\none\n--b1--\n"),
        "mixed without epilogue line end": _mixed("--b1\n\none\n--b1--"),
        "unclosed": _mixed("--b1\nContent-Type: text/plain\n\none\n--b1\n\ntwo\n"),
        "unclosed in header": _mixed("--b1\nContent-Type: text/plain\n"),
        "unclosed after boundary": _mixed("--b1\n"),
        "unclosed in boundary": _mixed("--b1\n\nx\n--b1"),
        "no boundary line": _mixed("nothing here\n"),
        "no parts": _mixed("--b1--\n"),
        "no body at all": _mixed(""),
        "empty parts": _mixed("--b1\n--b1\n\n--b1\n\n\n--b1\nContent-Type: text/html\n--b1--\n"),
        "header cut by boundary": _mixed("--b1\nContent-Type: text/html\nX: y\n--b1\n\nt\n--b1--\n"),
        "closed twice": _mixed("--b1\n\none\n--b1--\n--b1\n\ntwo\n--b1--\n"),
        "blanks behind boundary": _mixed("--b1  \n\none\n--b1-- \nepilogue\n"),
        "boundary is a prefix": _mixed("--b1\n\none\n--b1x\n\ntwo\n--b12\n\nthree\n--b1--\n"),
        "text behind boundary": _mixed("--b1 and more\n\none\n--b1--and more\n"),
        "boundary ends in dashes": _mixed("--b--\n\none\n--b----\nepi\n", boundary="b--"),
        "empty boundary": _with('MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=""\n', "--\n\none\n----\n"),
        "boundary with blanks": _mixed("--a b\n\none\n--a b--\n", boundary="a b"),
        "long boundary": _mixed("--" + "z" * 100 + "\n\none\n--" + "z" * 100 + "--\n", boundary="z" * 100),
        "70 characters of boundary": _mixed("--" + "z" * 70 + "\n\none\n--" + "z" * 70 + "--\n", boundary="z" * 70),
        "unquoted boundary": _with(
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=----=_Part_1\n",
            "------=_Part_1\n\none\n------=_Part_1--\n",
        ),
        "continued boundary": _with(
            'Content-Type: multipart/mixed; boundary*0="b"; boundary*1="1"\n', "--b1\n\none\n--b1--\n"
        ),
        "multipart without mime version": _with("Content-Type: multipart/mixed; boundary=b1\n", "--b1\n\none\n--b1--\n"),
        "folded type": _with('Content-Type: multipart/mixed;\n\tboundary="b1"\n', "--b1\n\none\n--b1--\n"),
        "alternative in mixed": _mixed(
            "--b1\nContent-Type: multipart/alternative; boundary=b2\n\n--b2\n\nplain\n--b2\n"
            "Content-Type: text/html\n\n<p>html\n--b2--\n\n--b1\nContent-Type: application/pdf\n\nJVBERi0=\n--b1--\n"
        ),
        "outer closes inner": _mixed(
            "--b1\nContent-Type: multipart/alternative; boundary=b2\n\n--b2\n\nplain\n--b1\n\nnext\n--b1--\n"
        ),
        "outer closes inner header": _mixed(
            "--b1\nContent-Type: multipart/alternative; boundary=b2\n\n--b2\nContent-Type: text/html\n--b1\n\nnext\n--b1--\n"
        ),
        "inner starts with outer": _mixed(
            "--b1\nContent-Type: multipart/alternative; boundary=b1x\n\n--b1x\n\nplain\n--b1x--\n--b1\n\nnext\n--b1--\n"
        ),
        "same boundary twice": _mixed(
            "--b1\nContent-Type: multipart/alternative; boundary=b1\n\n--b1\n\nplain\n--b1--\n--b1\n\nnext\n--b1--\n"
        ),
        "inner epilogue": _mixed(
            "--b1\nContent-Type: multipart/alternative; boundary=b2\n\npre\n--b2\n\nplain\n--b2--\nepilogue\n\n--b1--\n"
        ),
        "related": _mixed("--b1\nContent-ID: <a@b>\n\none\n--b1--\n", kind="related; type=\"text/html\"; start=\"<a@b>\""),
        "digest": _mixed(f"--b1\n\n{inner}\nhello\n--b1\n\n{inner}\nworld\n--b1--\n", kind="digest"),
        "digest with types": _mixed(f"--b1\nContent-Type: text/plain\n\nx\n--b1\nX: y\n\n{inner}\nhello\n--b1--\n", kind="digest"),
        "signed": _mixed(
            "--b1\nContent-Type: text/plain\n\none\n--b1\nContent-Type: application/pgp-signature\n\nsig\n--b1--\n",
            kind='signed; micalg=pgp-sha256; protocol="application/pgp-signature"',
        ),
        "forward": _mixed(f"--b1\n\nsee\n--b1\nContent-Type: message/rfc822\n\n{inner}\nhello\n--b1--\n"),
        "forward without body": _mixed(f"--b1\n\nsee\n--b1\nContent-Type: message/rfc822\n\n{inner}--b1--\n"),
        "forward of nothing": _mixed("--b1\nContent-Type: message/rfc822\n\n--b1\nContent-Type: message/rfc822\n--b1--\n"),
        "forward of a multipart": _mixed(
            f"--b1\nContent-Type: message/rfc822\nContent-Disposition: attachment\n\n{inner}MIME-Version: 1.0\n"
            "Content-Type: multipart/mixed; boundary=b2\n\n--b2\n\none\n--b2\nContent-Type: text/html\n\ntwo\n--b2--\n\n--b1--\n"
        ),
        "forward cut in an inner part": _mixed(
            f"--b1\nContent-Type: message/rfc822\n\n{inner}Content-Type: multipart/mixed; boundary=b2\n\n--b2\nX: y\n--b1--\n"
        ),
        "forward base64": _mixed(
            "--b1\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeA0KDQp5DQo=\n--b1--\n"
        ),
        "message as the whole body": _with("Content-Type: message/rfc822\n", f"{inner}\nhello\n"),
        "messages in messages": _with(
            "Content-Type: message/rfc822\n", f"{inner}Content-Type: message/rfc822\n\n{inner}Content-Type: text/html\n\nx\n"
        ),
        "bounce": _mixed(
            "--b1\nContent-Description: Notification\n\nIt failed.\n\n--b1\nContent-Type: message/delivery-status\n\n"
            "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; a@b\nAction: failed\nStatus: 5.1.1\n\n"
            f"--b1\nContent-Type: text/rfc822-headers\n\n{inner}\n--b1--\n",
            kind="report; report-type=delivery-status",
        ),
        "deep": _with(deep.split("\n", 1)[0] + "\n", deep.split("\n", 1)[1][1:]),
        "dashes in text": _with("Subject: a\n", "--\nsignature\n-- \n--b1\n"),
        "blank lines in body": _with("Subject: a\n", "\n\n\n"),
        "lone cr in body": _with("Subject: a\n", "a\rb\nc\n"),
        "boundary at once": b"Content-Type: multipart/mixed; boundary=b1\r\n\r\n\r\n--b1\r\n\r\n\r\n--b1--\r\n",
    }  # fmt: skip


def corpus() -> dict[str, bytes]:
    """All messages by name."""
    found = _broken()
    for n, value in enumerate(ADDRESS_FIELDS):
        found[f"address {n}: {value[:30]!r}"] = f"From: {value}\r\nTo: {value}\r\nSubject: a\r\n\r\ntext\r\n".encode(
            "latin-1"
        )
    for n, value in enumerate(TYPES):
        found[f"type {n}: {value[:40]!r}"] = (
            f"{_HEAD}MIME-Version: 1.0\r\n{value}\r\n\r\nSubject: in\r\n\r\ntext\r\n".encode("latin-1")
        )
        found[f"part type {n}: {value[:40]!r}"] = _mixed("").replace(b"\r\n\r\n", b"\r\n") + (
            f"\r\n--b1\r\n{value}\r\n\r\nSubject: in\r\n\r\ntext\r\n--b1--\r\n".encode("latin-1")
        )
    for n, value in enumerate(SUBJECTS):
        found[f"subject {n}"] = f"Subject: {value}\r\nIn-Reply-To: {value}\r\nDate: {value}\r\n\r\nx\r\n".encode(
            "latin-1"
        )
    random_ = random.Random(20261122)
    for n in range(COMPOSED):
        found[f"composed {n}"] = compose(random_)
    return found


def compose(random_: random.Random) -> bytes:
    """One message put together at random out of the pieces above."""
    fields = [
        f"From: {random_.choice(ADDRESS_FIELDS)}",
        f"To: {random_.choice(ADDRESS_FIELDS)}",
        f"Subject: {random_.choice(SUBJECTS)}",
        f"Message-ID: <{random_.randrange(10**9)}@example.org>",
        "Date: Mon, 2 Nov 2026 10:11:12 +0100",
        "MIME-Version: 1.0",
    ]
    more = (name for name in ("Cc", "Reply-To", "Sender", "Bcc") if random_.random() < 0.3)
    fields.extend(f"{name}: {random_.choice(ADDRESS_FIELDS)}" for name in more)
    random_.shuffle(fields)
    return ("\r\n".join(fields) + "\r\n" + _entity(random_, 0)).encode("latin-1")


def _entity(random_: random.Random, depth: int) -> str:
    """The Content-* fields of a part, its empty line and its body."""
    kind = random_.random()
    if depth < 4 and kind < (0.8 if depth == 0 else 0.3):
        boundary = random_.choice(("b", "bb", "=_x", "----=_Next", f"b{depth}", "b b"))
        subtype = random_.choice(("mixed", "alternative", "related", "digest", "report", "signed", "x-odd"))
        text = f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n'
        text += random_.choice(("", "", "preamble\r\n", "\r\n"))
        for _ in range(random_.randrange(5)):
            text += f"--{boundary}{random_.choice(('', '', '', ' '))}\r\n{_entity(random_, depth + 1)}\r\n"
        text += random_.choice((f"--{boundary}--\r\n", f"--{boundary}--\r\n", f"--{boundary}--", ""))
        return text + random_.choice(("", "", "epilogue\r\n", "\r\n"))
    if depth < 4 and kind < 0.45:
        inner = f"Subject: {random_.choice(SUBJECTS)}\r\nFrom: {random_.choice(ADDRESS_FIELDS)}\r\n"
        return f"Content-Type: message/rfc822\r\n\r\n{inner}{_entity(random_, depth + 1)}"
    if kind < 0.55:
        return random_.choice(("\r\ntext without a type", "", "\r\n", "X-Cut: yes"))
    body = random_.choice(
        (
            "text\r\n",
            "line one\r\nline two\r\n\r\nline four",
            "",
            "\r\n",
            "--not a boundary\r\n",
            base64.encodebytes(random_.randbytes(random_.randrange(300))).decode().replace("\n", "\r\n"),
        )
    )
    return f"{random_.choice(TYPES)}\r\n\r\n{body}"
