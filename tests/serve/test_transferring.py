"""COPY, MOVE and UID EXPUNGE, and what other sessions see of them."""

from __future__ import annotations

import asyncio
import random

import pytest

from relay.proto.imap import client_data
from relay.proto.imap.client import Data, Status
from relay.proto.imap.sequence import compact
from relay.store.mailbox_records import Quota
from tests.serve.client import Client
from tests.serve.conftest import MESSAGE, Front, MakeFront


def second(n: int) -> bytes:
    """A message that can be told from others."""
    return MESSAGE.replace(b"Hello", b"Number %d" % n)


async def test_copy_and_move_by_number_and_by_uid(front: Front) -> None:
    await front.deliver(*(second(n) for n in range(1, 6)))
    client = await front.user()
    await client.ok("CREATE a")
    await client.ok("STORE 2 +FLAGS.SILENT (\\Flagged $Word)")
    await client.script(
        """
        C: a1 COPY 1:2 a
        S: a1 OK [COPYUID <...> 1:2 1:2] Copied
        C: a2 UID COPY 3,9 a
        S: a2 OK [COPYUID <...> 3 3] Copied
        C: a3 UID COPY 9 a
        S: a3 OK No messages found
        C: a4 COPY 6 a
        S: a4 BAD No such message number
        C: a5 COPY 1 nothing
        S: a5 NO [TRYCREATE] No such mailbox
        C: a6 UID MOVE 2:3 a
        S: * OK [COPYUID <...> 2:3 4:5] Moved
        S: * 3 EXPUNGE
        S: * 2 EXPUNGE
        S: a6 OK Moved
        C: a7 MOVE 1 nothing
        S: a7 NO [TRYCREATE] No such mailbox
        C: a8 MOVE 1,3 a
        S: * OK [COPYUID <...> 1,5 6:7] Moved
        S: * 3 EXPUNGE
        S: * 1 EXPUNGE
        S: a8 OK Moved
        C: a9 UID MOVE 1 a
        S: a9 OK No messages found
        C: b1 STATUS a (MESSAGES UIDNEXT)
        S: * STATUS a (MESSAGES 7 UIDNEXT 8)
        S: b1 OK Done
        C: b2 EXAMINE a
        S: * OK [CLOSED] Closed
        """
    )
    while not (isinstance(event := await client.event(), Status) and event.tag == "b2"):
        pass
    await client.script(
        """
        C: b3 FETCH 4 (UID FLAGS)
        S: * 4 FETCH (UID 4 FLAGS (\\Flagged $Word))
        S: b3 OK Done
        C: b4 MOVE 1 INBOX
        S: b4 NO [READ-ONLY] Mailbox is read-only
        C: b5 COPY 1 INBOX
        S: b5 OK [COPYUID <...> 1 6] Copied
        """
    )


async def test_copies_into_the_same_mailbox_are_told_at_once(front: Front) -> None:
    await front.deliver(MESSAGE, MESSAGE)
    client = await front.user()
    await client.script(
        """
        C: a COPY 1:2 INBOX
        S: * 4 EXISTS
        S: * 2 RECENT
        S: a OK [COPYUID <...> 1:2 3:4] Copied
        C: b MOVE 1 INBOX
        S: * OK [COPYUID <...> 1 5] Moved
        S: * 1 EXPUNGE
        S: * 4 EXISTS
        S: * 3 RECENT
        S: b OK Moved
        """
    )


async def test_what_others_put_in_between_is_told_in_its_order(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own message comes by command, others by the feed, which has not said so yet."""
    client = await front.user()
    is_held, go = asyncio.Event(), asyncio.Event()
    wait_change = front.spool.store.wait_change

    async def held(*, after: int, timeout: float) -> int:
        is_held.set()
        await go.wait()
        return await wait_change(after=after, timeout=timeout)

    monkeypatch.setattr(front.spool.store, "wait_change", held)
    await front.spool.store.put_setting("wake", b"", now=0.0)
    await asyncio.wait_for(is_held.wait(), 20)
    await front.deliver(second(1), second(2), second(3))
    client.send(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE))
    await client.script("S: * 4 EXISTS\nS: * 4 RECENT\nS: a OK [APPENDUID <...> 4] Stored")
    await front.deliver(second(5))
    heard = front.heard("setting")
    await front.spool.store.put_setting("end", b"", now=0.0)
    go.set()
    await heard
    await client.script("C: b NOOP\nS: * 5 EXISTS\nS: * 5 RECENT\nS: b OK Done")
    assert [one.uid for one in await client.fetch("FETCH 1:5 UID")] == [1, 2, 3, 4, 5]


async def test_what_is_gone_is_not_copied(front: Front) -> None:
    await front.deliver(MESSAGE, MESSAGE, MESSAGE)
    client, other = await front.user(), await front.user()
    await other.ok("STORE 2 +FLAGS (\\Deleted)")
    heard = front.heard("expunged")
    await other.ok("UID EXPUNGE 2")
    await heard
    await client.ok("CREATE a")
    # The CREATE has told the removal; another one happens while a command that may not tell it runs.
    await other.ok("STORE 1 +FLAGS (\\Deleted)")
    heard = front.heard("expunged")
    await other.ok("EXPUNGE")
    await heard
    answer = await client.command("COPY 1:2 a")
    assert (answer.status, answer.code) == ("NO", "EXPUNGEISSUED")
    answer = await client.command("UID COPY 1:* a")
    assert answer.status == "OK"
    assert "b'3'" in repr(answer.arguments)


async def test_uid_expunge_takes_only_what_is_named(front: Front) -> None:
    await front.deliver(*(second(n) for n in range(1, 6)))
    client = await front.user()
    await client.ok("STORE 1:3 +FLAGS.SILENT (\\Deleted)")
    await client.script(
        """
        C: a UID EXPUNGE 2:5
        S: * 3 EXPUNGE
        S: * 2 EXPUNGE
        S: a OK Done
        C: b UID EXPUNGE 100
        S: b OK Done
        C: c CLOSE
        S: c OK Done
        C: d STATUS INBOX (MESSAGES)
        S: * STATUS INBOX (MESSAGES 2)
        S: d OK Done
        """
    )


async def test_a_copy_over_quota_copies_nothing(make_front: MakeFront) -> None:
    front = await make_front(quota=Quota(size=3 * len(MESSAGE)))
    await front.deliver(MESSAGE, MESSAGE)
    client = await front.user()
    await client.ok("CREATE a")
    answer = await client.command("COPY 1:2 a")
    assert (answer.status, answer.code) == ("NO", "OVERQUOTA")
    await client.ok("MOVE 1:2 a")
    await client.ok("STATUS a (MESSAGES)")
    assert "b'2'" in repr(client.untagged)


async def test_the_saved_result_can_be_moved(front: Front) -> None:
    await front.deliver(*(second(n) for n in range(1, 4)))
    client = await front.user()
    await client.ok("CREATE a")
    await client.ok('SEARCH RETURN (SAVE) SUBJECT "Number 2"')
    await client.script(
        """
        C: a MOVE $ a
        S: * OK [COPYUID <...> 2 1] Moved
        S: * 2 EXPUNGE
        S: a OK Moved
        C: b COPY $ a
        S: b OK No messages found
        C: c STORE 2 +FLAGS.SILENT (\\Deleted)
        S: c OK Done
        C: d SEARCH RETURN (SAVE) ALL
        S: d OK Done
        C: e UID EXPUNGE $
        S: * 2 EXPUNGE
        S: e OK Done
        """
    )


class Believer:
    """A session that believes only what it is told: a place for each message, 0 where its UID was not asked for yet."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.uids: list[int] = []

    async def say(self, command: str, *more: bytes) -> None:
        """A command that succeeds, and what it tells."""
        await self.client.ok(command, *more)
        for event in self.client.untagged:
            if not isinstance(event, Data) or event.number is None:
                continue
            if event.name == "EXPUNGE":
                del self.uids[event.number - 1]
            elif event.name == "EXISTS":
                assert event.number >= len(self.uids)
                self.uids += [0] * (event.number - len(self.uids))

    async def check(self) -> None:
        """The numbers name what they named when they were told."""
        if self.uids:
            await self.say("FETCH 1:* UID")
            data = [client_data.fetched(event) for event in self.client.untagged if isinstance(event, Data)]
            found = [one.uid or 0 for one in data if one is not None]
            before, fresh = self.uids[: len(found)], self.uids[len(found) :]
            assert [known or now for known, now in zip(before, found, strict=True)] == found
            self.uids = found + fresh


@pytest.mark.parametrize("seed", range(3))
async def test_two_sessions_see_the_same_mailbox_whatever_is_done(front: Front, seed: int) -> None:
    chance = random.Random(seed)
    await front.deliver(*(second(n) for n in range(6)))
    writer, watcher = Believer(await front.user(None)), Believer(await front.user(None))
    await writer.say("CREATE a")
    for one in (writer, watcher):
        await one.say("SELECT INBOX")
        await one.check()
    for _ in range(25):
        known = [uid for uid in writer.uids if uid]
        some = sorted(chance.sample(known, min(len(known), 2)))
        named = compact(some).decode() or "1"
        act = chance.choice(["copy", "move", "append", "expunge", "back", "deliver"])
        if act == "copy":
            await writer.say(f"UID COPY {named} INBOX")
        elif act == "move":
            await writer.say(f"UID MOVE {named} a")
        elif act == "append":
            await writer.say(f"APPEND INBOX {{{len(MESSAGE)}}}", MESSAGE)
        elif act == "expunge":
            await writer.say(f"UID STORE {named} +FLAGS.SILENT (\\Deleted)")
            await writer.say(f"UID EXPUNGE {named}")
        elif act == "back":
            await writer.say(f"UID MOVE {named} INBOX")
        else:
            await front.deliver(second(9))
        await writer.check()
        if chance.random() < 0.5:
            await watcher.say("NOOP")
    account = await front.services.mailboxes.open_account("bob@example.org")
    inbox = await front.services.mailboxes.folder(account, "INBOX")
    assert inbox is not None
    truth = [row.uid for row in await front.services.mailboxes.messages(inbox)]
    heard = front.heard("setting")
    await front.spool.store.put_setting("end", b"", now=0.0)  # whatever comes before it in the feed has been heard
    await heard
    for one in (writer, watcher):
        await one.say("NOOP")
        await one.check()
        assert one.uids == truth
