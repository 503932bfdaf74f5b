"""Returning messages to their senders, and keeping what is owed."""

from __future__ import annotations

import email
from pathlib import Path

import msgspec
import pytest

from relay.accounts.credentials import Credentials, Kind
from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.core.reply import reply
from relay.obs.metrics import Metrics
from relay.replay.notice import Notices, NoticeSettings
from relay.replay.retention import Retention, RetentionSettings
from relay.store.records import Route
from tests.spool.conftest import Spool, open_spool

S = ItemState
DAY = 86_400.0
BODY = b"Message-ID: <1@example.net>\r\nSubject: gr\xc3\xbc\xc3\x9fe\r\n\r\nthe body is not quoted\r\n"
LOGGED_IN = Origin("192.0.2.7", 4711, "client", login="bob@example.org", listener="submission")
STRANGER = Origin("192.0.2.8", 4711, "client")


def notices(spool: Spool) -> Notices:
    return Notices(
        queue=spool.queue,
        reader=spool.reader,
        intake=spool.intake,
        clock=spool.clock,
        settings=NoticeSettings("relay.example.org"),
        route_of=lambda address: Route.PRIMARY if address.endswith("@example.org") else Route.WORLD,
        metrics=Metrics().replay,
    )


async def held(spool: Spool, origin: Origin, reverse_path: str, *recipients: Recipient) -> ItemId:
    async with spool.intake.begin() as draft:
        await draft.write(BODY)
        accepted = await draft.commit(Envelope(reverse_path, recipients, envid="QQ"), origin, intent=False)
    await spool.queue.move(accepted.item, S.HELD, note=reply(550, "5.1.1 unknown\r\nX-Injected: yes"))
    return accepted.item


async def test_a_sender_who_logged_in_is_told_once(tmp_path: Path) -> None:
    async with open_spool(tmp_path) as spool:
        item = await held(spool, LOGGED_IN, "bob@example.org", Recipient("nobody@example.org"))
        returned = await notices(spool).give_back(item)
        assert returned.notice is not None
        row = await spool.store.item(returned.notice)
        assert row is not None
        assert (row.state, row.route) == (S.PENDING, Route.PRIMARY)
        message = spool.reader.open(row)
        text = await message.read()
        original = await spool.store.item(item)
        assert original is not None
        assert original.state is S.RETURNED
    assert message.envelope.reverse_path == ""
    assert [recipient.address for recipient in message.envelope.recipients] == ["bob@example.org"]
    parsed = email.message_from_bytes(text)
    assert parsed.get_content_type() == "multipart/report"
    assert b"Final-Recipient: rfc822; nobody@example.org" in text
    assert b"\r\nX-Injected" not in text
    assert b"Subject: gr\xc3\xbc" in text
    assert b"not quoted" not in text


@pytest.mark.parametrize(
    ("origin", "reverse_path", "notify", "told"),
    [
        (LOGGED_IN, "bob@example.org", (), True),
        (LOGGED_IN, "bob@example.org", ("NEVER",), False),
        (LOGGED_IN, "bob@example.org", ("SUCCESS",), False),
        (LOGGED_IN, "", (), False),
        (STRANGER, "victim@example.net", (), False),
        (STRANGER, "asks@example.net", ("FAILURE", "DELAY"), True),
        (STRANGER, "", ("FAILURE",), False),
    ],
)
async def test_nobody_is_told_who_did_not_ask(
    tmp_path: Path, origin: Origin, reverse_path: str, notify: tuple[str, ...], told: bool
) -> None:
    async with open_spool(tmp_path) as spool:
        item = await held(spool, origin, reverse_path, Recipient("nobody@example.org", notify))
        returned = await notices(spool).give_back(item)
        assert (returned.notice is not None) is told
        counts = await spool.store.counts()
        assert counts[S.RETURNED].items == 1
        assert counts[S.PENDING].items == told


async def test_a_crash_between_report_and_return_does_not_report_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_spool(tmp_path) as spool:
        item = await held(spool, LOGGED_IN, "bob@example.org", Recipient("nobody@example.org"))
        with monkeypatch.context() as patch:

            async def crash(*_: object, **__: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(spool.queue, "move", crash)
            with pytest.raises(KeyboardInterrupt):
                await notices(spool).give_back(item)
        spool.clock.advance(30.0)
        assert (await notices(spool).give_back(item)).notice is not None
        counts = await spool.store.counts()
        assert (counts[S.PENDING].items, counts[S.RETURNED].items) == (1, 1)


async def test_a_quarantined_message_that_does_not_open_is_returned_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_spool(tmp_path) as spool:
        item = await held(spool, LOGGED_IN, "bob@example.org", Recipient("nobody@example.org"))
        row = await spool.store.item(item)
        assert row is not None
        broken = msgspec.structs.replace(row, envelope=row.envelope[:-1] + bytes([row.envelope[-1] ^ 1]))

        async def find(_: ItemId) -> object:
            return broken

        with monkeypatch.context() as patch:
            patch.setattr(spool.store, "item", find)
            assert (await notices(spool).give_back(item)).notice is None
        assert (await spool.store.counts())[S.RETURNED].items == 1


# --- retention ------------------------------------------------------------------------------------------------------


def retention(spool: Spool) -> Retention:
    return Retention(queue=spool.queue, clock=spool.clock, settings=RetentionSettings(), metrics=Metrics().spool)


async def accept(spool: Spool, number: int) -> ItemId:
    spool.clock.advance(0.002)
    body = f"Message-ID: <{number}@example.net>\r\n\r\nx\r\n".encode()
    return (await spool.accept(body)).item


async def test_waiting_mail_is_reported_early_held_late_and_never_deleted(tmp_path: Path) -> None:
    async with open_spool(tmp_path) as spool:
        for number in range(3):
            await accept(spool, number)
        seen = []
        for days in (2, 2, 12, 9):
            spool.clock.advance(days * DAY)
            seen.append((await retention(spool).sweep()).aged)
        assert seen == [(0, 0, 0), (3, 0, 0), (3, 3, 0), (3, 3, 3)]
        young = await accept(spool, 9)
        spool.clock.advance(5 * DAY)
        assert (await retention(spool).sweep()).overdue == 3
        rows = await spool.store.items(states=[S.HELD])
        assert len(rows) == 3
        assert (spool.queue.view(rows[0]).note or "").startswith("451 4.4.7")
        spool.clock.advance(400 * DAY)
        swept = await retention(spool).sweep()
        assert (swept.overdue, swept.purged) == (1, 0)
        found = await spool.store.item(young)
        assert found is not None
        assert found.state is S.HELD


async def test_shadow_copies_and_remains_go_after_their_time(tmp_path: Path) -> None:
    async with open_spool(tmp_path) as spool:
        item = await accept(spool, 1)
        (row,) = await spool.queue.claim(limit=1, seconds=60.0, states=[S.PENDING])
        assert row.lease is not None
        await spool.queue.intend([row.lease])
        await spool.queue.settle(row.lease, S.DELIVERED)
        draft = spool.intake.begin()
        await draft.write(b"x" * 2_000_000)
        assert (await retention(spool).sweep()).staged == 0
        spool.clock.advance(2 * DAY)
        swept = await retention(spool).sweep()
        assert (swept.purged, swept.staged) == (0, 1)
        spool.clock.advance(13 * DAY)
        assert (await retention(spool).sweep()).purged == 1
        assert (await spool.store.chunks(item, 0, 1)) == [None]
        await draft.discard()


async def test_logins_that_are_good_for_nothing_any_more_go(tmp_path: Path) -> None:
    async with open_spool(tmp_path) as spool:
        stored = Credentials(spool.store, spool.vault)
        kinds: tuple[Kind, ...] = ("configured", "remembered", "token", "revoked")
        for kind in kinds:
            await stored.put("old@example.org", kind, "", now=spool.clock.now())
        spool.clock.advance(30 * DAY)
        await stored.put("new@example.org", "remembered", "", now=spool.clock.now())
        await stored.put("new@example.org", "token", "", now=spool.clock.now())
        assert (await retention(spool).sweep()).logins == 1
        spool.clock.advance(1.0)
        assert (await retention(spool).sweep()).logins == 1
        left = [(kind, one.address.partition("@")[0]) for kind in kinds for one in await stored.all(kind)]
        assert left == [("configured", "old"), ("remembered", "new"), ("token", "new"), ("revoked", "old")]
