"""The IMAP part: its crowd believes only a tagged OK, and every line is measured; never their timings."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.bench import imap
from tests.bench.imap_corpus import RARE, RARE_EVERY, SIZE, message
from tests.bench.imap_load import ARRIVE, Crowd, command
from tests.peers.ports import LOOPBACK


def test_messages_are_of_one_size_and_always_the_same() -> None:
    assert all(abs(len(message(number)) - SIZE) < 128 for number in range(1, 101))
    assert message(5) == message(5)
    assert b"multipart/mixed" in message(5)
    assert RARE.encode() in message(RARE_EVERY)


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    """Greets, and gives the answers of the list, in two pieces each."""
    answers: list[bytes] = []
    with socket.create_server((LOOPBACK, 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.sendall(b"* OK there\r\n")
                for answer in answers:
                    client.recv(1000)
                    client.sendall(answer[:7])
                    client.sendall(answer[7:])

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], answers
        thread.join(10)


def test_the_last_line_decides(server: tuple[int, list[bytes]]) -> None:
    port, answers = server
    answers += [b"zq OK Done\r\n", b"* 1 FETCH (BODY[] {7}\r\nzq OK\r\n)\r\nzq OK Done\r\n"]
    with Crowd(port, 1) as crowd:
        run = crowd.everybody(ARRIVE, command("NOOP"), command("FETCH 1 BODY[]"))
    assert run.octets == sum(map(len, answers)) + len(b"* OK there\r\n")


def test_a_refusal_ends_the_run(server: tuple[int, list[bytes]]) -> None:
    port, answers = server
    answers.append(b"zq NO [UNAVAILABLE] Later\r\n")
    with Crowd(port, 1) as crowd, pytest.raises(AssertionError, match="Later"):
        crowd.everybody(ARRIVE, command("NOOP"))


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_every_line_is_measured() -> None:
    figures = list(imap.everything(imap.Size(1, mailbox=60, singles=3, logins=2, samples=2, idle=20, idle_yardstick=5)))
    assert {figure.unit for figure in figures} >= {"s", "/s", "ms", "kB"}
    compared = [figure for figure in figures if figure.against]
    assert len(compared) >= 11
    assert all(figure.yardstick is not None for figure in compared)
