"""The short way of everyday lines: the same lines, the same rules, and nobody waits for who reads them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.obs.logs import LogSettings, configure, logger
from relay.obs.outlet import Behind, outlet
from relay.obs.records import records
from tests.house.sources import ROOT
from tests.obs.written import written

SECRET = "hunter2 secret"


def test_a_line_is_as_any_other() -> None:
    with written() as log:
        values: dict[str, Any] = {
            "item": "01jd",
            "size": 4096,
            "seconds": 0.25,
            "reason": "cut through",
            "result": "ok",
        }
        logger("inbound").info("message", **values)
        records("inbound").info("message", **values, code=None)
        long, short = log.lines()
    assert {**long, "at": ""} == {**short, "at": ""}
    assert list(long) == list(short)
    assert len(long["at"]) == len(short["at"]) == len("2026-11-27T19:10:57.946Z")


@pytest.mark.parametrize(
    "careless",
    [
        {"subject": SECRET},
        {"rcpt": "bob@example.org"},
        {"item": "bob@example.org"},
        {"client": SECRET},
        {"client": "bob@example.org"},
        {"reason": "550 <bob@example.org> unknown"},
        {"reason": "user bob@example.org unknown"},
        {"state": b"hunter2"},
        {"state": ["ok", SECRET]},
        {"item": object()},
    ],
)
def test_a_careless_call_shows_nothing(careless: dict[str, Any]) -> None:
    with written() as log:
        records("x").info("careless", **careless)
        assert len(log.lines("careless")) == 1
        assert "hunter2" not in log.text
        assert "bob" not in log.text


@given(st.text(), st.sampled_from(["reason", "client", "item", "subject", "event"]))
def test_no_text_begins_a_line_or_leaves_its_string(text: str, key: str) -> None:
    with written() as log:
        if key == "event":
            records("x").info(text)
        else:
            records("x").info("said", **{key: text})
        (line,) = log.lines()
        assert len(log.text.splitlines()) == 1
        assert line["level"] == "info"
        assert "@" not in line.get(key, "")


def test_a_level_above_info_leaves_them_out_and_before_the_beginning_there_are_none() -> None:
    records("x").info("before")
    with written("warning") as log:
        records("x").info("below")
        assert log.text == ""
    records("x").info("after")
    assert log.text == ""


def test_lines_are_counted() -> None:
    counted: list[str] = []
    with written():
        configure(LogSettings(json=True), io.StringIO(), count=counted.append)
        records("x").info("one")
    assert counted == ["info"]


def test_a_terminal_gets_readable_lines_with_the_same_rules() -> None:
    out = io.StringIO()
    with written():
        configure(LogSettings(json=False), out)
        records("x").info("hello", subject=SECRET, client="192.0.2.1", code=None)
    assert "hello" in out.getvalue()
    assert "192.0.2.1" in out.getvalue()
    assert "code" not in out.getvalue()
    assert "hunter2" not in out.getvalue()


# --- the outlet -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue


def _lost(count: int) -> str:
    return json.dumps({"lost": count})


def _read(descriptor: int, until: bytes) -> bytes:
    found = b""
    while until not in found:
        data = os.read(descriptor, 1 << 20)
        if not data:
            break
        found += data
    return found


def test_a_pipe_that_nobody_reads_costs_lines_and_not_time(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    behind = Behind(writing, _lost, most=100)
    longest = 0.0
    for number in range(5_000):
        before = time.perf_counter()
        behind.put(f"{number} " + "x" * 1000)
        longest = max(longest, time.perf_counter() - before)
    assert longest < 1.0  # a blocked write would last for ever
    lines = _read(reading, b'"lost"').decode().splitlines()
    lost = json.loads(lines.pop())["lost"]
    assert len(lines) + lost == 5_000
    assert lost >= 4_000
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == sorted(numbers)
    assert {len(line.split()[1]) for line in lines} == {1000}
    behind.put("later")
    assert _read(reading, b"later") == b"later\n"
    behind.finish()


def test_a_pipe_whose_reader_is_gone_is_no_trouble(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    behind = Behind(writing, _lost)
    for _ in range(10):
        behind.put("into the void")
    behind.finish()
    assert not behind._lines


def test_several_threads_lose_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    behind = Behind(writing, _lost)

    def say() -> None:
        for _ in range(200):
            behind.put("line")

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    found = b""
    while found.count(b"line\n") < 800:
        found += os.read(reading, 1 << 16)
    for thread in threads:
        thread.join()
    assert found == b"line\n" * 800


def test_a_stream_in_memory_is_written_at_once() -> None:
    stream = io.StringIO()
    outlet(stream, _lost, behind=True).put("now")
    assert stream.getvalue() == "now\n"


ENDING = """
import sys
from relay.obs.logs import LogSettings, configure, logger
from relay.obs.records import records
configure(LogSettings(json=True), sys.stderr, behind=True)
configure(LogSettings(json=True, node="second"), sys.stderr, behind=True)
for number in range(500):
    (records("x") if number % 2 else logger("x")).info("line", number=number)
logger("x").error("last")
sys.exit(7)
"""


def test_the_last_words_of_a_process_are_written() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7
    *lines, last = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["number"] for line in lines] == list(range(500))
    assert last["event"] == "last"
