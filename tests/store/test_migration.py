"""A file of version 1 is brought to the newest version with everything that was in it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import apsw

from relay.core.item import BIRTH, LEGAL
from relay.store.mailbox_records import Subscription
from relay.store.records import KeywordRow, Route
from relay.store.sqlite import SqliteSettings, open_store
from relay.store.sqlite.database import APPLICATION_ID
from tests.store.samples import JOURNAL, NOW, account, item_id, new_item, new_message, word


def version_1(path: Path) -> None:
    """Two accounts, three messages, keywords, a journal; the first user has unsubscribed from INBOX."""
    text = (resources.files("relay.store.sqlite") / "migrations" / "0001_first.sql").read_text("utf-8")
    db = apsw.Connection(str(path))
    db.execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL")
    db.execute(f"BEGIN; {text}; PRAGMA user_version = 1; PRAGMA application_id = {APPLICATION_ID}; COMMIT")
    steps = {("", str(state)) for state in BIRTH} | {(str(was), str(new)) for was, to in LEGAL.items() for new in to}
    db.executemany("INSERT INTO legal_step (was, becomes) VALUES (?, ?)", sorted(steps))
    for number, name in ((1, "ann"), (2, "bob")):
        one = account(name)
        db.execute("BEGIN")
        db.execute(
            "INSERT INTO mailbox (id, account, name_mac, name, uidvalidity, subscribed) VALUES (?, ?, ?, ?, ?, ?)",
            (number, number, one.inbox_mac, one.inbox_name, 1000 * number, number - 1),
        )
        db.execute(
            "INSERT INTO account (id, mac, address, inbox) VALUES (?, ?, ?, ?)", (number, one.mac, one.address, number)
        )
        db.execute("COMMIT")
    for n, flags, words in ((1, 8, b"sealed list"), (2, 1, None), (3, 9, b"another list")):
        db.execute(
            "INSERT INTO item (n, id, state, route, received_at, size, key_id, wrapped_key, envelope, chunk_count, "
            "changed_at, shown) VALUES (?, ?, 'pending', 'primary', ?, 10, 'key-1', x'00', x'00', 1, ?, 1)",
            (n, item_id(n), NOW + n, NOW),
        )
        db.execute("INSERT INTO recipient (item, idx, mac, state, inbox) VALUES (?, 0, x'00', 'waiting', 1)", (n,))
        db.execute("INSERT INTO chunk (key, data) VALUES (?, ?)", (n << 20, b"body %d" % n))
        db.execute(
            "INSERT INTO message (mailbox, uid, item, id, internal_date, size, flags, keywords, changed) "
            "VALUES (1, ?1, ?1, ?2, ?3, 10, ?4, ?5, (SELECT max(seq) + 1 FROM change))",
            (n, item_id(n), NOW + n, flags, words),
        )
    db.execute(
        "INSERT INTO journal (at, account, mailbox, kind, session, base, body) "
        "VALUES (?, ?, 1, 'store', 'session', 3, x'AA')",
        (NOW, account("ann").mac),
    )
    db.close()


async def test_version_1_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    version_1(path)
    ann, bob = account("ann"), account("bob")
    store = await open_store(path, SqliteSettings())
    tree = await store.folders(ann.mac)
    assert tree is not None
    (inbox,) = tree.mailboxes
    assert (inbox.uidvalidity, inbox.uidnext, inbox.messages, inbox.unseen, inbox.deleted) == (1000, 4, 3, 1, 2)
    assert (inbox.size, inbox.subscribed, tree.subscriptions) == (30, False, ())
    other = await store.folders(bob.mac)
    assert other is not None
    assert other.subscriptions == (Subscription(bob.inbox_mac, bob.inbox_name),)
    rows = await store.messages(inbox.id)
    assert [(row.uid, row.flags, row.saved) for row in rows] == [(1, 8, NOW + 1), (2, 1, NOW + 2), (3, 9, NOW + 3)]
    (entry,) = await store.journal(after=0, limit=9)
    assert (entry.kind, entry.base, entry.body, entry.target, entry.effects) == ("store", 3, b"\xaa", None, ())
    assert {item: body.first for item, body in (await store.bodies([item_id(2)])).items()} == {item_id(2): b"body 2"}

    # Lists of keywords: only who holds the key can take them apart.
    listed = {keyword.id: keyword.name for keyword in await store.keywords(ann.mac)}
    assert [[listed[number] for number in row.keywords] for row in rows] == [[b"sealed list"], [], [b"another list"]]
    assert {keyword.mac for keyword in await store.keywords(ann.mac)} == {None}
    (first,), (third,) = rows[0].keywords, rows[2].keywords
    await store.split_keywords(ann.mac, first, [word("one"), word("two")])
    await store.split_keywords(ann.mac, first, [word("never")])
    await store.split_keywords(bob.mac, third, [word("never")])
    await store.split_keywords(ann.mac, third, [word("two")])
    words = {keyword.mac: keyword.id for keyword in await store.keywords(ann.mac)}
    assert set(words) == {word("one").mac, word("two").mac}
    assert not set(words.values()) & {first, third}
    rows = await store.messages(inbox.id)
    assert [set(row.keywords) for row in rows] == [set(words.values()), set(), {words[word("two").mac]}]

    # And it lives on.
    await store.accept(new_item(4), now=NOW)
    await store.append(inbox.id, [new_message(5, "two")], JOURNAL, now=NOW)
    assert [(row.uid, row.keywords) for row in (await store.messages(inbox.id))[3:]] == [
        (4, ()),
        (5, (words[word("two").mac],)),
    ]
    row = await store.item(item_id(5))
    assert row is not None
    assert row.route is Route.MAILBOX
    await store.close()
    again = await open_store(path, SqliteSettings())
    assert await again.keywords(ann.mac) == [
        KeywordRow(words[keyword.mac], keyword.mac, keyword.name) for keyword in (word("one"), word("two"))
    ]
    await again.close()
