"""A peer as a process group: started, stopped, killed and stalled by its own pid, with its output kept in a file.

`PeerProcess` is the group, `Peer` the server that a test holds: a group, a directory and a log.

1. `start` returns only when the peer greets on its port; it raises with the peer's log when it ends or is late.
2. After `stop` or `kill` no process of the group is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

from tests.peers import workdir
from tests.peers.ports import LOOPBACK

PATIENCE: Final = 60.0
"""Seconds that anything here is waited for. It only bounds a wait that ends early: a machine may be busy."""
_TICK: Final = 0.02
"""Seconds between two looks while waiting; each wait ends early when the process does."""


class PeerFailed(Exception):
    """A peer did not do what its test needs; the text holds its log."""


def wait_for_greeting(port: int, *, deadline: float, expect: bytes = b"", host: str = LOOPBACK) -> bytes:
    """First bytes that a server sends on a fresh connection; with `expect` empty only the connection is awaited.

    `deadline` is a value of `time.monotonic`. Raises OSError while the server is not there yet.
    """
    with socket.create_connection((host, port), timeout=max(0.1, deadline - time.monotonic())) as connection:
        if not expect:
            return b""
        greeting = connection.recv(512)
    if not greeting.startswith(expect):
        raise ConnectionError(f"greeting was {greeting!r}")
    return greeting


class PeerProcess:
    """One command that leads a session (and so a process group) of its own."""

    def __init__(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self._argv = list(argv)
        self._env = None if env is None else dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    @property
    def pid(self) -> int:
        """Pid of the leader; PeerFailed when it was never started."""
        if self._process is None:
            raise PeerFailed(f"{self._argv[0]} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the leader is alive."""
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start the command without waiting for anything."""
        if self.running:
            raise PeerFailed(f"{self._argv[0]} is already running")
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._env,
                start_new_session=True,
            )

    def await_port(self, port: int, *, expect: bytes = b"", timeout: float = PATIENCE) -> None:
        """Wait until the peer greets; PeerFailed when it ends first or is late."""
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while True:
            try:
                wait_for_greeting(port, deadline=deadline, expect=expect)
            except OSError as problem:
                if time.monotonic() > deadline:
                    raise PeerFailed(f"{self._argv[0]} is not ready: {problem}\n{self.log_tail()}") from problem
            else:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_TICK)
                raise PeerFailed(f"{self._argv[0]} ended with {code}\n{self.log_tail()}")

    def wait(self, timeout: float = PATIENCE) -> int:
        """Exit code of the leader; PeerFailed when it does not end in time."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise PeerFailed(f"{self._argv[0]} does not end\n{self.log_tail()}") from None

    def pause(self) -> None:
        """A tick, or less when the process ends within it."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_TICK)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group; nothing happens when none is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, *, timeout: float = PATIENCE) -> int | None:
        """End it politely (SIGTERM to the leader), then the rest of the group hard; the leader's exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL for the whole group, at once."""
        if self._process is None:
            return
        self.signal_group(signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + PATIENCE
        while group_alive(self._process.pid):
            if time.monotonic() > deadline:
                raise PeerFailed(f"processes of {self._argv[0]} survive SIGKILL")
            _reap(self._process.pid)

    def stall(self) -> None:
        """SIGSTOP for the group: the kernel still accepts connections, nobody answers."""
        self.signal_group(signal.SIGSTOP)

    def cont(self) -> None:
        """Undo `stall`."""
        self.signal_group(signal.SIGCONT)

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the log, for a failure message."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Peer(ABC):
    """What every peer can be told; a context manager is a peer that runs inside it."""

    log: Path
    """What it says about itself."""
    _stop_seconds: ClassVar[float] = PATIENCE
    """How long it may take to end politely."""

    def __init__(self, kind: str) -> None:
        self.directory = workdir.make(kind)
        self._process: PeerProcess | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it and wait for its greeting."""

    @property
    def process(self) -> PeerProcess:
        """Its process group; PeerFailed when it never had one."""
        if self._process is None:
            raise PeerFailed(f"{type(self).__name__} was never started")
        return self._process

    @property
    def pid(self) -> int:
        """Pid of its leader."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether its leader is alive."""
        return self._process is not None and self._process.running

    def stop(self) -> int | None:
        """End it politely; the leader's exit code."""
        return None if self._process is None else self._process.stop(timeout=self._stop_seconds)

    def kill(self) -> None:
        """SIGKILL for all its processes."""
        if self._process is not None:
            self._process.kill()

    def stall(self) -> None:
        """It still accepts connections (the kernel does) and then hangs."""
        self.process.stall()

    def cont(self) -> None:
        """Undo `stall`."""
        self.process.cont()

    def close(self) -> None:
        """End it and remove its directory."""
        self.kill()
        workdir.remove(self.directory)

    def logged(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _reap(group: int) -> None:
    """Collect dead members of a group that became our children (see the subreaper in conftest)."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-group, os.WNOHANG)


def group_alive(group: int) -> bool:
    """Whether a process group has a member that is not a zombie."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[2]) == group and fields[0] not in (b"Z", b"X"):
                    return True
    return False
