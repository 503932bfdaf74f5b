"""The same messages and the same questions to Dovecot and to the standby: the same answers."""

from __future__ import annotations

import pytest

from relay.proto.imap.client import Data
from relay.proto.imap.client_data import Fetched, fetched
from tests.peers.dovecot import Dovecot
from tests.peers.people import password_of
from tests.serve.client import Client, connect
from tests.serve.conftest import BOB, MESSAGE, Front
from tests.serve.test_session import MULTIPART

NESTED = (
    b"From: x@example.com\r\nSubject: outer\r\nMime-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n"
    b"preamble\r\n--o\r\nContent-Type: message/rfc822\r\nContent-Description: inside\r\n\r\n"
    b"From: y@example.com\r\nSubject: inner\r\nMime-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative; boundary="i i"\r\n\r\n'
    b"--i i\r\n\r\nplain\r\n\r\n--i i\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<b>html</b>\r\n--i i--\r\n"
    b"--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: not a multipart\r\n\r\nits body\r\n"
    b'--o\r\nContent-Type: image/png; name="a.png"\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <1@x>\r\n'
    b'Content-Disposition: inline; filename="a.png"\r\n\r\nQUJD\r\n--o--\r\nepilogue\r\n'
)
NO_BODY = b"Subject: nothing\r\nFrom: a@example.com\r\n\r\n"
FOLDED = (
    b"Received: from a\r\n\tby b;\r\n Mon, 2 Feb 2026 10:00:00 +0000\r\n"
    b"SUBJECT:  folded\r\n  here\r\nsubject: twice\r\n"
    b'To: Team: a@example.org, "B, C" <b@example.org>;, d@example.org\r\nFrom: =?utf-8?q?=C3=84?= <e@example.org>\r\n'
    b"X-Empty:\r\nIn-Reply-To: <1@x>\r\n\r\nline\r\n"
)
MESSAGES = (MESSAGE, MULTIPART, NESTED, NO_BODY, FOLDED)

QUESTIONS = [
    *("ENVELOPE", "BODY", "BODYSTRUCTURE", "RFC822", "RFC822.HEADER", "RFC822.TEXT", "RFC822.SIZE"),
    *(
        f"BODY.PEEK[{s}]"
        for s in ("", "HEADER", "TEXT", "1", "2", "3", "4", "1.1", "1.2", "1.1.1", "2.1", "2.2", "1.1.2")
    ),
    *(
        f"BODY.PEEK[{s}]"
        for s in ("1.MIME", "2.MIME", "1.HEADER", "1.TEXT", "2.HEADER", "2.TEXT", "1.1.MIME", "3.MIME")
    ),
    *(f"BODY.PEEK[HEADER.FIELDS ({s})]" for s in ("SUBJECT", "Received To", "X-None", "X-EMPTY FROM")),
    *(f"BODY.PEEK[HEADER.FIELDS.NOT ({s})]" for s in ("SUBJECT", "Received To From", "X-None")),
    *(f"BODY.PEEK[1.HEADER.FIELDS{s}]" for s in (" (Subject)", ".NOT (Subject)")),
    *(f"BODY.PEEK[{s}" for s in ("]<0.10>", "]<20.1>", "]<100000.5>", "TEXT]<3.4>", "HEADER]<5.100000>", "1]<1.2>")),
]


CRITERIA = (
    *(
        "SUBJECT twice",
        "SUBJECT inner",
        "TEXT inner",
        "BODY inner",
        "BODY html",
        "BODY grüne",
        "FROM JÜRGEN",
        "TO team",
    ),
    *('HEADER X-Empty ""', "SENTBEFORE 3-Feb-2026", 'NOT HEADER Date ""', "LARGER 300", "OR SUBJECT nothing 2"),
    *("HEADER Received by", "TEXT inside", "TEXT a.png", "BODY its", "NOT TEXT hello"),
)


async def ask(client: Client, number: int, item: str) -> Fetched | str:
    """The answer without what may differ (FLAGS), or how it was refused."""
    answer = await client.command(f"FETCH {number} ({item})")
    if answer.status != "OK":
        return answer.status
    (event,) = (e for e in client.untagged if isinstance(e, Data) and e.name == "FETCH")
    found = fetched(event)
    assert found is not None
    found.flags, found.recent = None, False
    return found


@pytest.mark.peers
async def test_fetch(front: Front, dovecot: Dovecot) -> None:
    await front.deliver(*MESSAGES)
    ours = await front.user()
    async with await connect(dovecot.imap_port) as theirs:
        await theirs.greeting()
        await theirs.login(BOB, password_of(BOB))
        await theirs.ok("CREATE Same")
        for message in MESSAGES:
            await theirs.ok(f"APPEND Same {{{len(message)}}}", message)
        await theirs.ok("SELECT Same")
        differences = []
        for number in range(1, len(MESSAGES) + 1):
            for item in QUESTIONS:
                theirs_said, ours_said = await ask(theirs, number, item), await ask(ours, number, item)
                if theirs_said != ours_said:
                    differences.append((number, item, theirs_said, ours_said))
        assert differences == []
        for criteria in CRITERIA:
            command = f"SEARCH CHARSET UTF-8 {criteria}".encode()
            words = command.split(b" ")
            if any(octet > 127 for octet in command):
                words[-1] = b"{%d+}\r\n%b" % (len(words[-1]), words[-1])
            assert await theirs.ok(b" ".join(words)) == await ours.ok(b" ".join(words)), criteria
