"""Logins that fail are one line each, with the connection, the client's address and the reason; never with a name."""

from __future__ import annotations

from tests.obs.written import written
from tests.peers.certs import Authority
from tests.serve.conftest import BOB, Front
from tests.serve.test_door import tls_client

KEYS = ("protocol", "client", "result", "reason")


async def test_a_login_that_fails_is_one_line(front: Front, authority: Authority) -> None:
    with written() as log:
        client = await tls_client(front, authority)
        await client.command(f"LOGIN {BOB} wrongmark")
        await client.command("LOGIN nobodymark@example.org wrongmark")
        front.logins.throttled = True
        await client.command(f"LOGIN {BOB} secret")
        front.logins.throttled, front.logins.down = False, True
        other = await tls_client(front, authority)
        await other.command(f"LOGIN {BOB} secret")
        front.logins.down = False
        await other.ok(f"LOGIN {BOB} secret")
    assert log.short("login_failed", *KEYS) == [
        ("imap", "127.0.0.1", "refused", "mismatch"),
        ("imap", "127.0.0.1", "unavailable", "nothing_known"),
        ("imap", "127.0.0.1", "unavailable", "throttled"),
        ("imap", "127.0.0.1", "unavailable", "unjudged"),
    ]
    names = [line["conn"] for line in log.lines("login_failed")]
    assert len(set(names[:3])) == 1
    assert names[3] != names[0]
    for secret in ("mark", "@", "bob", "secret"):
        assert secret not in log.text


async def test_lines_of_a_connection_carry_its_name(front: Front, authority: Authority) -> None:
    with written() as log:
        client = await tls_client(front, authority)
        await client.command(f"LOGIN {BOB} wrong")
        await client.ok(f"LOGIN {BOB} secret")

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a bug, on purpose")

        object.__setattr__(front.services.mailboxes, "listing", broken)
        await client.command('LIST "" "*"')
    (failed,) = log.lines("command_failed")
    assert (failed["conn"], failed["client"]) == (log.lines("login_failed")[0]["conn"], "127.0.0.1")
