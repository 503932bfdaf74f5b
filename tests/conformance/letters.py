"""Mail as real programs write it, and as they break it: shapes, each filled in differently by a seeded generator.

`letters()` gives `EACH` messages of every shape, the same on every run. Unlike `tests/proto_mime/corpus`, where a message
stands for one rule, these are whole letters: trace fields, many parts, odd charsets and faults all in one.
"""

# ruff: noqa: E501  # a header field reads best unbroken

from __future__ import annotations

import base64
import quopri
import random
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

EACH: Final = 15
SEED: Final = 20261122

_NAMES: Final = (
    'Ann Other <ann@example.org>', '"Other, Ann" <ann.other@example.org>', "bob@example.com",
    "=?UTF-8?Q?J=C3=BCrgen_M=C3=BCller?= <jm@example.de>", "=?iso-2022-jp?B?GyRCO0tFRBsoQg==?= <y@example.jp>",
    '"=?UTF-8?B?w4RyenRl?=" <x@example.at>', "Carl (at home) <carl@example.net>", "<d@example.org>",
    '"O\'Hara, Pat (Sales)" <pat@example.ie>', "Team: a@example.org, b@example.org;", "undisclosed-recipients:;",
    '"back\\\\slash \\"and\\" quote" <q@example.org>', "J\xfcrgen <j@example.de>", "root@localhost", "MAILER-DAEMON (Mail Delivery System)",
    "=?koi8-r?B?8NLJ18XU?= <i@example.ru>", "=?gb2312?B?1tC5+g==?= <c@example.cn>", "=?windows-1252?Q?Fran=E7ois?= <f@example.fr>",
    "=?utf-8?q?split_=C3?= =?utf-8?q?=BC_inside?= <s@example.org>", "=?utf-8?q?unterminated <u@example.org>", "=?x-unknown?Q?abc?= <v@example.org>",
)  # fmt: skip
_SUBJECTS: Final = (
    "Minutes of Monday", "Re: Re: AW: Fwd: [list] budget", "=?UTF-8?B?8J+OiSBTYWxlIPCfjok=?=", "", "(no subject)",
    "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?= =?UTF-8?Q?_aus_K=C3=B6ln?=", "=?iso-8859-1?q?caf=E9?= and =?us-ascii*en?q?language?=",
    'He said "yes" \\o/', "8-bit \xe9\xe8 raw", "tabs\tand   blanks", "=?utf-8?Q?a=00b?=", "=?utf-8?B?!!!?=", "x" * 998,
)  # fmt: skip
_CHARSETS: Final = (
    "us-ascii", "utf-8", "UTF-8", "iso-8859-1", "windows-1252", "koi8-r", "gb18030", "iso-2022-jp", "big5", "unknown-8bit",
    "utf-7", "x-mac-roman", "cp-850", "ansi_x3.4-1968", '"utf-8"', "'utf-8'", "",
)  # fmt: skip
_WORDS: Final = (
    "lorem ipsum dolor sit amet " * 4,
    "short",
    "",
    "-- \r\nsignature",
    "> quoted\r\n>> twice",
    ".dot",
    "From here",
    "\xc3\xa9t\xc3\xa9",
)


class Writer:
    """Pieces of letters, drawn from one generator."""

    def __init__(self, seed: random.Random) -> None:
        self.random = seed

    def one(self, *choices: str) -> str:
        """One of these."""
        return self.random.choice(choices)

    def id(self) -> str:
        """A Message-ID."""
        return f"<{self.random.getrandbits(64):x}.{self.random.randrange(10**6)}@{self.one('mail.example.org', 'x', '[192.0.2.1]')}>"

    def date(self) -> str:
        """A date, in forms that are sent."""
        r = self.random
        day, hour = r.randint(1, 28), r.randrange(24)
        return self.one(
            f"Mon, {day} Nov 2026 {hour:02}:11:12 +0100", f"{day:02} Nov 26 {hour:02}:11 GMT", f"Mon, {day:02} Nov 2026 {hour:02}:11:12 -0800 (PST)",
            f"2026-11-{day:02}T{hour:02}:11:12Z", "yesterday", "", f"Mon,  {day} Nov 2026 {hour:02}:11:12 +0000 (GMT (really))",
        )  # fmt: skip

    def head(self, *more: str) -> str:
        """The usual fields in some order, and `more` among them."""
        fields = [f"From: {self.one(*_NAMES)}", f"To: {', '.join(self.random.sample(_NAMES, self.random.randint(1, 4)))}", f"Subject: {self.one(*_SUBJECTS)}",
                  f"Date: {self.date()}", f"Message-ID: {self.id()}"]  # fmt: skip
        more_people = (name for name in ("Cc", "Reply-To", "Sender", "Bcc") if self.random.random() < 0.25)
        fields.extend(f"{name}: {self.one(*_NAMES)}" for name in more_people)
        if self.random.random() < 0.4:
            fields.append(f"In-Reply-To: {self.id()}")
            fields.append("References: " + "\r\n\t".join(self.id() for _ in range(self.random.randint(1, 6))))
        fields += more
        self.random.shuffle(fields)
        trace = "".join(
            f"Received: from {self.one('a', 'b')}.example.net ([192.0.2.{n}])\r\n\tby mx{n}.example.org (Postfix) with ESMTPS id {self.random.getrandbits(40):X}\r\n\tfor <u@example.org>; Mon,  2 Nov 2026 10:11:1{n} +0100 (CET)\r\n"
            for n in range(self.random.randrange(4))
        )
        return trace + "".join(field + "\r\n" for field in fields)

    def text(self) -> str:
        """Some lines."""
        return "".join(self.one(*_WORDS) + "\r\n" for _ in range(self.random.randint(0, 6)))

    def plain(self) -> str:
        """A text part: fields, empty line, body."""
        charset = self.one(*_CHARSETS)
        coding = self.one("7bit", "8bit", "quoted-printable", "base64", "QUOTED-PRINTABLE", "x-unknown", "")
        kind = self.one("plain", "html", "Plain", "enriched", "x-watch-html")
        body = self.text()
        if coding.lower() == "base64":
            body = base64.encodebytes(body.encode("latin-1")).decode().replace("\n", "\r\n")
        elif coding.lower() == "quoted-printable":
            body = quopri.encodestring(body.encode("latin-1").replace(b"\r\n", b"\n")).decode().replace("\n", "\r\n")
        flowed = self.one("", "; format=flowed", "; format=flowed;\r\n\tdelsp=yes", "; reply-type=original")
        fields = f"Content-Type: text/{kind}{f'; charset={charset}' if charset else ''}{flowed}\r\n"
        if coding:
            fields += f"Content-Transfer-Encoding: {coding}\r\n"
        return f"{fields}\r\n{body}"

    def file(self) -> str:
        """An attachment: fields, empty line, body."""
        data = (
            base64.encodebytes(self.random.randbytes(self.random.choice((0, 1, 57, 400))))
            .decode()
            .replace("\n", "\r\n")
        )
        name = self.one(
            'name="report.pdf"', "name=report.pdf", 'name="=?UTF-8?B?w5xiZXJzaWNodC5wZGY=?="', "name*=utf-8''%C3%9Cbersicht.pdf",
            "name*0*=utf-8'de'%C3%9C;\r\n\tname*1=bersicht;\r\n name*2*=%2Epdf", 'name*0="a very long";\r\n name*1=" name.doc"', 'name*2="c"; name*0="a"; name*1="b"',
            'name="J\xfcrgen.doc"', 'name="with \\"quotes\\".txt"', "name=", "name", 'name="open', "name*0*=nocharset%20x; name*1=y", "name*=bad'%zz", "",
        )  # fmt: skip
        dispo = self.one("attachment", "inline", "ATTACHMENT", "form-data", "", "attachment;")
        fields = f"Content-Type: {self.one('application/pdf', 'image/png', 'application/octet-stream', 'audio/x-wav', 'application/vnd.ms-excel')}"
        fields += f";\r\n\t{name}\r\n" if name else "\r\n"
        fields += f"Content-Transfer-Encoding: {self.one('base64', 'BASE64', 'base64 ', 'binary')}\r\n"
        if dispo:
            fields += f"Content-Disposition: {dispo}{f'; file{name}; size=12' if name else ''}\r\n"
        for field in (
            "Content-ID: <image001.png@01D9>",
            "Content-Description: a file\r\n folded",
            "X-Attachment-Id: f_1",
            "Content-Language: en, de",
            "Content-Location: cid:x",
            "Content-MD5: Q2hlY2s=",
        ):
            if self.random.random() < 0.3:
                fields += field + "\r\n"
        return f"{fields}\r\n{data}"

    def many(self, subtype: str, *parts: str, boundary: str | None = None, faults: bool = False) -> str:
        """A multipart: fields, empty line, body."""
        mark = boundary or self.one(
            "----=_NextPart_000_0012_01D9", "Apple-Mail=_5D2B-44", "0000000000001f", "=_b'()+_,-./:=?", "b b b", "_004_"
        )
        mark += str(self.random.randrange(1000))
        shown = (
            f'"{mark}"'
            if not mark.replace("_", "a").replace("-", "a").isalnum() or self.random.random() < 0.8
            else mark
        )
        opening = self.one("", "This is a multi-part message in MIME format.\r\n\r\n", "\r\n")
        text = f"Content-Type: multipart/{subtype}; {self.one('', 'charset=utf-8; ', 'type=x;')}\r\n\tboundary={shown}\r\n\r\n{opening}"
        for part in parts:
            text += f"--{mark}{self.one('', '', ' ', '	') if faults else ''}\r\n{part}\r\n"
        text += (
            self.one(f"--{mark}--\r\n", f"--{mark}--", f"--{mark}\r\n", "", f"--{mark}-\r\n")
            if faults
            else f"--{mark}--\r\n"
        )
        return text + self.one("", "", "\r\n", "epilogue\r\n")

    def inside(self, depth: int) -> str:
        """A message/rfc822 part."""
        inner = self.plain() if depth <= 0 else self.tree(depth - 1)
        fields = self.one(
            "",
            "Content-Disposition: attachment; filename=fwd.eml\r\n",
            "Content-Description: forwarded\r\n",
            "Content-Transfer-Encoding: 8bit\r\n",
        )
        return f"Content-Type: message/rfc822\r\n{fields}\r\n{self.head()}MIME-Version: 1.0\r\n{inner}"

    def tree(self, depth: int, *, faults: bool = False) -> str:
        """Parts in parts."""
        if depth <= 0:
            return self.random.choice((self.plain, self.file))()
        kind = self.random.random()
        if kind < 0.25:
            return self.inside(depth - 1)
        if kind < 0.4:
            return self.random.choice((self.plain, self.file))()
        parts = [self.tree(depth - 1, faults=faults) for _ in range(self.random.randint(0 if faults else 1, 3))]
        return self.many(
            self.one("mixed", "alternative", "related", "digest", "parallel", "x-own"), *parts, faults=faults
        )


_MIME: Final = "MIME-Version: 1.0\r\n"


def _outlook(w: Writer) -> str:
    html = w.many("related", w.many("alternative", w.plain(), w.plain()), w.file(), w.file())
    tnef = f"Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n{base64.b64encode(w.random.randbytes(60)).decode()}\r\n"
    return (
        w.head("Thread-Index: AdnB", "X-MS-Has-Attach: yes", "Importance: high") + _MIME + w.many("mixed", html, tnef)
    )


def _apple(w: Writer) -> str:
    related = w.many("related", w.plain(), w.file())
    return w.head("X-Mailer: Apple Mail (2.3774)", "Mime-Version: 1.0 (Mac OS X Mail 16.0 \\(3774\\))") + w.many(
        "alternative", w.plain(), w.many("mixed", related, w.file(), w.plain())
    )


def _webmail(w: Writer) -> str:
    signature = (
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n        d=example.org; s=x; h=to:subject;\r\n        b="
        + "\r\n         ".join(base64.b64encode(w.random.randbytes(48)).decode() for _ in range(4))
    )
    return (
        w.head(signature, "ARC-Seal: i=1; a=rsa-sha256")
        + _MIME
        + w.many(
            "mixed", w.many("alternative", w.plain(), w.plain()), *[w.file() for _ in range(w.random.randrange(5))]
        )
    )


def _list(w: Writer) -> str:
    listed = (
        "List-Id: A list <list.example.org>",
        "List-Unsubscribe: <mailto:leave@example.org?subject=x>,\r\n <https://example.org/leave>",
        "Precedence: list",
        "Errors-To: owner@example.org",
    )
    return (
        w.head(*listed)
        + _MIME
        + w.many(
            "mixed",
            w.plain(),
            'Content-Type: text/plain; charset="us-ascii"\r\nMIME-Version: 1.0\r\nContent-Disposition: inline\r\n\r\n_______\r\nlist footer\r\n',
        )
    )


def _newsletter(w: Writer) -> str:
    html = "<p>" + "long line without end " * w.random.randint(50, 400)
    return (
        w.head("X-Mailer: bulk")
        + _MIME
        + w.many("alternative", w.plain(), f"Content-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n")
    )


def _invitation(w: Writer) -> str:
    calendar = 'Content-Type: text/calendar; charset="utf-8"; method=REQUEST; component=VEVENT\r\n\r\nBEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n'
    return (
        w.head("Content-class: urn:content-classes:calendarmessage")
        + _MIME
        + w.many(
            "mixed",
            w.many("alternative", w.plain(), w.plain(), calendar),
            calendar.replace("text/calendar", "application/ics"),
        )
    )


def _bounce(w: Writer) -> str:
    status = f"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\nArrival-Date: {w.date()}\r\n\r\nFinal-Recipient: rfc822; x@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    returned = w.one(
        w.inside(0),
        f"Content-Type: text/rfc822-headers\r\n\r\n{w.head()}",
        f"Content-Type: message/rfc822-headers\r\n\r\n{w.head()}",
        f"Content-Type: message/global\r\n\r\n{w.head()}\r\nx\r\n",
    )
    return (
        w.head("Auto-Submitted: auto-replied")
        + _MIME
        + w.many(
            "report; report-type=delivery-status",
            "Content-Description: Notification\r\nContent-Type: text/plain\r\n\r\nfailed\r\n",
            status,
            returned,
        )
    )


def _receipt(w: Writer) -> str:
    note = "Content-Type: message/disposition-notification\r\n\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n"
    return w.head() + _MIME + w.many("report; report-type=disposition-notification", w.plain(), note, w.inside(0))


def _signed(w: Writer) -> str:
    kind = w.one(
        'signed; micalg=pgp-sha256; protocol="application/pgp-signature"',
        'signed; protocol="application/pkcs7-signature"; micalg=sha-256',
        'encrypted; protocol="application/pgp-encrypted"',
    )
    return (
        w.head()
        + _MIME
        + w.many(
            kind,
            w.tree(1),
            "Content-Type: application/pgp-signature; name=signature.asc\r\nContent-Description: OpenPGP digital signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nabc=\r\n-----END PGP SIGNATURE-----\r\n",
        )
    )


def _opaque(w: Writer) -> str:
    return (
        w.head()
        + _MIME
        + "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Disposition: attachment; filename=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\nMIAGCSqGSIb3DQEHAqCA\r\n"
    )


def _forwarded(w: Writer) -> str:
    return (
        w.head()
        + _MIME
        + w.many("mixed", w.plain(), *[w.inside(w.random.randint(0, 4)) for _ in range(w.random.randint(1, 3))])
    )


def _digest(w: Writer) -> str:
    return (
        w.head()
        + _MIME
        + w.many(
            "digest",
            *[
                f"{w.one('', '', 'X-Part: 1', 'Content-Type: text/plain')}\r\n{w.head()}\r\n{w.text()}"
                for _ in range(w.random.randrange(5))
            ],
        )
    )


def _raw_bytes(w: Writer) -> str:
    odd = w.one("X-Raw: \xff\xfe\xfd", "Organization: Stra\xdfe", "X-\xfcber: field", "X-Utf8: \xc3\xbc\xe2\x82\xac")
    return (
        w.head(odd, "Subject: \xd0\x9f\xd1\x80\xd0\xb8", "To: \xfc\xf6\xe4 <x@\xe4.example>")
        + w.one("", _MIME)
        + w.plain()
    )


def _repeated(w: Writer) -> str:
    twice = [
        f"{name}: {w.one(*_NAMES)}"
        for name in ("From", "To", "Cc", "Reply-To", "Sender", "Bcc")
        for _ in range(w.random.randrange(3))
    ]
    more = [
        f"Subject: {w.one(*_SUBJECTS)}",
        "Message-ID: second",
        f"Date: {w.date()}",
        "Content-Type: text/html",
        "Content-Type: text/plain; charset=x",
        "MIME-Version: 1.0",
        "MIME-Version: 2.0",
    ]
    return w.head(*twice, *w.random.sample(more, 4)) + w.plain()


def _long_fields(w: Writer) -> str:
    people = ",\r\n ".join(f'"Person {n}" <p{n}@example.org>' for n in range(w.random.randint(50, 400)))
    ids = "\r\n ".join(w.id() for _ in range(w.random.randint(20, 200)))
    return (
        w.head(
            f"Cc: {people}",
            f"References: {ids}",
            "X-Long: " + "y" * w.random.randint(1000, 20000),
            "X-Folds: " + "\r\n ".join("z" * 70 for _ in range(200)),
        )
        + _MIME
        + w.plain()
    )


def _broken(w: Writer) -> str:
    return w.head() + _MIME + w.tree(3, faults=True)


def _lost_boundary(w: Writer) -> str:
    kind = w.one(
        "multipart/mixed",
        "multipart/alternative; boundary=",
        'multipart/mixed; boundary=""',
        "multipart/mixed; boundary=never",
        "multipart/mixed; boundary*0=b; boundary*1=x",
        'multipart/mixed; boundary="bx\r\n"',
        "multipart",
        "multipart/mixed boundary=bx",
    )
    return w.head() + _MIME + f"Content-Type: {kind}\r\n\r\n--bx\r\n{w.plain()}\r\n--bx\r\n{w.file()}\r\n--bx--\r\n"


def _empty_parts(w: Writer) -> str:
    hollow = (
        "",
        "\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: text/html\r\n\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: message/rfc822\r\n",
        "\r\n\r\n",
        "Content-Type: multipart/mixed; boundary=zz\r\n\r\n",
        "X: y\r\n\r\n",
    )
    return (
        w.head()
        + _MIME
        + w.many("mixed", *[w.one(*hollow) for _ in range(w.random.randrange(6))], faults=w.random.random() < 0.5)
    )


def _same_boundary(w: Writer) -> str:
    inner = f"Content-Type: multipart/alternative; boundary={w.one('same', 'samex', 'sam', 'same--')}\r\n\r\n--{w.one('same', 'samex', 'sam')}\r\n{w.plain()}\r\n--same--\r\n"
    return (
        w.head()
        + _MIME
        + f"Content-Type: multipart/mixed; boundary=same\r\n\r\n--same\r\n{inner}\r\n--same\r\n{w.plain()}\r\n--same--\r\n"
    )


def _encoded_structure(w: Writer) -> str:
    coded = w.one("base64", "quoted-printable", "x-uuencode", "8bit")
    return (
        w.head(f"Content-Transfer-Encoding: {coded}") + _MIME + w.one(w.many("mixed", w.plain(), w.file()), w.inside(1))
    )


def _script(w: Writer) -> str:
    return (
        w.one("From root Mon Nov  2 10:11:12 2026\r\n", "", "\tcontinuation of nothing\r\n")
        + w.one("Subject:no blank\r\n", "subject : x\r\n", "SUBJECT: y\r\n\r\n", "no colon here\r\n")
        + f"To: root\r\nfrom:cron\r\n{w.one('', ': nameless', 'X-Empty:', ' ')}\r\n\r\n{w.text()}"
    )


def _voicemail(w: Writer) -> str:
    return (
        w.head("Content-Duration: 12")
        + "Mime-version:1.0(produced by x)\r\n"
        + w.many(
            "Voice-Message; Version=2.0",
            "Content-Type: Audio/32KADPCM\r\nContent-Transfer-Encoding: Base64\r\nContent-Disposition: inline; voice=Voice-Message\r\n\r\nAAAA\r\n",
            "Content-Type: Image/TIFF; application=faxbw\r\n\r\nII\r\n",
        )
    )


def _external(w: Writer) -> str:
    body = 'Content-Type: message/external-body; access-type=URL;\r\n URL*0="http://"; URL*1="example.org/"\r\n\r\nContent-Type: image/gif\r\nContent-ID: <x@y>\r\n\r\n'
    return (
        w.head()
        + _MIME
        + w.many(
            "mixed",
            body,
            'Content-Type: message/partial; number=1; total=2; id="x"\r\n\r\nSubject: part\r\n\r\nx\r\n',
            w.plain(),
        )
    )


def _cut(w: Writer) -> str:
    whole = w.head() + _MIME + w.tree(3)
    return whole[: w.random.randint(1, len(whole))].rstrip("\r\n") + "\r\n"


def _tree(w: Writer) -> str:
    return w.head() + _MIME + w.tree(4)


SHAPES: Final = MappingProxyType(
    {shape.__name__.strip("_"): shape for shape in (
        _outlook, _apple, _webmail, _list, _newsletter, _invitation, _bounce, _receipt, _signed, _opaque, _forwarded, _digest, _raw_bytes,
        _repeated, _long_fields, _broken, _lost_boundary, _empty_parts, _same_boundary, _encoded_structure, _script, _voicemail, _external, _cut, _tree,
    )}
)  # fmt: skip
Shape = Callable[[Writer], str]


def letters() -> dict[str, bytes]:
    """All letters by name. Lines end in CRLF, the last one too."""
    found: dict[str, bytes] = {}
    for name, shape in SHAPES.items():
        for number in range(EACH):
            text = shape(Writer(random.Random(f"{SEED} {name} {number}")))
            found[f"{name} {number}"] = text.encode("latin-1") + (b"" if text.endswith("\r\n") else b"\r\n")
    return found
