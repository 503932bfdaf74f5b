"""The log lets nothing through that is about a person, whatever is thrown at it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import NotNow
from relay.obs import logs
from relay.obs.logs import LogSettings, Thinner, admit, bound, configure, logger, mask

SECRET = "hunter2 secret"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers = list(root.handlers)
    out = io.StringIO()
    configure(LogSettings(node="edge-1", worker=3), out)
    yield out
    structlog.reset_defaults()
    root.handlers[:] = handlers


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_context(stream: io.StringIO) -> None:
    with bound(conn="c-17"):
        logger("relay.inbound").info("accepted", item="01jd", size=4096, seconds=0.25, reason="cut through")
    (line,) = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "relay.inbound",
        "event": "accepted",
        "node": "edge-1",
        "worker": 3,
        "conn": "c-17",
        "item": "01jd",
        "size": 4096,
        "seconds": 0.25,
        "reason": "cut through",
    }


def test_debug_is_off_by_default(stream: io.StringIO) -> None:
    logger("relay.x").debug("detail")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "careless",
    [
        {"subject": SECRET},
        {"password": SECRET},
        {"rcpt": "bob@example.org"},
        {"item": "bob@example.org"},
        {"item": SECRET},
        {"reason": "550 <bob@example.org> unknown"},
        {"reason": "user bob@example.org unknown"},
        {"data": b"hunter2"},
        {"state": ["ok", SECRET]},
        {"session": {"user": SECRET}},
        {"event_data": object()},
    ],
)
def test_a_careless_call_shows_nothing(stream: io.StringIO, careless: dict[str, Any]) -> None:
    logger("relay.x").warning("careless", **careless)
    text = stream.getvalue()
    assert "careless" in text
    assert "hunter2" not in text
    assert "bob" not in text


def test_an_event_name_is_a_word(stream: io.StringIO) -> None:
    logger("relay.x").info(f"login of {SECRET}")
    assert "hunter2" not in stream.getvalue()


def test_errors_show_their_type_and_place_and_only_our_own_text(stream: io.StringIO) -> None:
    log = logger("relay.x")
    try:
        int(SECRET)
    except ValueError as error:
        log.exception("foreign")
        log.exception("foreign_given", exc_info=error)
    log.exception("ours", exc_info=NotNow("disk is full"))
    try:
        open(f"/nonexistent/{SECRET}")  # noqa: PTH123, SIM115  # any OSError with a path in it
    except OSError:
        log.exception("system")
    text = stream.getvalue()
    assert "hunter2" not in text
    foreign, given_, ours, system = lines(stream)
    assert foreign["error"] == given_["error"] == "ValueError"
    assert foreign["level"] == "error"
    assert foreign["frames"][-1].startswith("test_logs.py:")
    assert ours["detail"] == "disk is full"
    assert system["detail"] == "No such file or directory"


def test_no_line_break_gets_in(stream: io.StringIO) -> None:
    logger("relay.x").info("a", reason='x\r\n{"level":"error"}\x1b[31m\u2028')
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert "\\u2028" in lines(stream)[0]["reason"]


def test_a_terminal_gets_a_readable_line_with_the_same_rules() -> None:
    out = io.StringIO()
    configure(LogSettings(json=False), out)
    try:
        logger("relay.x").warning("hello", subject=SECRET, reason="a\nb <bob@example.org>")
        text = out.getvalue()
        assert "hello" in text
        assert "hunter2" not in text
        assert "bob" not in text
        assert text.count("\n") == 1
    finally:
        structlog.reset_defaults()


def test_libraries_show_where_they_spoke_and_not_what_they_quote(stream: io.StringIO) -> None:
    mail = logging.getLogger("mail.log")
    mail.info("%r >> %s", "peer", SECRET)
    mail.warning("%r said %s", "peer", SECRET)
    logging.getLogger("asyncio").error(f"Task exception: {SECRET}")  # noqa: G004  # as asyncio does
    logging.getLogger("aioimaplib.aioimaplib").debug(f"Received : {SECRET}")  # noqa: G004  # as aioimaplib does
    text = stream.getvalue()
    assert "hunter2" not in text
    warned, failed = lines(stream)
    assert (warned["logger"], warned["level"], warned["template"]) == ("lib.mail.log", "warning", "%r said %s")
    assert (failed["logger"], failed["level"], failed["template"]) == ("lib.asyncio", "error", None)
    assert failed["where"].startswith("test_logs.py:")


def test_configuring_twice_does_not_double_the_lines(stream: io.StringIO) -> None:
    out = io.StringIO()
    configure(LogSettings(), out)
    logging.getLogger("mail.log").error("once")
    assert len(out.getvalue().splitlines()) == 1


def test_a_reader_that_is_gone_does_not_matter(stream: io.StringIO) -> None:
    stream_gone = io.StringIO()
    configure(LogSettings(), stream_gone)
    stream_gone.close()
    logger("relay.x").error("into_the_void")


def test_lines_are_counted_by_level() -> None:
    counted: list[str] = []
    configure(LogSettings(), io.StringIO(), count=counted.append)
    try:
        logger("relay.x").info("a")
        logger("relay.x").exception("b", exc_info=ValueError())
    finally:
        structlog.reset_defaults()
    assert counted == ["info", "error"]


def test_repeats_are_thinned_out_and_counted() -> None:
    now = [0.0]
    thin = Thinner(lambda: now[0], burst=2, interval=10)

    def say(level: str = "error", event: str = "store_failed") -> dict[str, Any] | None:
        try:
            return dict(thin(None, "", {"logger": "x", "event": event, "level": level}))
        except structlog.DropEvent:
            return None

    assert [say() is not None for _ in range(5)] == [True, True, False, False, False]
    assert say(event="other") is not None
    assert all(say(level="info") is not None for _ in range(50))
    now[0] = 10.0
    again = say()
    assert again is not None
    assert again["not_written"] == 3
    assert "not_written" not in (say() or {})


def test_the_thinner_forgets_rather_than_grows() -> None:
    thin = Thinner(lambda: 0.0, remembered=4)
    for n in range(100):
        thin(None, "", {"logger": "x", "event": f"e{n}", "level": "error"})
    assert len(thin._seen) <= 4


@given(st.text())
def test_masked_text_is_bounded_printable_and_without_addresses(text: str) -> None:
    shown = mask(text)
    assert "@" not in shown
    assert shown.isprintable()
    assert len(shown) <= 403


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.text(), st.binary(), st.integers(), st.lists(st.text()))))
def test_strings_pass_only_in_shape(event: dict[str, Any]) -> None:
    for key, value in admit(None, "", dict(event)).items():
        if isinstance(value, str) and value == event[key]:
            assert key in logs.WORDS | logs.TEXTS
            assert "@" not in value
