"""Folders as a user changes and lists them, and what other sessions hear of it."""

from __future__ import annotations

import asyncio

import pytest

from relay.proto.imap.client import Data, Event, Status
from relay.spool import deeds
from relay.spool.folders import Usual
from relay.store.api import StoreUnavailable
from relay.store.mailbox_api import StaleFolders
from relay.store.mailbox_records import Quota
from tests.serve.conftest import MESSAGE, Front, MakeFront

USUAL = (Usual("Drafts", "\\Drafts"), Usual("Sent", "\\Sent"), Usual("Archive/Old", "\\Archive"))


def said(events: list[Event]) -> list[str]:
    """Untagged responses by their names."""
    return [event.name if isinstance(event, Data) else type(event).__name__ for event in events]


async def test_the_life_of_a_folder(front: Front) -> None:
    client = await front.user(None)
    await client.script(
        """
        C: a1 CREATE Work/Projects/
        S: a1 OK [MAILBOXID (F<...>)] Created
        C: a2 CREATE Work/Projects
        S: a2 NO [ALREADYEXISTS] Mailbox already exists
        C: a3 CREATE inbox
        S: a3 NO [ALREADYEXISTS] Mailbox already exists
        C: a4 CREATE a//b
        S: a4 NO [CANNOT] Mailbox name is not allowed
        C: a5 LIST "" *
        S: * LIST (\\HasNoChildren) "/" INBOX
        S: * LIST (\\Noselect \\HasChildren) "/" Work
        S: * LIST (\\HasNoChildren) "/" Work/Projects
        S: a5 OK Done
        C: a6 DELETE Work
        S: a6 NO [HASCHILDREN] Mailbox has others below it and is none itself
        C: a7 SUBSCRIBE Work/Projects
        S: a7 OK Done
        C: a8 RENAME Work Play
        S: a8 OK Renamed
        C: a9 LIST "" Play/%
        S: * LIST (\\HasNoChildren) "/" Play/Projects
        S: a9 OK Done
        C: b1 LSUB "" *
        S: * LSUB (\\HasNoChildren) "/" INBOX
        S: * LSUB (\\HasNoChildren) "/" Work/Projects
        S: b1 OK Done
        C: b2 UNSUBSCRIBE Work/Projects
        S: b2 OK Done
        C: b3 UNSUBSCRIBE Work/Projects
        S: b3 OK Done
        C: b4 RENAME Work Other
        S: b4 NO [NONEXISTENT] No such mailbox
        C: b5 RENAME Play INBOX
        S: b5 NO [ALREADYEXISTS] Mailbox already exists
        C: b6 RENAME Play Play/Below
        S: b6 NO [CANNOT] A mailbox cannot be moved below itself
        C: b7 DELETE Play/Projects
        S: b7 OK Deleted
        C: b8 DELETE Play/Projects
        S: b8 NO [NONEXISTENT] No such mailbox
        C: b9 DELETE INBOX
        S: b9 NO [CANNOT] INBOX cannot be deleted
        C: c1 CREATE &AMQ-rger
        S: c1 OK [MAILBOXID (F<...>)] Created
        C: c2 LIST "" &AMQ-*
        S: * LIST (\\HasNoChildren) "/" &AMQ-rger
        S: c2 OK Done
        C: c3 STATUS &AMQ-rger (MESSAGES MAILBOXID APPENDLIMIT HIGHESTMODSEQ)
        S: * STATUS &AMQ-rger (MESSAGES 0 MAILBOXID (F<...>) APPENDLIMIT 50000000 HIGHESTMODSEQ 0)
        S: c3 OK Done
        C: c4 NAMESPACE
        S: * NAMESPACE (("" "/")) NIL NIL
        S: c4 OK Done
        """
    )


async def test_special_uses(front: Front) -> None:
    client = await front.user(None)
    await client.script(
        """
        C: a1 CREATE Gesendet (USE (\\sent))
        S: a1 OK [MAILBOXID (F<...>)] Created
        C: a2 CREATE Andere (USE (\\Sent))
        S: a2 NO [USEATTR] Another mailbox has this special use
        C: a3 CREATE Alles (USE (\\All))
        S: a3 NO [USEATTR] No mailbox can have this special use
        C: a4 CREATE Unfug (USE (\\Nonsense))
        S: a4 NO [USEATTR] No mailbox can have this special use
        C: a5 LIST (SPECIAL-USE) "" *
        S: * LIST (\\HasNoChildren \\Sent) "/" Gesendet
        S: a5 OK Done
        C: a6 RENAME Gesendet Sent
        S: a6 OK Renamed
        C: a7 LIST "" * RETURN (SPECIAL-USE SUBSCRIBED CHILDREN)
        S: * LIST (\\HasNoChildren \\Subscribed) "/" INBOX
        S: * LIST (\\HasNoChildren \\Sent) "/" Sent
        S: a7 OK Done
        """
    )


async def test_list_extended_with_status(front: Front) -> None:
    await front.deliver(MESSAGE)
    client = await front.user(None)
    await client.ok("CREATE a/b")
    await client.ok("SUBSCRIBE a/b")
    await client.ok("SUBSCRIBE gone")
    await client.script(
        f"""
        C: a1 LIST "" (INBOX a/%) RETURN (STATUS (MESSAGES UNSEEN SIZE))
        S: * LIST (\\HasNoChildren) "/" INBOX
        S: * STATUS INBOX (MESSAGES 1 UNSEEN 1 SIZE {len(MESSAGE)})
        S: * LIST (\\HasNoChildren) "/" a/b
        S: * STATUS a/b (MESSAGES 0 UNSEEN 0 SIZE 0)
        S: a1 OK Done
        C: a2 LIST (SUBSCRIBED) "" *
        S: * LIST (\\HasNoChildren \\Subscribed) "/" INBOX
        S: * LIST (\\HasNoChildren \\Subscribed) "/" a/b
        S: * LIST (\\NonExistent \\Noselect \\HasNoChildren \\Subscribed) "/" gone
        S: a2 OK Done
        C: a3 LIST (SUBSCRIBED RECURSIVEMATCH) "" %
        S: * LIST (\\HasNoChildren \\Subscribed) "/" INBOX
        S: * LIST (\\NonExistent \\Noselect \\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED"))
        S: * LIST (\\NonExistent \\Noselect \\HasNoChildren \\Subscribed) "/" gone
        S: a3 OK Done
        C: a4 LIST (RECURSIVEMATCH) "" *
        S: a4 BAD RECURSIVEMATCH needs another option
        """
    )


async def test_status_of_what_is_marked_deleted(front: Front) -> None:
    await front.deliver(MESSAGE, MESSAGE, MESSAGE + b"more\r\n")
    client = await front.user()
    await client.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)")
    await client.script(
        f"""
        C: a1 STATUS INBOX (DELETED DELETED-STORAGE UIDNEXT)
        S: * STATUS INBOX (DELETED 2 DELETED-STORAGE {2 * len(MESSAGE) + 6} UIDNEXT 4)
        S: a1 OK Done
        C: a2 EXPUNGE
        S: * 3 EXPUNGE
        S: * 2 EXPUNGE
        S: a2 OK Done
        C: a3 STATUS INBOX (DELETED DELETED-STORAGE)
        S: * STATUS INBOX (DELETED 0 DELETED-STORAGE 0)
        S: a3 OK Done
        """
    )


async def test_names_are_utf8_once_that_is_enabled(front: Front) -> None:
    client = await front.user(None)
    await client.ok("ENABLE UTF8=ACCEPT")
    await client.ok('CREATE "Entwürfe"'.encode())
    await client.script(
        """
        C: a1 LIST "" E*
        S: * LIST (\\HasNoChildren) "/" "Entwürfe"
        S: a1 OK Done
        """
    )


async def test_renaming_the_inbox_takes_its_messages_along(front: Front) -> None:
    await front.deliver(MESSAGE, MESSAGE)
    client, other = await front.user(None), await front.user("INBOX")
    heard = front.heard("expunged")
    await client.ok("RENAME INBOX Old")
    await heard
    await client.ok("STATUS Old (MESSAGES)")
    assert "MESSAGES" in repr(client.untagged)
    assert said(await other.ok("NOOP")).count("EXPUNGE") == 2
    assert (await client.command("SELECT Old")).status == "OK"
    assert len(await client.fetch("FETCH 1:* FLAGS")) == 2


@pytest.mark.parametrize("how", ["DELETE a", "RENAME a b", "RENAME up other"])
async def test_a_session_whose_mailbox_goes_away_hears_bye(front: Front, how: str) -> None:
    client = await front.user(None)
    name = "up/a" if "up" in how else "a"
    await client.ok(f"CREATE {name}")
    reading, idling = await front.user(name), await front.user(name)
    idling.send(b"i IDLE\r\n")
    await idling.event()
    heard = front.heard("mailbox")
    await client.ok(how)
    await heard
    assert [event.status for event in await idling.end() if isinstance(event, Status)] == ["BYE"]
    reading.send(b"x NOOP\r\n")
    assert [(event.tag, event.status) for event in await reading.end() if isinstance(event, Status)] == [(None, "BYE")]
    await client.nothing_left()


@pytest.mark.parametrize("how", ["DELETE a", "RENAME a b"])
async def test_a_session_that_takes_away_its_own_mailbox_hears_ok_and_then_bye(front: Front, how: str) -> None:
    client = await front.user(None)
    await client.ok("CREATE a")
    await client.ok("SELECT a")
    await client.ok(how)
    client.send(b"x NOOP\r\n")
    assert [(event.tag, event.status) for event in await client.end() if isinstance(event, Status)] == [(None, "BYE")]


async def test_a_mailbox_is_selected_by_the_new_name_before_the_feed_has_brought_it(front: Front) -> None:
    client, other = await front.user(None), await front.user(None)
    await client.ok("CREATE up/a")
    for number in range(10):  # the feed rests between two looks: what comes meanwhile is brought late
        old, new = ("up", "down") if number % 2 == 0 else ("down", "up")
        await client.ok(f"RENAME {old} {new}")
        heard = front.heard("mailbox")
        await client.ok(f"RENAME {new}/a {new}/b")
        await client.ok(f"RENAME {new}/b {new}/a")
        await other.ok(f"SELECT {new}/a")
        await heard
        await other.ok("NOOP")
    heard = front.heard("mailbox")
    await client.ok("RENAME up/a elsewhere")
    await heard
    other.send(b"x NOOP\r\n")
    assert [event.status for event in await other.end() if isinstance(event, Status)] == ["BYE"]


async def test_a_session_that_has_closed_it_stays(front: Front) -> None:
    client = await front.user(None)
    await client.ok("CREATE a")
    for leave in ("CLOSE", "UNSELECT"):
        await client.ok("SELECT a")
        await client.ok(leave)
    await client.ok("DELETE a")
    await client.nothing_left()


async def test_usual_folders_are_shown_and_made_when_they_are_used(make_front: MakeFront) -> None:
    front = await make_front(usual=USUAL)
    client = await front.user(None)
    await client.script(
        """
        C: a1 LIST "" *
        S: * LIST (\\HasNoChildren) "/" INBOX
        S: * LIST (\\Noselect \\HasChildren) "/" Archive
        S: * LIST (\\HasNoChildren \\Archive) "/" Archive/Old
        S: * LIST (\\HasNoChildren \\Drafts) "/" Drafts
        S: * LIST (\\HasNoChildren \\Sent) "/" Sent
        S: a1 OK Done
        C: a2 LSUB "" D*
        S: * LSUB (\\HasNoChildren) "/" Drafts
        S: a2 OK Done
        """
    )
    account = await front.services.mailboxes.open_account("bob@example.org")
    assert [one.name for one in await front.services.mailboxes.folders(account)] == ["INBOX"]
    assert await front.spool.store.journal(after=0, limit=10) == []
    await client.script(
        """
        C: b1 STATUS Drafts (MESSAGES UIDNEXT)
        S: * STATUS Drafts (MESSAGES 0 UIDNEXT 1)
        S: b1 OK Done
        C: b2 CREATE Sent
        S: b2 NO [ALREADYEXISTS] Mailbox already exists
        C: b3 RENAME Drafts Notes
        S: b3 OK Renamed
        C: b4 LIST "" *
        S: * LIST (\\HasNoChildren) "/" INBOX
        S: * LIST (\\Noselect \\HasChildren) "/" Archive
        S: * LIST (\\HasNoChildren \\Archive) "/" Archive/Old
        S: * LIST (\\HasNoChildren \\Drafts) "/" Notes
        S: * LIST (\\HasNoChildren \\Sent) "/" Sent
        S: b4 OK Done
        C: b5 DELETE Sent
        S: b5 OK Deleted
        C: b6 SELECT Drafts
        S: b6 NO [NONEXISTENT] No such mailbox
        C: b7 LIST "" S* RETURN (STATUS (MESSAGES))
        S: * LIST (\\HasNoChildren \\Sent) "/" Sent
        S: * STATUS Sent (MESSAGES 0)
        S: b7 OK Done
        """
    )
    made = [
        deeds.decode(front.spool.vault, row)
        for row in await front.spool.store.journal(after=0, limit=50)
        if row.kind == "create"
    ]
    assert [(one.name, one.special_use) for one in made] == [
        ("Drafts", "\\Drafts"),
        ("Sent", "\\Sent"),
        ("Sent", "\\Sent"),
    ]


async def test_a_usual_folder_gives_way_to_one_of_the_same_use(make_front: MakeFront) -> None:
    front = await make_front(usual=USUAL)
    client = await front.user(None)
    await client.ok("CREATE Gesendet (USE (\\Sent))")
    await client.ok('LIST "" *')
    assert "Gesendet" in repr(client.untagged)
    assert "'Sent'" not in repr(client.untagged)
    assert (await client.command("STATUS Sent (MESSAGES)")).status == "NO"
    await client.ok('LSUB "" *')
    assert "'Sent'" not in repr(client.untagged)


async def test_quota(make_front: MakeFront) -> None:
    front = await make_front(quota=Quota(size=10_240))
    await front.deliver(MESSAGE)
    client = await front.user(None)
    await client.script(
        """
        C: a1 GETQUOTAROOT inbox
        S: * QUOTAROOT INBOX "User quota"
        S: * QUOTA "User quota" (STORAGE 1 10)
        S: a1 OK Done
        C: a2 GETQUOTA "User quota"
        S: * QUOTA "User quota" (STORAGE 1 10)
        S: a2 OK Done
        C: a3 GETQUOTA ""
        S: a3 NO [NONEXISTENT] No such quota root
        C: a4 SETQUOTA "User quota" (STORAGE 512)
        S: a4 NO [NOPERM] Quotas are set by the operator
        C: a5 GETQUOTAROOT nothing
        S: a5 NO [NONEXISTENT] No such mailbox
        """
    )


async def test_without_a_quota_there_is_no_root(front: Front) -> None:
    client = await front.user(None)
    await client.script(
        """
        C: a1 GETQUOTAROOT INBOX
        S: * QUOTAROOT INBOX
        S: a1 OK Done
        C: a2 GETQUOTA "User quota"
        S: a2 NO [NONEXISTENT] No such quota root
        """
    )


@pytest.mark.parametrize("fault", [StoreUnavailable("down"), StaleFolders("always")])
async def test_a_store_that_cannot_now_is_not_a_refusal(
    front: Front, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await front.user(None)

    async def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(front.spool.store, "change_folders", fails)
    answer = await client.command("CREATE a")
    assert (answer.status, "UNAVAILABLE" in repr(answer)) == ("NO", True)


async def test_two_sessions_change_folders_at_once(front: Front) -> None:
    clients = [await front.user(None) for _ in range(4)]
    answers = await asyncio.gather(*(client.command("CREATE same") for client in clients))
    assert sorted(answer.status for answer in answers) == ["NO", "NO", "NO", "OK"]
    await asyncio.gather(*(client.ok(f"CREATE own{n}/x") for n, client in enumerate(clients)))
    await clients[0].ok('LIST "" *')
    assert len(clients[0].untagged) == 1 + 1 + 4 * 2
