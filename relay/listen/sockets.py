"""Listening sockets: a host and a port in, a bound socket out."""

from __future__ import annotations

import socket


def bind(host: str, port: int, *, shared: bool, backlog: int) -> socket.socket:
    """A listening TCP socket that does not block; `shared` = other workers bind the same one (SO_REUSEPORT). OSError.

    `host` is an address or a name that the system resolves. An IPv6 socket takes IPv6 alone: `::` beside `0.0.0.0`.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    bound = socket.create_server((str(address[0]), port), family=family, backlog=backlog, reuse_port=shared)
    bound.setblocking(False)
    return bound
