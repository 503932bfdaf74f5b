"""Connections that stay for long are shared evenly among workers: who has accepted one too many hands it on.

The kernel chooses a worker by a hash of the client's address and port, which is fair to many connections and unfair to
ten. An accepted connection, of which nothing was read and to which nothing was said, enters; it leaves through the Unix
socket of the worker that has the fewest (`balance`), which then treats it as if it had accepted it by itself.

1. A connection is handed on at most once: what came through the socket stays.
2. What cannot be handed on is kept, whatever the reason: the other has died, or stops, or does not empty its socket.
3. A connection that was sent waits in the socket until it is taken, also while its worker has no descriptor to spare.
   It is lost with that worker alone, as all that the worker holds.
4. `stop` says first that nothing more is taken and closes the socket for senders; then it takes what has arrived before
   that, for the ports to close with the others.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, Protocol

from relay.listen.balance import Balance, Rows
from relay.listen.settings import Company, Name
from relay.obs.logs import logger
from relay.obs.metrics import HandingOver

_log = logger("listen")
_HEAD = struct.Struct("=QQ")
"""Number of the sender and of the connection (`balance`); the name of the port follows."""
_MOST = 64
_DESCRIPTOR = socket.CMSG_LEN(array.array("i").itemsize)
_RETRY = 0.2
"""Seconds before looking again when the process is out of descriptors."""

Welcome = Callable[[socket.socket], None]
"""A port's, for a connection that another worker has accepted on its port of the same name."""


class Counter(Protocol):
    """A metric."""

    def inc(self) -> None:
        """One more."""
        ...


class Neighbours(Generic[Name]):
    """The other workers, as a port sees them; here there are none, or its connections are none of their business."""

    def joins(self, name: Name, welcome: Welcome) -> None:
        """Ports of one name differ in their address only: any of them will do."""

    def came(self) -> None:
        """A connection is ours; said as soon as it is kept."""

    def went(self) -> None:
        """It has ended."""

    def gave(self, name: Name, descriptor: Callable[[], int]) -> bool:
        """Hand a new connection on where another has fewer; True: it is the other's, close yours."""
        return False


class Sharing(Neighbours[Name]):
    """One per worker and kind of connection, for all ports of the kind."""

    def __init__(self, settings: Company, handed_over: Mapping[tuple[Name, HandingOver], Counter]) -> None:
        self._settings = settings
        self._handed_over = handed_over
        self._welcomes: dict[str, Welcome] = {}
        self._held = 0
        self._taking = False
        """Whether the others are told that we take connections."""
        self._balance: Balance | None = None
        self._directory = -1
        self._inbox: socket.socket | None = None
        self._undo = contextlib.ExitStack()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """When the ports are open. OSError: nothing is shared, each connection stays where the kernel put it."""
        settings = self._settings
        with contextlib.ExitStack() as undo:
            rows = Rows(settings.numbers, settings.workers)
            undo.callback(rows.close)
            self._directory = os.open(settings.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, self._directory)
            self._remove()  # a predecessor's that was killed
            inbox = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            inbox.setblocking(False)
            inbox.bind(self._address(settings.worker))
            self._undo = undo.pop_all()
        self._inbox, self._balance = inbox, Balance(rows, settings.worker)
        self._balance.begin()
        self._watch()

    def stop(self) -> None:
        """Before the ports are closed; invariant 4. Idempotent."""
        if self._inbox is None or self._balance is None:
            return
        self._taking = False
        self._balance.close()
        self._inbox.shutdown(socket.SHUT_RD)  # from now on senders get EPIPE
        asyncio.get_running_loop().remove_reader(self._inbox)
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(BlockingIOError):
            while self._take_one(self._inbox, self._balance):
                pass
        self._remove()
        self._inbox = self._balance = None
        self._undo.close()

    # --- for the ports ---

    def joins(self, name: Name, welcome: Welcome) -> None:
        """As `Neighbours`."""
        self._welcomes[name] = welcome

    def came(self) -> None:
        """As `Neighbours`."""
        self._held += 1
        self._tell()

    def went(self) -> None:
        """As `Neighbours`."""
        self._held -= 1
        self._tell()

    def gave(self, name: Name, descriptor: Callable[[], int]) -> bool:
        """As `Neighbours`."""
        if self._inbox is None or self._balance is None:
            return False
        receiver = self._balance.place(self._held)
        if receiver is None:
            return False
        number = self._balance.number(receiver)
        message = _HEAD.pack(self._settings.worker, number) + name.encode()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor()]))
        try:
            self._inbox.sendmsg([message], [rights], 0, self._address(receiver))
        except OSError:  # invariant 2
            self._handed_over[name, "kept"].inc()
            return False
        self._balance.sent(receiver, number)
        self._handed_over[name, "given"].inc()
        return True

    # --- from the others ---

    def _watch(self) -> None:
        assert self._inbox is not None
        asyncio.get_running_loop().add_reader(self._inbox, self._ready)
        self._taking = True
        self._tell()

    def _ready(self) -> None:
        """Something was sent."""
        if self._inbox is None or self._balance is None:
            return  # stopped in this very turn of the loop
        try:
            if self._take_one(self._inbox, self._balance):
                return
        except BlockingIOError:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._inbox)
        self._taking = False
        self._balance.close()
        self._timer = loop.call_later(_RETRY, self._watch)
        _log.warning("handed_over_waits", problem="no descriptor is free", remedy="raise the limit on open files")

    def _take_one(self, inbox: socket.socket, balance: Balance) -> bool:
        """False: there is no descriptor to have it by, and it still waits. BlockingIOError: there is none."""
        # Looked at first: what is received without a free descriptor is closed by the kernel.
        flags = socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
        message, rights, found, _ = inbox.recvmsg(_MOST, _DESCRIPTOR, flags)
        if found & socket.MSG_CTRUNC:
            return False
        inbox.recv(_MOST)
        client = socket.socket(fileno=array.array("i", rights[0][2])[0])
        client.setblocking(False)
        sender, number = _HEAD.unpack_from(message)
        name = message[_HEAD.size :].decode()
        if name in self._welcomes:
            self._welcomes[name](client)
        else:
            client.close()
            problem = "another worker has a port that this one has not"
            _log.warning("handed_over_unknown", listener=name, problem=problem, remedy="restart the node")
        balance.taken(sender, number)
        return True

    def _tell(self) -> None:
        if self._taking and self._balance is not None:
            self._balance.hold(self._held)

    def _remove(self) -> None:
        with contextlib.suppress(OSError):  # `bind` tells whether it matters
            os.unlink(_name(self._settings.worker), dir_fd=self._directory)

    def _address(self, worker: int) -> str:
        """Short, however deep the directory is: the kernel takes 107 octets."""
        return f"/proc/self/fd/{self._directory}/{_name(worker)}"


def _name(worker: int) -> str:
    return f"worker-{worker}.socket"


def create_numbers(path: Path, workers: int) -> Rows | None:
    """The supervisor's: what the workers' `Company.numbers` names. None, and a warning, where it cannot be made."""
    try:
        return Rows.create(path, workers)
    except OSError as error:
        not_shared(error)
        return None


def not_shared(error: OSError) -> None:
    """What the operator is told where this part does not work; the node does."""
    _log.warning(
        "connections_not_shared",
        problem="long connections stay with the worker that the kernel has chosen",
        remedy="let the relay's user make files and sockets in `run` of node.data_dir, with room on the disk",
        exc_info=error,
    )
