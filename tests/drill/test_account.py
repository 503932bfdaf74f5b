"""The drill's own judge, senders and disk: each is shown what it must find."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from tests.drill.account import audit
from tests.drill.disk import LoopDisk
from tests.drill.letters import letter
from tests.drill.senders import Senders
from tests.peers.postfix import Postfix

SEED = 7
TRACE = b"Return-Path: <x@example.net>\nReceived: from a\n\tby primary.example.org (Postfix) with ESMTP id %b; now\n"


def put(
    maildirs: Path, number: int, name: str, *, queue_id: bytes = b"AAA1", change: bytes = b"", top: bytes = b""
) -> None:
    """Deliver a letter to all its recipients as the primary would."""
    mail = letter(SEED, number)
    for recipient in mail.recipients:
        local, _, domain = recipient.partition("@")
        box = maildirs / domain / local / "new"
        box.mkdir(parents=True, exist_ok=True)
        (box / name).write_bytes(top + TRACE % queue_id + mail.content.replace(b"\r\n", b"\n") + change)


def test_letters_are_reproducible_and_all_different() -> None:
    letters = [letter(SEED, number) for number in range(300)]
    assert letters == [letter(SEED, number) for number in range(300)]
    assert len({mail.content for mail in letters}) == 300
    content = b"".join(mail.content for mail in letters)
    assert content.replace(b"\r\n", b"").translate(None, b"\r\n") == content.replace(b"\r\n", b"")
    assert b"\r\n." in content
    assert max(map(len, content.split(b"\r\n"))) <= 998


def test_a_clean_account(tmp_path: Path) -> None:
    for number in range(5):
        put(tmp_path, number, str(number))
    account = audit(SEED, range(4), tmp_path, started=range(5))
    assert account.clean
    assert account.present == account.promised == sum(len(letter(SEED, n).recipients) for n in range(4))
    assert account.unpromised == len(letter(SEED, 4).recipients)


def test_a_lost_letter_is_missed(tmp_path: Path) -> None:
    put(tmp_path, 0, "0")
    assert len(audit(SEED, [0, 1], tmp_path, started=[0, 1]).lost) == len(letter(SEED, 1).recipients)


def test_a_letter_accepted_twice_is_seen_and_one_repeated_by_the_primary_is_told_apart(tmp_path: Path) -> None:
    put(tmp_path, 0, "a")
    put(tmp_path, 0, "b")
    account = audit(SEED, [0], tmp_path, started=[0])
    assert account.clean
    assert account.repeated_by_primary == len(letter(SEED, 0).recipients)
    put(tmp_path, 0, "c", queue_id=b"BBB2")
    assert len(audit(SEED, [0], tmp_path, started=[0]).twice) == len(letter(SEED, 0).recipients)


@pytest.mark.parametrize("wrong", [{"change": b"x"}, {"top": b"X-Spam: yes\n"}])
def test_one_byte_too_many_is_seen(tmp_path: Path, wrong: dict[str, bytes]) -> None:
    put(tmp_path, 0, "a", **wrong)
    assert audit(SEED, [0], tmp_path, started=[0]).altered


def test_mail_from_nowhere_is_seen(tmp_path: Path) -> None:
    put(tmp_path, 3, "a")
    assert audit(SEED, [], tmp_path, started=[0]).strange


@pytest.mark.peers
async def test_senders_insist_until_they_see_a_250(maildir_postfix: Postfix) -> None:
    senders = Senders(maildir_postfix.port, seed=SEED, first=0, last=30, count=5)
    await senders.run()
    assert senders.promised == senders.started == set(range(30))
    assert not senders.refused
    assert not senders.violations


@pytest.mark.power
def test_the_disk_forgets_what_was_not_synced() -> None:
    with LoopDisk(32) as disk:
        with (disk.path / "kept").open("wb") as kept:
            kept.write(b"x")
            kept.flush()
            os.fsync(kept.fileno())
        with (disk.path / "lost").open("wb") as lost:
            lost.write(b"x")
        disk.cut_power()
        with pytest.raises(OSError, match="Input/output"):
            (disk.path / "late").write_bytes(b"x")
        disk.restore_power()
        assert (disk.path / "kept").read_bytes() == b"x"
        with contextlib.suppress(FileNotFoundError):
            assert (disk.path / "lost").read_bytes() == b""
