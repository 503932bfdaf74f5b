"""Ports for servers that stop and come back, and how to break off a connection.

A port from `bind(0)` lies in the range from which the kernel also takes source ports, so while a server is down any
outgoing connection may sit on it and the server cannot come back. These ports lie below that range, and each is
reserved against other test runs on this machine by a lock on a file, held until this process ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import socket
import struct
import tempfile
from pathlib import Path

LOOPBACK = "127.0.0.1"
_FIRST = 15_000
_RESERVED: dict[int, int] = {}
"""Port to the descriptor that holds its lock."""


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST: `abort` alone sends FIN when nothing is unread."""
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _ephemeral_start() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def _reserve(port: int) -> bool:
    directory = Path(tempfile.gettempdir()) / "relay-test-ports"
    directory.mkdir(exist_ok=True)
    descriptor = os.open(directory / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    _RESERVED[port] = descriptor
    return True


def free_port() -> int:
    """A loopback TCP port that nothing listens on and that stays ours until the process ends."""
    # The order must not follow pytest-randomly's seed: two runs with one seed would fight for the same ports.
    candidates = list(range(_FIRST, max(_ephemeral_start(), _FIRST + 2_000)))
    random.SystemRandom().shuffle(candidates)
    for port in candidates:
        if port in _RESERVED:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        if _reserve(port):
            return port
    raise RuntimeError("no free port")
