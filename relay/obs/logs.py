"""The log: one JSON object per line on standard error; on a terminal, a readable line.

Enters: an event name and named values. Leaves: lines that an operator may send to anybody.

1. Numbers pass under any key. Strings pass only under a key of the closed lists below, and only in its shape: a `WORD`
   (identifier, enum value, IP address; no blank, no `@`) or a `TEXT` (bland sentence of ours; addresses are masked,
   control characters escaped, length bounded). Anything else is replaced by its type. So an address, a subject or a
   password cannot enter by a careless call: there is no key for it.
2. Exceptions are written as types and code positions. Their text is kept only where we wrote it ourselves
   (`RelayError`) or where the operating system did (`OSError`): a library's text may quote what a peer sent.
3. Log lines of libraries carry their position and unformatted template, never their arguments; below WARNING nothing.
4. Repeats of a warning or error are thinned out (`Thinner`); the next line that passes says how many were not written.
5. Logging never raises and never waits for a reader that is gone; a node's never waits for a slow one (`outlet`).
6. Everyday events, one for each message, go by a shorter way under the same rules (`records`).
"""

from __future__ import annotations

import atexit
import functools
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO, TypeAlias, cast

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from relay.core.errors import RelayError
from relay.obs.outlet import Behind, Direct, outlet

Log: TypeAlias = FilteringBoundLogger
"""What `logger` returns: `.info("event_name", item=..., seconds=...)`, `.bind(conn=...)`, `.exception("failed")`."""
Level = Literal["debug", "info", "warning", "error"]

bound = structlog.contextvars.bound_contextvars
"""`with bound(conn=..., item=...):` adds these to every line written inside, in this task and those it starts."""
bind = structlog.contextvars.bind_contextvars
"""The same until the end of the task, for a tenth of the price; of a task that is about one thing."""

WORDS = frozenset(
    """
    at level logger event node worker error frames cause where dropped
    conn session item items client peer host port listen listener route service mode old new to state states
    tls cipher protocol capability command phase stage step action kind source signal result outcome status
    code enhanced gate fault exit lease owner key_id version task task_name part notice
    """.split()  # noqa: SIM905  # a column of words is easier to review than a list of literals
)
"""Keys whose value is an identifier, or a list of identifiers."""
TEXTS = frozenset({"reason", "detail", "problem", "remedy", "template", "path"})
"""Keys whose value is a sentence of ours."""

_WORD = re.compile(r"[A-Za-z0-9_.:/+*%()\[\],=-]{0,160}")
_ADDRESS = re.compile(r"<[^<>]*>|[^\s<>]*@[^\s<>]*")
_TEXT_LENGTH = 400
_FRAMES = 12
_LIBRARIES = (
    "mail.log",
    "mail.debug",
    "aioimaplib",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "asyncio",
)

EventDict: TypeAlias = MutableMapping[str, Any]


class LogSettings(msgspec.Struct, frozen=True):
    """How much, in which form, and under which names."""

    level: Level = "info"
    json: bool | None = None
    """None = JSON unless the stream is a terminal."""
    node: str = ""
    worker: int | None = None


def logger(name: str) -> Log:
    """A logger for one part of the relay; cheap, may be kept at module level (it is bound at each call)."""
    return cast("Log", structlog.get_logger(name))


class Wiring(msgspec.Struct, frozen=True):
    """What `configure` has set up, for `records`."""

    outlet: Direct | Behind
    constants: Mapping[str, object]
    info: bool
    """Whether lines of level info are written."""
    console: bool
    """Readable lines rather than JSON."""
    count: Callable[[str], None] | None


_wiring: Wiring | None = None


def wiring() -> Wiring | None:
    """None before `configure`."""
    return _wiring


def forget() -> None:
    """Tests: as before `configure`."""
    global _wiring  # noqa: PLW0603  # see there
    _wiring = None


def configure(
    settings: LogSettings, stream: TextIO, *, count: Callable[[str], None] | None = None, behind: bool = False
) -> None:
    """Again where more is known. `count` is told the level of each line, also of those thinned out.

    `behind`: by a thread (`outlet.Behind`), for a process that serves others while it writes.
    """
    global _wiring  # noqa: PLW0603  # as structlog's own configuration: one per process
    as_json = settings.json if settings.json is not None else not stream.isatty()
    constants: dict[str, object] = {"node": settings.node} if settings.node else {}
    if settings.worker is not None:
        constants["worker"] = settings.worker
    level = logging.getLevelNamesMapping()[settings.level.upper()]

    def lost(lines: int) -> str:
        head = {"at": timestamp(), "level": "warning", "logger": "log", "event": "lines_lost"}
        return _render_json(None, "", {**head, **constants, "count": lines})

    end = outlet(stream, lost, behind=behind)
    if _wiring is not None and isinstance(_wiring.outlet, Behind):
        if isinstance(end, Behind) and end.descriptor == _wiring.outlet.descriptor:
            end = _wiring.outlet  # two threads on one stream would mix up the order
        else:
            _finish()
    elif isinstance(end, Behind):
        atexit.register(_finish)
    _wiring = Wiring(end, constants, level <= logging.INFO, not as_json, count)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _Stamp(constants),
            _describe_error,
            admit,
            _Count(count),
            Thinner(time.monotonic),
            _render_json if as_json else structlog.dev.ConsoleRenderer(timestamp_key="at"),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
        logger_factory=lambda *args: _Line(end, str(args[0]) if args else "relay"),
        cache_logger_on_first_use=False,
    )
    _route_libraries()


def admit(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Invariant 1, as a processor."""
    shown: EventDict = {}
    for key, value in event.items():
        if value is None or isinstance(value, bool | int | float):
            shown[key] = value
        elif isinstance(value, str):
            shown[key] = admitted(key, value)
        elif isinstance(value, Path) and key in TEXTS:
            shown[key] = mask(str(value))
        elif isinstance(value, Sequence | frozenset | set) and not isinstance(value, str | bytes) and key in WORDS:
            shown[key] = [_word(part) if isinstance(part, str) else _shape(part) for part in value]
        else:
            shown[key] = _shape(value)
    return shown


def admitted(key: str, value: str) -> str:
    """What a string under this key may show (invariant 1)."""
    if key in TEXTS:
        return mask(value)
    return _word(value) if key in WORDS else "[str]"


def mask(text: str) -> str:
    """A text without addresses and control characters, of bounded length."""
    masked = _ADDRESS.sub("<...>", text[: 2 * _TEXT_LENGTH])
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in masked)
    return shown if len(shown) <= _TEXT_LENGTH else shown[:_TEXT_LENGTH] + "..."


def _word(value: str) -> str:
    # str() of an enum member is its value; msgspec would do the same, a terminal renderer would not.
    plain = str(value)
    return plain if _WORD.fullmatch(plain) else "[str]"


def _shape(value: object) -> object:
    """What may be said of a value that may not be shown."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return f"[{type(value).__name__}]"


def timestamp() -> str:
    """Now, as every line begins with it."""
    now = time.time()
    return f"{_second(int(now))}.{int(now % 1 * 1000):03d}Z"


@functools.lru_cache(maxsize=2)
def _second(unix: int) -> str:
    # Most lines share their second with the line before.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))


class _Stamp:
    """Time, level and the constants of the process."""

    def __init__(self, constants: Mapping[str, object]) -> None:
        self._constants = dict(constants)

    def __call__(self, line: object, method: str, event: EventDict) -> EventDict:
        head: EventDict = {"at": timestamp(), "level": "error" if method == "exception" else method}
        head["logger"] = line.name if isinstance(line, _Line) else "relay"
        head["event"] = event.pop("event", "")
        head.update(self._constants)
        head.update(event)
        return head


def _describe_error(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Invariant 2: `exc_info` becomes types and positions."""
    given = event.pop("exc_info", None)
    error: BaseException | None = None
    if isinstance(given, BaseException):
        error = given
    elif isinstance(given, tuple):
        error = given[1]
    elif given:
        import sys  # noqa: PLC0415  # only where `exc_info=True` was asked for

        error = sys.exc_info()[1]
    if error is not None:
        event["error"] = type(error).__qualname__
        event["frames"] = _positions(error.__traceback__)
        text = own_text(error)
        if text is not None:
            event["detail"] = text
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None:
            event["cause"] = type(cause).__qualname__
    return event


def own_text(error: BaseException) -> str | None:
    """The text of an error where it cannot quote a peer (invariant 2)."""
    if isinstance(error, RelayError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror if isinstance(error.strerror, str) else None
    return None


def _positions(trace: TracebackType | None) -> list[str]:
    """Innermost last: `module.py:line:function`."""
    found: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}:{code.co_name.strip('<>')}")
        trace = trace.tb_next
    return found[-_FRAMES:]


class _Count:
    def __init__(self, count: Callable[[str], None] | None) -> None:
        self._count = count

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        if self._count is not None:
            self._count(str(event["level"]))
        return event


class Thinner:
    """Lets `burst` equal warnings or errors pass per `interval` seconds; equal = same logger and event name.

    Lines below WARNING always pass: one per message is the operator's record of its mail.
    """

    def __init__(
        self, monotonic: Callable[[], float], *, burst: int = 10, interval: float = 10.0, remembered: int = 256
    ) -> None:
        self._monotonic = monotonic
        self._burst = burst
        self._interval = interval
        self._remembered = remembered
        self._seen: OrderedDict[tuple[object, object], list[float]] = OrderedDict()

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """A structlog processor."""
        if event["level"] not in ("warning", "error", "critical"):
            return event
        key = (event.get("logger"), event.get("event"))
        now = self._monotonic()
        # Start of the window, lines passed in it, lines not written since the last that passed.
        window = self._seen.setdefault(key, [now, 0, 0])
        self._seen.move_to_end(key)
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        if now - window[0] >= self._interval:
            window[0], window[1] = now, 0
        if window[1] >= self._burst:
            window[2] += 1
            raise structlog.DropEvent
        window[1] += 1
        if window[2]:
            event["not_written"] = int(window[2])
            window[2] = 0
        return event


def _render_json(_logger: object, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(dict(event), enc_hook=_shape).decode()


class _Line:
    """The end of the chain."""

    def __init__(self, end: Direct | Behind, name: str) -> None:
        self._end = end
        self.name = name

    def msg(self, text: str) -> None:
        """Invariant 5."""
        self._end.put(text)

    debug = info = warning = warn = error = exception = critical = fatal = log = msg


def _finish() -> None:
    """The process ends, or writes elsewhere from now on."""
    if _wiring is not None and isinstance(_wiring.outlet, Behind):
        _wiring.outlet.finish()


class _Libraries(logging.Handler):
    """Invariant 3."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on where it came from, not what it quotes."""
        template = record.msg if isinstance(record.msg, str) and record.args else None
        level = "error" if record.levelno >= logging.ERROR else "warning"
        getattr(logger(f"lib.{record.name}"), level)(
            "library_message",
            where=f"{Path(record.pathname).name}:{record.lineno}",
            template=template,
            exc_info=record.exc_info,
        )


def _route_libraries() -> None:
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Libraries)]:
        root.removeHandler(handler)
    root.addHandler(_Libraries(logging.WARNING))
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(logging.WARNING)
        library.handlers.clear()
        library.propagate = True
