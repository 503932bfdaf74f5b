"""Users' connections on a relay of two workers: shared evenly, and again after one of them has died."""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import signal
import ssl
from pathlib import Path

from tests.listen.test_reload import until_said
from tests.peers.certs import Authority, Pair
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.process import PATIENCE
from tests.peers.relay import Relay, RelaySettings

_ESTABLISHED = "01"


def connections(pid: int, *ports: int) -> int:
    """How many connections to these ports of ours a process holds."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) in ports and fields[3] == _ESTABLISHED:
            inodes.add(f"socket:[{fields[9]}]")
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was the directory's own
            found += str(descriptor.readlink()) in inodes
    return found


class Users:
    """Clients that come one after the other and stay: every other one with TLS from the first octet."""

    def __init__(self, relay: Relay, imaps: int, context: ssl.SSLContext) -> None:
        self.relay = relay
        self.ports = (relay.imap_port, imaps)
        self.here: list[imaplib.IMAP4] = []
        self._imaps = imaps
        self._context = context

    def come(self, number: int) -> None:
        """So many more, each greeted."""
        for turn in range(number):
            if turn % 2:
                client: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                    "localhost", self._imaps, ssl_context=self._context, timeout=PATIENCE
                )
            else:
                client = imaplib.IMAP4(LOOPBACK, self.relay.imap_port, timeout=PATIENCE)
            self.here.append(client)

    def answered(self) -> list[imaplib.IMAP4]:
        """Those whose worker lives."""
        found = []
        for client in self.here:
            with contextlib.suppress(imaplib.IMAP4.abort, OSError):
                client.noop()
                found.append(client)
        return found

    def leave(self, clients: list[imaplib.IMAP4]) -> None:
        """They close."""
        for client in clients:
            self.here.remove(client)
            with contextlib.suppress(imaplib.IMAP4.abort, OSError):
                client.shutdown()

    def shares(self) -> list[int]:
        """How many each worker holds."""
        return sorted(connections(pid, *self.ports) for pid in self.relay.workers())


def handed_over(relay: Relay) -> dict[str, float]:
    return {result: relay.metric("relay_serve_handed_over_total", result=result) for result in ("given", "kept")}


def test_ten_clients_are_five_for_each_worker(server_pair: Pair, authority: Authority) -> None:
    imaps = free_port()
    settings = RelaySettings(workers=2, certificate=server_pair, config={"listen": {"imaps": [f"{LOOPBACK}:{imaps}"]}})
    with Relay(settings) as relay, contextlib.ExitStack() as stack:
        until_said(relay, 2, "worker_ready")
        users = Users(relay, imaps, authority.client_context())
        stack.callback(lambda: users.leave(list(users.here)))
        assert handed_over(relay) == {"given": 0, "kept": 0}
        users.come(10)
        assert users.shares() == [5, 5]
        assert len(users.answered()) == 10
        accepted = relay.metric("relay_serve_connections_total", result="accepted")
        assert accepted == 10

        os.kill(relay.workers()[1], signal.SIGKILL)
        until_said(relay, 1, "worker_died")  # its share of the kernel's queue is gone, and its row says so
        assert len(users.answered()) == 5
        users.leave([client for client in users.here if client not in users.answered()])
        users.come(4)  # while there is one worker, or two already
        assert len(users.answered()) == 9
        until_said(relay, 3, "worker_ready")
        users.come(9)
        assert users.shares() == [9, 9]
        assert len(users.answered()) == 18
        assert handed_over(relay)["kept"] == 0  # nobody has tried the dead one

        # A worker that stops is no address any more, and leaves nothing behind.
        for pid in relay.workers():
            os.kill(pid, signal.SIGTERM)
        until_said(relay, 5, "worker_ready")
        users.leave(list(users.here))
        users.come(4)
        assert users.shares() == [2, 2]
        assert not re.findall(r'"level":"warning".*(?:hand|shared)', relay.logged())
        run = relay.data_dir / "run"
        assert {file.name for file in run.glob("*.socket")} == {"worker-0.socket", "worker-1.socket"}
        users.leave(list(users.here))
        assert relay.stop() == 0
        assert not list(run.glob("*.socket"))


def test_one_worker_has_nobody_to_share_with() -> None:
    with Relay(RelaySettings()) as relay:
        with imaplib.IMAP4(LOOPBACK, relay.imap_port, timeout=PATIENCE):
            run = {file.name for file in (relay.data_dir / "run").iterdir()}
        assert run == {"worker-0.lock"}
        assert handed_over(relay) == {"given": 0, "kept": 0}


def test_where_sockets_cannot_be_made_the_relay_works_as_before(tmp_path: Path) -> None:
    settings = RelaySettings(workers=2, data_dir=tmp_path)
    for worker in range(2):
        (tmp_path / "run" / f"worker-{worker}.socket").mkdir(parents=True)
    with Relay(settings) as relay:
        until_said(relay, 2, "worker_ready")
        until_said(relay, 2, "connections_not_shared")
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                stack.enter_context(imaplib.IMAP4(LOOPBACK, relay.imap_port, timeout=PATIENCE))
        assert relay.metric("relay_serve_connections_total", result="accepted") == 6
        assert handed_over(relay) == {"given": 0, "kept": 0}
