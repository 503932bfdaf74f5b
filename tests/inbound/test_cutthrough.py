"""Cut-through against a primary that answers, stalls and breaks at every step.

In every case three things agree: what the sender was told, what the primary took, and what the spool recorded.
"""

from __future__ import annotations

import asyncio

import pytest

from relay.accounts.directory import Verdict
from relay.core.clock import ManualClock
from relay.core.errors import LeaseLost
from relay.core.item import ItemState, RecipientState
from relay.core.mode import Mode, Service, Signal
from relay.inbound.settings import Deadlines as SlowSenders
from relay.primary.settings import Deadlines
from relay.store.api import StoreUnavailable
from tests.inbound.world import TRACE, World
from tests.peers.smtpclient import Outcome, SmtpClient, SmtpReply, dot_stuff
from tests.primary.fake import Act, FakeSmtp, Script, Session

MESSAGE = b"Subject: hello\r\n\r\n.dots\r\nand text\r\n"


def at(verb: str, what: str | Act, *, containing: str = "") -> Script:
    """Say or do `what` at a step."""

    def script(step: str, line: str, _: Session) -> str | Act | None:
        return what if step == verb and containing in line else None

    return script


async def send(world: World, *recipients: str, message: bytes = MESSAGE) -> Outcome:
    """One message, and QUIT."""
    async with await world.client() as client:
        outcome = await client.transaction("a@example.net", recipients or ("bob@example.org",), message)
        await client.quit()
    return outcome


async def test_the_primary_s_own_words_are_the_sender_s() -> None:
    script: dict[str, str] = {
        "MAIL": "250 2.1.0 primary likes you",
        "RCPT": "250 2.1.5 bob is here",
        "DOT": "250 2.6.0 <x@y> primary has it as 4711",
    }
    async with FakeSmtp(lambda verb, *_: script.get(verb)) as primary, World(primary=primary.port) as world:
        outcome = await send(world)
        assert outcome.mail.text == "2.1.0 Sender ok"  # the primary hears of the sender with the first recipient
        assert outcome.recipients[0].text == "2.1.5 bob is here"
        assert outcome.final is not None
        assert outcome.final.text == "2.6.0 <x@y> primary has it as 4711"
        (taken,) = primary.taken
        assert taken.content == TRACE + MESSAGE
        await world.spool.until_state(ItemState.DELIVERED)
        assert (taken.reverse_path, taken.recipients) == ("a@example.net", ["bob@example.org"])
        stored = world.spool.only
        assert stored.content == MESSAGE
        assert stored.state is ItemState.DELIVERED
        assert [result.state for result in stored.results] == [RecipientState.DELIVERED]
        assert stored.confirmed
        assert world.directory.learned == [("bob@example.org", 250)]
        assert Signal.FAIL not in world.board.signals
        assert not primary.faults


async def test_replies_without_enhanced_codes_get_them() -> None:
    script: dict[str, str] = {"RCPT": "250 fine", "DOT": "250 taken"}
    async with FakeSmtp(lambda verb, *_: script.get(verb)) as primary, World(primary=primary.port) as world:
        outcome = await send(world)
        assert outcome.recipients[0].text == "2.0.0 fine"
        assert outcome.final is not None
        assert outcome.final.text == "2.0.0 taken"


async def test_a_large_message_is_read_back_from_the_spool() -> None:
    message = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 40_000
    async with FakeSmtp() as primary, World(primary=primary.port) as world:
        assert (await send(world, message=message)).accepted
        assert primary.taken[0].content == TRACE + message


@pytest.mark.parametrize(("verb", "reply"), [("MAIL", "550 5.7.1 go away"), ("MAIL", "552 5.3.4 too big")])
async def test_a_refused_sender_is_refused(verb: str, reply: str) -> None:
    async with FakeSmtp(at(verb, reply)) as primary, World(primary=primary.port) as world:
        outcome = await send(world, "bob@example.org", "eve@example.org")
        assert [f"{answer.code} {answer.text}" for answer in outcome.recipients] == [reply] * 2
        assert world.directory.learned == []
        assert not world.spool.items
        assert not primary.taken


async def test_a_refused_recipient_is_refused_and_learned() -> None:
    async with (
        FakeSmtp(at("RCPT", "550 5.1.1 who?", containing="nobody")) as primary,
        World(primary=primary.port) as world,
    ):
        outcome = await send(world, "nobody@example.org", "bob@example.org")
        assert [answer.code for answer in outcome.recipients] == [550, 250]
        assert outcome.accepted
        assert world.directory.learned == [("nobody@example.org", 550), ("bob@example.org", 250)]
        assert [r.address for r in world.spool.only.envelope.recipients] == ["bob@example.org"]


async def test_a_refused_message_is_refused_and_recorded() -> None:
    async with FakeSmtp(at("DOT", "554 5.7.1 spam")) as primary, World(primary=primary.port) as world:
        outcome = await send(world, "bob@example.org", "eve@example.org")
        assert outcome.final is not None
        assert (outcome.final.code, outcome.final.text) == (554, "5.7.1 spam")
        stored = world.spool.only
        assert stored.state is ItemState.REFUSED
        assert [result.state for result in stored.results] == [RecipientState.REFUSED] * 2
        assert stored.confirmed  # the same bytes again are a new message, not a duplicate of a refused one
        assert not primary.taken


HAND_OVER = [
    ("DATA", "451 4.3.0 later", ItemState.PENDING, False),
    ("DATA", "503 5.5.1 what?", ItemState.PENDING, False),
    ("DATA", "421 4.3.2 bye", ItemState.PENDING, False),
    ("DATA", Act.CUT, ItemState.PENDING, False),
    ("DATA", Act.STALL, ItemState.PENDING, False),
    ("CONTENT", Act.CUT, ItemState.PENDING, False),
    ("CONTENT", "451 4.3.0 early", ItemState.PENDING, False),
    ("DOT", "452 4.3.1 full", ItemState.PENDING, False),
    ("DOT", "421 4.3.2 bye", ItemState.PENDING, False),
    ("DOT", Act.CUT, ItemState.UNKNOWN, False),
    ("DOT", Act.STALL, ItemState.UNKNOWN, False),
    ("DOT", Act.TAKE_AND_CUT, ItemState.UNKNOWN, True),
    ("DOT", Act.TAKE_AND_STALL, ItemState.UNKNOWN, True),
]


@pytest.mark.parametrize(("verb", "what", "state", "taken"), HAND_OVER, ids=str)
async def test_trouble_after_the_content_costs_the_sender_nothing(
    verb: str, what: str | Act, state: ItemState, taken: bool
) -> None:
    message = MESSAGE + b"x" * 3_000_000 + b"\r\n" if verb == "CONTENT" else MESSAGE
    message = message.replace(b"x" * 60, b"x" * 58 + b"\r\n")
    async with FakeSmtp(at(verb, what)) as primary, World(primary=primary.port) as world:
        outcome = await send(world, message=message)
        (item,) = world.spool.items
        assert outcome.final is not None
        assert outcome.final.text == f"2.0.0 Queued as {item}"
        stored = world.spool.only
        assert stored.content == message
        # A primary that cuts within the content may have been heard refusing first: both are PENDING.
        assert stored.state is state
        assert len(primary.taken) == taken
        expected = RecipientState.UNKNOWN if state is ItemState.UNKNOWN else RecipientState.WAITING
        assert [result.state for result in stored.results] == [expected]
        if isinstance(what, Act) or what.startswith("421"):
            assert world.board.signals[-1] is Signal.FAIL


BEFORE = [
    ("GREETING", Act.CUT),
    ("GREETING", Act.STALL),
    ("GREETING", "421 4.3.2 no"),
    ("GREETING", "554 5.3.2 no"),
    ("EHLO", Act.STALL),
    ("MAIL", Act.CUT),
    ("MAIL", Act.STALL),
    ("MAIL", "421 4.3.2 no"),
    ("MAIL", "452 4.3.1 no"),
    ("MAIL", "530 5.7.0 login"),
    ("RCPT", Act.CUT),
    ("RCPT", Act.STALL),
    ("RCPT", "421 4.3.2 no"),
    ("RCPT", "503 5.5.1 what?"),
]


@pytest.mark.parametrize(("verb", "what"), BEFORE, ids=str)
async def test_trouble_before_the_content_costs_the_sender_nothing(verb: str, what: str | Act) -> None:
    async with FakeSmtp(at(verb, what)) as primary, World(primary=primary.port) as world:
        outcome = await send(world, "bob@example.org", "eve@example.org")
        assert outcome.accepted
        assert world.spool.only.state is ItemState.PENDING
        assert len(world.spool.only.envelope.recipients) == 2
        assert not primary.taken
        if isinstance(what, Act) or what.startswith("421"):
            assert Signal.FAIL in world.board.signals


async def test_a_primary_that_is_not_there() -> None:
    async with FakeSmtp() as primary:
        port = primary.port
    async with World(primary=port) as world:
        assert (await send(world)).accepted
        assert world.board.mode(world_service()) is Mode.SUSPECT
        assert (await send(world, message=MESSAGE + b"2\r\n")).accepted
        assert world.board.mode(world_service()) is Mode.STANDBY
        assert [stored.state for stored in world.spool.items.values()] == [ItemState.PENDING] * 2


def world_service() -> Service:
    return Service.SMTP


async def test_a_primary_that_answers_every_command_and_hangs_at_the_content_is_down() -> None:
    async with FakeSmtp(at("DOT", Act.STALL)) as primary, World(primary=primary.port) as world:
        for number in range(2):
            assert (await send(world, message=MESSAGE + b"%d\r\n" % number)).accepted
        assert world.board.state.mode is Mode.STANDBY


async def test_a_size_that_the_sender_did_not_say_is_not_invented() -> None:
    async with FakeSmtp() as primary, World(primary=primary.port) as world, await world.client() as client:
        rcpt = "RCPT TO:<bob@example.org>"
        await client.pipeline("MAIL FROM:<a@example.net>", rcpt, "RSET")
        await client.pipeline("MAIL FROM:<a@example.net> SIZE=1000", rcpt, "RSET")
        first, second = (line for line in primary.sessions[0].commands if line.startswith("MAIL"))
        assert first == "MAIL FROM:<a@example.net>"
        size = int(second.partition("SIZE=")[2])
        assert 1000 < size < 2000  # our own header line counts as well


async def test_a_bug_behind_the_end_of_data_is_a_doubt_and_no_second_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    """The primary has said 250 when it happens: to send again would be twice."""

    def planted(*_: object) -> None:
        raise RuntimeError("planted")

    async with FakeSmtp() as primary, World(primary=primary.port) as world:
        monkeypatch.setattr(world.board, "evidence", planted)
        outcome = await send(world)
        assert outcome.accepted
        assert len(primary.taken) == 1
        assert world.spool.only.state is ItemState.UNKNOWN


async def test_a_connection_lost_between_two_recipients() -> None:
    async with FakeSmtp(at("RCPT", Act.CUT, containing="eve")) as primary, World(primary=primary.port) as world:
        world.directory.verdicts["mallory@example.org"] = Verdict.NO_SUCH
        outcome = await send(world, "bob@example.org", "eve@example.org", "mallory@example.org")
        assert [answer.code for answer in outcome.recipients] == [250, 250, 550]
        assert outcome.accepted
        assert world.spool.only.state is ItemState.PENDING
        assert [r.address for r in world.spool.only.envelope.recipients] == ["bob@example.org", "eve@example.org"]


async def test_a_deferred_recipient_is_taken_only_when_known() -> None:
    async with (
        FakeSmtp(at("RCPT", "450 4.2.0 greylisted", containing="grey")) as primary,
        World(primary=primary.port) as world,
    ):
        world.directory.verdicts = {"grey-known@example.org": Verdict.KNOWN}
        outcome = await send(world, "grey-new@example.org", "grey-known@example.org", "bob@example.org")
        assert [answer.code for answer in outcome.recipients] == [450, 250, 250]
        assert outcome.recipients[0].text == "4.2.0 greylisted"
        assert outcome.accepted
        assert primary.taken[0].recipients == ["bob@example.org"]
        await world.spool.until_state(ItemState.PENDING)
        stored = world.spool.only
        assert [r.address for r in stored.envelope.recipients] == ["grey-known@example.org", "bob@example.org"]
        # One is delivered, one is still owed: the item waits, and the record says for whom.
        assert stored.state is ItemState.PENDING
        assert [(result.index, result.state) for result in stored.results] == [(1, RecipientState.DELIVERED)]


async def test_only_deferred_recipients_means_no_attempt() -> None:
    async with FakeSmtp(at("RCPT", "450 4.2.0 greylisted")) as primary, World(primary=primary.port) as world:
        world.directory.default = Verdict.KNOWN
        assert (await send(world)).accepted
        assert world.spool.only.state is ItemState.PENDING
        assert not primary.taken


async def test_the_postmaster_is_taken_even_where_the_primary_knows_none() -> None:
    async with FakeSmtp(at("RCPT", "550 5.1.1 who?")) as primary, World(primary=primary.port) as world:
        outcome = await send(world, "postmaster@example.org", "bob@example.org")
        assert [answer.code for answer in outcome.recipients] == [250, 550]
        assert world.spool.only.state is ItemState.PENDING


async def test_a_refusal_is_for_all_recipients_also_those_taken_here() -> None:
    async def scenario(fail: type[Exception] | None) -> tuple[int, ItemState]:
        def script(step: str, line: str, _: Session) -> str | None:
            if step == "RCPT" and "grey" in line:
                return "450 4.2.0 later"
            return "554 5.7.1 spam" if step == "DOT" else None

        async with FakeSmtp(script) as primary, World(primary=primary.port) as world:
            world.directory.default = Verdict.KNOWN
            world.spool.fail_settle = fail
            outcome = await send(world, "grey@example.org", "bob@example.org")
            assert outcome.final is not None
            return outcome.final.code, world.spool.only.state

    assert await scenario(None) == (554, ItemState.REFUSED)
    # What could not be recorded is not refused: the item is ours, and the lease's end makes it UNKNOWN.
    assert await scenario(LeaseLost) == (250, ItemState.INTENT)
    assert await scenario(StoreUnavailable) == (250, ItemState.INTENT)


async def test_delivered_but_not_recorded_is_still_delivered() -> None:
    async with FakeSmtp(at("DOT", "250 2.6.0 got it")) as primary, World(primary=primary.port) as world:
        world.spool.fail_settle = StoreUnavailable
        outcome = await send(world)
        assert outcome.final is not None
        assert outcome.final.text == "2.6.0 got it"
        assert world.spool.only.state is ItemState.INTENT


@pytest.mark.parametrize(("passed", "state"), [(39.0, ItemState.DELIVERED), (41.0, ItemState.PENDING)])
async def test_no_end_of_data_under_a_lease_that_may_have_run_out(passed: float, state: ItemState) -> None:
    """Of 60 seconds 40 count; after them another may have looked for the message, and be sending it again."""
    clock = ManualClock()
    async with FakeSmtp() as primary, World(primary=primary.port, clock=clock) as world:
        world.spool.commit_gate.clear()
        sending = asyncio.create_task(send(world))
        async with asyncio.timeout(10):
            await world.spool.committing.wait()
        clock.advance(passed)
        world.spool.commit_gate.set()
        outcome = await sending
        assert outcome.accepted
        await world.spool.until_state(state)
        assert len(primary.taken) == (state is ItemState.DELIVERED)


@pytest.mark.parametrize("mode", [Mode.STANDBY, Mode.RECOVERY])
async def test_in_standby_and_recovery_nothing_is_sent(mode: Mode) -> None:
    async with FakeSmtp() as primary, World(primary=primary.port, mode=mode) as world:
        assert (await send(world)).accepted
        assert not primary.sessions
        assert world.spool.only.state is ItemState.PENDING


async def test_a_mode_that_changes_within_the_transaction_is_obeyed() -> None:
    async with FakeSmtp() as primary, World(primary=primary.port) as world, await world.client() as client:
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<bob@example.org>", "DATA")
        world.board.state = type(world.board.state)(Mode.STANDBY)
        await client.send(dot_stuff(MESSAGE))
        assert (await client.reply()).code == 250
        assert world.spool.only.state is ItemState.PENDING
        assert not primary.taken


async def test_one_connection_to_the_primary_carries_many_messages() -> None:
    async with FakeSmtp() as primary, World(primary=primary.port) as world:
        for number in range(5):
            assert (await send(world, message=MESSAGE + b"%d\r\n" % number)).accepted
        assert len(primary.taken) == 5
        assert len(primary.sessions) == 1


async def test_a_sender_that_breaks_off_leaves_no_confusion_on_the_pooled_connection() -> None:
    asked = asyncio.Event()

    def script(step: str, line: str, _: Session) -> Act | None:
        if step != "RCPT" or "slow" not in line:
            return None
        asked.set()
        return Act.STALL

    async with FakeSmtp(script) as primary, World(primary=primary.port) as world:
        client = await world.client()
        await client.command("MAIL FROM:<a@example.net>")
        await client.send(b"RCPT TO:<slow@example.org>\r\n")
        async with asyncio.timeout(10):
            await asked.wait()
        client.abort()
        await world.until_gone()
        assert (await send(world)).accepted
        assert [taken.recipients for taken in primary.taken] == [["bob@example.org"]]


async def test_the_sender_hangs_up_while_the_primary_thinks() -> None:
    thinking = asyncio.Event()

    def script(step: str, _line: str, _session: Session) -> Act | None:
        if step == "DOT":
            thinking.set()
            return Act.TAKE_AND_CUT
        return None

    async with FakeSmtp(script) as primary, World(primary=primary.port) as world:
        world.spool.commit_gate.clear()
        client = await world.client()
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<bob@example.org>", "DATA")
        await client.send(dot_stuff(MESSAGE))
        async with asyncio.timeout(10):
            await world.spool.committing.wait()
        client.abort()
        await world.until_gone()
        world.spool.commit_gate.set()
        async with asyncio.timeout(10):
            await thinking.wait()
        await world.spool.until_state(ItemState.UNKNOWN)


async def test_a_message_sent_again_while_the_primary_judges_it_is_not_promised() -> None:
    judging, verdict = asyncio.Event(), asyncio.Event()

    class Slow(FakeSmtp):
        async def _content(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            judging.set()
            await verdict.wait()
            await super()._content(session, reader, writer)

    patient = Deadlines(open=5, command=5, block=5, final=5)
    async with (
        Slow(at("DOT", "554 5.7.1 spam")) as primary,
        World(primary=primary.port, primary_deadlines=patient) as world,
    ):
        first = await world.client()
        await first.pipeline("MAIL FROM:<a@example.net>", "RCPT TO:<bob@example.org>", "DATA")
        await first.send(dot_stuff(MESSAGE))
        async with asyncio.timeout(10):
            await judging.wait()
        first.abort()
        again = await send(world)
        assert again.final is not None
        assert again.final.code == 451
        verdict.set()
        await world.spool.until_state(ItemState.REFUSED)
        third = await send(world)
        assert third.final is not None
        assert third.final.code == 554


async def rested(world: World, client: SmtpClient) -> None:
    """Begin a content and wait until the primary's only connection is free for somebody else."""
    await client.pipeline("MAIL FROM:<a@example.net>", "RCPT TO:<bob@example.org>", "DATA")
    await client.send(b"Subject: slow\r\n")
    async with asyncio.timeout(10), await world.client() as other:
        while (await other.transaction("b@example.net", ["bob@example.org"], MESSAGE)).final != SmtpReply(
            250, ("2.6.0 ok",)
        ):
            world.spool.items.clear()
    world.spool.items.clear()


@pytest.mark.parametrize("again", [None, "550 5.1.1 no longer", Act.CUT], ids=["taken", "refused", "cut"])
async def test_a_slow_sender_does_not_occupy_the_primary(again: str | Act | None) -> None:
    slow = asyncio.Event()

    def script(step: str, line: str, _: Session) -> str | Act | None:
        if step == "DOT":
            return "250 2.6.0 ok"
        return again if step == "RCPT" and "bob" in line and slow.is_set() else None

    async with FakeSmtp(script) as primary:
        world = World(primary=primary.port, pool_connections=1, deadlines=SlowSenders(rest=0.1))
        async with world, await world.client() as client:
            await rested(world, client)
            primary.taken.clear()
            slow.set()
            await client.send(b"\r\ntext\r\n.\r\n")
            answer = await client.reply()
            assert answer.code == 250
            stored = world.spool.only
            assert stored.content == b"Subject: slow\r\n\r\ntext\r\n"
            if again is None:
                assert answer.text == "2.6.0 ok"
                await world.spool.until_state(ItemState.DELIVERED)
                assert [taken.content for taken in primary.taken] == [TRACE + stored.content]
            else:
                assert stored.state is ItemState.PENDING
                assert not primary.taken


async def test_a_slow_sender_that_goes_away_leaves_nothing() -> None:
    async with FakeSmtp(at("DOT", "250 2.6.0 ok")) as primary:
        world = World(primary=primary.port, pool_connections=1, deadlines=SlowSenders(rest=0.1))
        async with world:
            client = await world.client()
            await rested(world, client)
            client.abort()
            await world.until_gone()
            assert not world.spool.items


async def test_all_connections_busy_falls_back_without_evidence() -> None:
    async with FakeSmtp() as primary, World(primary=primary.port, pool_connections=1) as world:
        first, second = await world.client(), await world.client()
        await first.command("MAIL FROM:<a@example.net>")
        assert (await first.command("RCPT TO:<eve@example.org>")).code == 250
        outcome = await second.transaction("b@example.net", ["bob@example.org"], MESSAGE)
        assert outcome.accepted
        assert world.spool.only.state is ItemState.PENDING
        assert Signal.FAIL not in world.board.signals
        await first.close()
        await second.close()
