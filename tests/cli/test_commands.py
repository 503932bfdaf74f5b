"""What each command does to the store, and says."""

from __future__ import annotations

import fcntl
from pathlib import Path

import apsw
import msgspec
import pytest

from relay.cli.audit import BALANCE, PLACES, Report
from relay.control.coordinator import OVERRIDE, decode_overrides
from relay.core.envelope import Origin
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.mode import Override, Service
from relay.spool.appending import Appends
from relay.spool.deeds import Seen
from relay.spool.queue import Result
from relay.spool.replaying import CANARIES, SENT_AGAIN, Canaries, SentAgain, encode
from relay.store.records import Route
from relay.store.sqlite.bodies import CHUNK_BITS
from relay.vault.keys import KeyRing
from tests.cli.conftest import BODY, Desk
from tests.spool.conftest import ENVELOPE, Spool


def states(desk: Desk) -> dict[str, str]:
    wanted = [state for state in ItemState if state is not ItemState.PURGED]
    every = [word for state in wanted for word in ("--state", state.value)]
    return {view["id"]: view["state"] for view in desk.relay("queue", "list", "--json", *every).json}


# --- queue ------------------------------------------------------------------------------------------------------------


def test_list(desk: Desk) -> None:
    items = desk.mixed()
    done = desk.relay("queue", "list")
    assert done.code == 0
    assert items["pending"] in done.out
    assert "Bob@example.org" in done.out
    assert "550 5.1.1" in done.out
    assert "3 of 3 messages" in done.out
    assert items["refused"] not in done.out
    held = desk.relay("queue", "list", "--state", "held", "--json").json
    assert [view["id"] for view in held] == [items["held"]]
    assert held[0]["recipients"][0]["address"] == "carol@example.org"
    assert "1 of 3 messages" in desk.relay("queue", "list", "--limit", "1").out


def test_show_by_the_beginning_of_an_id(desk: Desk) -> None:
    items = desk.mixed()
    whole = items["pending"]
    for text in (whole, whole[:-3], whole.upper()):
        done = desk.relay("queue", "show", text, "--json")
        assert done.json["item"]["id"] == whole, text
    assert [step["to"] for step in desk.relay("queue", "show", items["held"], "--json").json["life"]] == [
        "pending",
        "intent",
        "held",
    ]
    assert "carol@example.org" in desk.relay("queue", "show", items["held"]).out
    assert desk.relay("queue", "show", whole[:1]).code == 1
    assert "more than one" in desk.relay("queue", "show", whole[:1]).err
    assert "there is no such message" in desk.relay("queue", "show", "zzzz").err


def test_hold_release_retry_return(desk: Desk) -> None:
    items = desk.mixed()
    assert desk.relay("queue", "hold", items["pending"]).out == "1 message held.\n"
    assert states(desk)[items["pending"]] == "held"
    done = desk.relay("queue", "release", "--all", "--json")
    assert done.code == 0
    assert set(done.json["done"]) == {items["pending"], items["held"], items["quarantined"]}
    assert set(states(desk).values()) == {"pending", "refused"}
    assert desk.relay("queue", "retry", items["pending"]).code == 0
    life = desk.relay("queue", "show", items["pending"], "--json").json["life"]
    assert [step["to"] for step in life][-2:] == ["held", "pending"]
    desk.relay("queue", "hold", items["held"])
    returned = desk.relay("queue", "return", items["held"], "--json")
    assert returned.json == {"done": [items["held"]], "failed": {}}
    assert states(desk)[items["held"]] == "returned"
    # Nobody logged in or asked for a report: alice@sender.example may be forged, so nothing was queued for her.
    assert sorted(states(desk)) == sorted(items.values())


@pytest.mark.parametrize(
    ("given", "words", "returned"),
    [("n\n", (), 0), ("\n", (), 0), ("y\n", (), 2), ("", ("--yes",), 2), ("n\n", ("--json",), 0)],
)
def test_all_is_returned_only_after_a_question(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, given: str, words: tuple[str, ...], returned: int
) -> None:
    desk.mixed()
    monkeypatch.setattr("relay.cli.queue.on_terminal", lambda: True)
    done = desk.relay("queue", "return", "--all", *words, given=given)
    assert done.code == (0 if returned else 1)
    assert ("2 messages will never be delivered" in done.err) is ("--yes" not in words)
    assert list(states(desk).values()).count("returned") == returned
    if not returned:
        assert (done.out, "nothing was returned" in done.err) == ("", True)


def test_a_script_is_not_asked(desk: Desk) -> None:
    desk.mixed()
    assert len(desk.relay("queue", "return", "--all", "--json").json["done"]) == 2


def test_a_message_on_hold_says_by_whom_and_why(desk: Desk) -> None:
    items = desk.mixed()
    desk.relay("queue", "hold", items["pending"])
    assert "Held by an operator" in desk.relay("queue", "show", items["pending"]).out
    desk.relay("queue", "release", items["pending"])
    assert "Held by an operator" not in desk.relay("queue", "show", items["pending"]).out
    desk.relay("queue", "hold", items["pending"], "--why", "ask bob@example.org\r\nfirst")
    held = {view["id"]: view["note"] for view in desk.relay("queue", "list", "--state", "held", "--json").json}
    assert held[items["pending"]].startswith("450 4.7.0 Held by an operator: ask bob@example.org")
    assert all(held.values())


def test_what_cannot_be_done_is_said_for_each_and_stops_no_other(desk: Desk) -> None:
    items = desk.mixed()
    done = desk.relay("queue", "release", items["pending"], items["held"], "--json")
    assert done.code == 1
    assert done.json["done"] == [items["held"]]
    assert done.json["failed"] == {items["pending"]: "is pending, not held or quarantined"}
    assert f"relay: {items['pending']}: is pending" in done.err
    assert desk.relay("queue", "release", "--all", items["held"]).code == 2


def test_a_message_that_is_being_delivered_is_left_alone(desk: Desk) -> None:
    async def work(spool: Spool) -> ItemId:
        item = (await spool.accept(BODY)).item
        now = 9_000_000_000.0
        await spool.store.claim(
            "edge-1/0/x", states=[ItemState.PENDING], route=Route.PRIMARY, now=now, until=now + 60, limit=1
        )
        return item

    item = desk.spool(work)
    done = desk.relay("queue", "hold", item)
    assert done.code == 1
    assert "is being delivered just now" in done.err


def test_export(desk: Desk, tmp_path: Path) -> None:
    items = desk.mixed()
    assert desk.relay("queue", "export", items["pending"]).out == BODY.decode()
    file = tmp_path / "x.eml"
    done = desk.relay("queue", "export", items["pending"], "-o", str(file), "--json")
    assert done.json == {"file": str(file), "bytes": len(BODY)}
    assert file.read_bytes() == BODY
    again = desk.relay("queue", "export", items["pending"], "-o", str(file))
    assert (again.code, "File exists" in again.err) == (1, True)
    assert desk.relay("queue", "export", items["pending"], "--json").code == 2


def damage(desk: Desk, item: ItemId) -> None:
    """Flip a bit of the stored body."""
    connection = apsw.Connection(str(desk.directory / "relay.db"))
    try:
        find = "SELECT n << ?2 FROM item WHERE id = ?1"
        (sealed,) = next(connection.execute(f"SELECT data FROM chunk WHERE key = ({find})", (item, CHUNK_BITS)))
        flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
        connection.execute(f"UPDATE chunk SET data = ?3 WHERE key = ({find})", (item, CHUNK_BITS, flipped))
        assert connection.changes() == 1
    finally:
        connection.close()


# --- audit ------------------------------------------------------------------------------------------------------------


def test_books_that_are_right(desk: Desk) -> None:
    async def work(spool: Spool) -> None:
        for _ in range(3):
            await spool.accept(BODY + bytes(str(_), "ascii"))

    desk.spool(work)
    done = desk.relay("audit", "--json", "--bodies")
    assert done.code == 0
    assert (done.json["accepted"], done.json["queued"], done.json["verified_bodies"]) == (3, 3, 3)
    assert done.json["balanced"] is done.json["ok"] is True
    assert "The books are right." in desk.relay("audit").out


def test_a_quarantined_message_is_an_anomaly_and_the_refused_were_never_ours(desk: Desk) -> None:
    items = desk.mixed()
    done = desk.relay("audit", "--json")
    assert done.code == 1
    assert list(done.json["anomalies"]) == [items["quarantined"]]
    assert (done.json["accepted"], done.json["held"], done.json["queued"], done.json["refused"]) == (3, 1, 1, 1)
    assert done.json["balanced"] is True


def test_a_damaged_body_is_found_where_bodies_are_read(desk: Desk) -> None:
    async def work(spool: Spool) -> ItemId:
        await spool.accept(BODY + b"another")
        return (await spool.accept(BODY)).item

    item = desk.spool(work)
    damage(desk, item)
    assert desk.relay("audit").code == 0
    done = desk.relay("audit", "--bodies", "--json")
    assert done.code == 1
    assert list(done.json["anomalies"]) == [item]
    exported = desk.relay("queue", "export", item)
    assert (exported.code, "does not verify" in exported.err) == (1, True)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM item WHERE state = 'held'", "there is no message any more"),
        ("UPDATE item SET state = 'delivered' WHERE state = 'held'", "the ledger says held"),
        ("DELETE FROM change WHERE kind = 'item' AND becomes = 'intent'", "an entry is missing"),
    ],
)
def test_books_that_were_cooked(desk: Desk, statement: str, problem: str) -> None:
    desk.mixed()
    connection = apsw.Connection(str(desk.directory / "relay.db"))
    try:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute(statement)
        assert connection.changes() >= 1
    finally:
        connection.close()
    done = desk.relay("audit", "--json")
    assert done.code == 1
    assert any(problem in text for text in done.json["anomalies"].values()), done.json


def test_every_state_has_a_place_in_the_books() -> None:
    assert set(PLACES) == set(ItemState)
    assert set(PLACES.values()) <= set(Report.__struct_fields__)
    assert {PLACES[state] for state in ItemState if state is not ItemState.REFUSED} <= set(BALANCE)
    assert set(BALANCE) <= set(Report.__struct_fields__)


def test_a_delivered_message_whose_first_entries_are_older_than_the_ledger_is_in_the_books(desk: Desk) -> None:
    async def work(spool: Spool) -> None:
        await spool.accept(BODY)
        (row,) = await spool.queue.claim(limit=1, seconds=60, states=[ItemState.PENDING])
        assert row.lease is not None
        await spool.queue.intend([row.lease])
        await spool.queue.settle(row.lease, ItemState.DELIVERED, [Result(0, RecipientState.DELIVERED)])
        spool.clock.advance(14 * 86_400)
        now = spool.clock.now()
        assert await spool.store.purge(states=[ItemState.DELIVERED], changed_before=now, now=now, limit=9) == 1
        assert await spool.store.trim_changes(before=now - 60, limit=99)

    desk.spool(work)
    done = desk.relay("audit", "--json")
    assert (done.json["anomalies"], done.json["accepted"], done.json["delivered"]) == ({}, 1, 1)
    assert done.code == 0


@pytest.mark.parametrize("trimmed", [False, True], ids=["whole", "begun later"])
def test_what_users_put_into_mailboxes_is_in_the_books(desk: Desk, *, trimmed: bool) -> None:
    seen = Seen("session", 1)

    async def work(spool: Spool) -> list[ItemId]:
        await spool.accept(BODY)
        bob = await spool.mailboxes.open_account("bob@example.org")
        drafts = await spool.mailboxes.create(bob, "Drafts", seen)
        session = Origin("192.0.2.9", 1, "", login="bob", listener="imap", protocol="IMAP")
        async with Appends(spool.store, spool.vault, spool.clock, spool.pressure).begin(drafts, session) as batch:
            for body in (BODY, BODY + b"again", BODY + b"gone"):
                await (await batch.message(len(body))).write(body)
            appended = await batch.commit(seen)
        rows = {row.uid: row.item for row in await spool.mailboxes.messages(drafts)}
        kept, broken, gone = appended.uids
        await spool.queue.move(rows[broken], ItemState.QUARANTINED)
        assert await spool.mailboxes.expunge(drafts, [gone], seen) == [gone]
        later = spool.clock.now() + 60
        assert await spool.store.purge(states=[ItemState.STORED], changed_before=later, now=later, limit=9) == 1
        if trimmed:
            assert await spool.store.trim_changes(before=later + 1, limit=99)
        return [rows[kept], rows[broken]]

    kept, broken = desk.spool(work)
    done = desk.relay("audit", "--bodies", "--json")
    assert list(done.json["anomalies"]) == [broken], done.json["anomalies"]
    books = {name: done.json[name] for name in ("accepted", *BALANCE)}
    assert books == {
        "accepted": 4,
        "queued": 1,
        "stored": 1,
        "quarantined": 1,
        "removed": 1,
        "delivered": 0,
        "held": 0,
        "returned": 0,
    }
    assert done.json["balanced"] is True
    shown = " ".join(desk.relay("audit").out.split())
    assert "stored by its user 1" in shown
    assert "removed by its user 1" in shown
    listed = desk.relay("queue", "list", "--state", "stored", "--json").json
    assert [view["id"] for view in listed] == [kept]
    assert kept in desk.relay("queue", "list", "--state", "stored").out
    assert desk.relay("queue", "export", kept).out == BODY.decode()
    desk.relay("queue", "release", broken)
    done = desk.relay("audit", "--json")
    assert (done.code, done.json["ok"], done.json["stored"]) == (0, True, 2)
    assert kept not in done.json["anomalies"]


# --- mode and replay --------------------------------------------------------------------------------------------------


def test_the_operators_hand(desk: Desk) -> None:
    desk.mixed()
    desk.configure('[primary.smtp]\nhost = "127.0.0.1"\n')
    assert desk.relay("mode", "show", "--json").json["modes"]["smtp"]["mode"] == "normal"
    assert desk.relay("mode", "standby").code == 0
    assert set(decode_overrides(desk.setting(OVERRIDE)).values()) == {Override.STANDBY}
    assert desk.relay("mode", "normal", "--service", "login").code == 0
    assert decode_overrides(desk.setting(OVERRIDE))[Service.LOGIN] is Override.NORMAL
    said = desk.relay("mode", "show", "--json").json["modes"]
    assert (said["smtp"]["mode"], said["smtp"]["evidence"], said["smtp"]["override"]) == (
        "standby",
        "normal",
        "standby",
    )
    assert said["imap"]["reason"] == "not configured"
    assert "set by you; evidence says normal" in " ".join(desk.relay("mode", "show").out.split())
    assert desk.relay("mode", "auto").code == 0
    assert desk.relay("mode", "show", "--json").json["modes"]["smtp"]["override"] == "auto"


def test_pause_and_resume(desk: Desk) -> None:
    desk.mixed()
    assert desk.relay("replay", "pause", "--json").json == {"paused": True}
    assert desk.setting("replay.paused") == b"1"
    assert desk.relay("replay", "resume").out == "Replay goes on.\n"
    assert not desk.setting("replay.paused")


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_of_a_node_that_is_down_comes_from_its_store(desk: Desk) -> None:
    desk.mixed()
    done = desk.relay("status", "--json")
    assert done.code == 3
    assert done.json["running"] is False
    assert done.json["queue"]["held"]["items"] == 1
    assert "does not answer" in done.err
    assert "not running" in desk.relay("status").out
    assert desk.relay("status", "--live").code == 3


def test_status_and_audit_say_what_may_be_there_twice_and_what_became_of_the_canaries(desk: Desk) -> None:
    async def work(spool: Spool) -> ItemId:
        item = (await spool.accept(BODY)).item
        for state, claimed in (
            (ItemState.UNKNOWN, ItemState.PENDING),
            (ItemState.PENDING, ItemState.UNKNOWN),
            (ItemState.DELIVERED, ItemState.PENDING),
        ):
            (row,) = await spool.queue.claim(limit=1, seconds=60, states=[claimed])
            assert row.lease is not None
            if claimed is ItemState.PENDING:
                await spool.queue.intend([row.lease])
            done = [Result(0, RecipientState.DELIVERED)] if state is ItemState.DELIVERED else []
            await spool.queue.settle(row.lease, state, done)
        now = spool.clock.now()
        await spool.store.put_setting(SENT_AGAIN, encode(SentAgain(1, now)), now=now)
        await spool.store.put_setting(CANARIES, encode(Canaries(now, (item,), looked_for=True)), now=now)
        return item

    item = desk.spool(work)
    found = desk.relay("status", "--json").json
    assert found["sent_again"]["count"] == 1
    assert (found["canaries"]["delivered"], found["canaries"]["seen"]) == (1, 0)
    shown = " ".join(desk.relay("status").out.split())
    assert "1 taken by the primary" in shown
    assert "0 seen in its mailboxes; still looking" in shown
    assert "sent again 1 without proof" in shown
    books = desk.relay("audit", "--json").json
    assert (books["ok"], books["possibly_twice"], books["sent_again"]) == (True, 1, [item])
    told = desk.relay("audit").out
    assert item in told
    assert "relay queue show ID" in told


# --- keys -------------------------------------------------------------------------------------------------------------


def test_init_makes_a_key_and_never_overwrites_one(desk: Desk) -> None:
    done = desk.relay("keys", "init", "--json")
    file = desk.directory / "relay.key"
    assert done.json == {"file": str(file), "active": KeyRing.load(file).active}
    before = file.read_bytes()
    assert desk.relay("keys", "init").code == 2
    assert file.read_bytes() == before
    assert desk.relay("keys", "init", str(desk.directory / "other.key"), configured=False).code == 0
    assert desk.relay("keys", "status").code == 0


def test_rotation_rewraps_everything_and_every_message_still_opens(desk: Desk) -> None:
    items = desk.mixed()
    old = KeyRing.load(desk.directory / "relay.key").active
    done = desk.relay("keys", "rotate", "--json")
    assert done.code == 0
    assert done.json["rewrapped"] == len(items) + 2
    assert done.json["active"] != old
    used = {row["key"]: row["used_by"] for row in desk.relay("keys", "status", "--json").json["keys"]}
    assert used[old] == 0
    assert used[done.json["active"]] > 0
    assert desk.relay("queue", "export", items["pending"]).out == BODY.decode()
    assert "Bob@example.org" in desk.relay("queue", "list").out


def test_nothing_is_wrapped_with_a_key_that_a_running_worker_does_not_have(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = desk.mixed()
    old = KeyRing.load(desk.directory / "relay.key").active
    monkeypatch.setattr("relay.cli.keys._PATIENCE", 0.2)
    run = desk.directory / "run"
    run.mkdir(exist_ok=True)
    with (run / "worker-0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a worker that runs and does not answer
        done = desk.relay("keys", "rotate")
        assert done.code == 1
        assert "edge-1/0 did not take key-" in done.err
        assert "rotate --mounted" in done.err
        used = {row["key"]: row for row in desk.relay("keys", "status", "--json").json["keys"]}
    assert {key for key, row in used.items() if row["used_by"]} == {old}
    # The worker is gone: what was left undone is done, without yet another key.
    done = desk.relay("keys", "rotate", "--mounted", "--json")
    assert (done.code, done.json["rewrapped"]) == (0, len(items) + 2)
    assert set(used) == set(KeyRing.load(desk.directory / "relay.key").names)


def test_two_rotations_at_once_do_not_fight(desk: Desk) -> None:
    desk.mixed()
    before = (desk.directory / "relay.key").read_bytes()
    run = desk.directory / "run"
    run.mkdir(exist_ok=True)
    with (run / "rotate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = desk.relay("keys", "rotate")
    assert (done.code, "another such command" in done.err) == (1, True)
    assert (desk.directory / "relay.key").read_bytes() == before


def test_a_key_is_added_to_a_copy_and_taken_into_use_where_it_is_mounted(desk: Desk) -> None:
    items = desk.mixed()
    mounted, copy = desk.directory / "relay.key", desk.directory / "copy.key"
    copy.write_bytes(mounted.read_bytes())
    copy.chmod(0o600)
    added = desk.relay("keys", "add", str(copy), "--json", configured=False)
    assert added.json == {"file": str(copy), "active": KeyRing.load(copy).active}
    copy.rename(mounted)
    done = desk.relay("keys", "rotate", "--mounted", "--json")
    assert done.json == {"active": added.json["active"], "rewrapped": len(items) + 2}


def test_the_wrong_key_file_is_noticed(desk: Desk) -> None:
    desk.mixed()
    (desk.directory / "relay.key").unlink()
    desk.relay("keys", "init")
    done = desk.relay("queue", "list")
    assert done.code == 2
    assert "does not belong to this data directory" in done.err


# --- users ------------------------------------------------------------------------------------------------------------


def test_users(desk: Desk) -> None:
    desk.relay("keys", "init")
    done = desk.relay("user", "add", "Bob", "--password-stdin", given="hunter2 secret\nignored\n")
    assert (done.code, done.out) == (0, "bob@example.org may log in.\n")
    assert "hunter2" not in done.out + done.err
    assert [user["user"] for user in desk.relay("user", "list", "--json").json] == ["bob@example.org"]
    asked = desk.relay("user", "add", "carol@example.org", given="secret\nsecret\n")
    assert (asked.code, "secret" in asked.out) == (0, False)
    assert desk.relay("user", "add", "dave", given="secret\nsecrets\n").code == 130
    assert desk.relay("user", "add", "dave", "--password-stdin", given="\n").code == 1
    assert desk.relay("user", "add", "dave", "--password-stdin", given="x" * 2000).code == 1
    assert "relay user add" in desk.relay("user", "list").out
    assert desk.relay("user", "revoke", "bob", "--json").json == {"revoked": "bob", "remembered": False}
    assert "nothing was remembered" in desk.relay("user", "revoke", "bob").out
    assert desk.relay("user", "remove", "bob").code == 0
    assert desk.relay("user", "remove", "bob").code == 1
    assert "carol@example.org" in desk.relay("user", "list").out
    planted = [file for file in desk.directory.rglob("*") if file.is_file() and b"hunter2" in file.read_bytes()]
    assert planted == []


def test_the_operators_text_cannot_play_with_the_terminal(desk: Desk) -> None:
    async def work(spool: Spool) -> None:
        envelope = msgspec.structs.replace(ENVELOPE, reverse_path="\x1b[31m[red]@x.example")
        await spool.accept(BODY, envelope)

    desk.spool(work)
    out = desk.relay("queue", "list").out
    assert "\x1b" not in out
    assert "[red]" in out
