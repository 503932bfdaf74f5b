"""A private Postfix, as the primary or as the yardstick of the benchmark.

In: `PostfixSettings`. Out: a server on a loopback port that takes mail for `people.PEOPLE` and delivers it into
Maildirs (virtual(8)) or by LMTP into a `Dovecot`. Queue, data, configuration and log are in one temporary directory.

1. It fsyncs as Debian's does; nothing is relaxed to be quick.
2. It changes no message: no header is added or rewritten beyond the trace lines of delivery.
3. Unknown recipients of its domains get 550 5.1.1, other domains 454 or 554 (no open relay).
"""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.peers import people
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.process import Peer, PeerFailed, PeerProcess

_MASTER = """\
{listen} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PostfixSettings:
    """What a test may want different."""

    people: tuple[str, ...] = people.PEOPLE
    lmtp_socket: Path | None = None
    """Deliver through this LMTP socket instead of into Maildirs."""
    xclient: bool = True
    xforward: bool = True
    relay_to: int | None = None
    """Port on loopback that takes everything this Postfix accepts (benchmark of a queue flush)."""
    header_checks: tuple[str, ...] = ()
    """Lines of a regexp table, such as `/^Subject: .*nasty/ REJECT 5.7.1 no`."""
    body_checks: tuple[str, ...] = ()
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """main.cf lines that win over ours."""
    certificate: Path | None = None
    private_key: Path | None = None
    processes: int = 100


class Postfix(Peer):
    """One private instance; `start` it, `port` is where it listens, the same after every restart.

    Mail that it has queued stays queued when it is stopped or killed.
    """

    def __init__(self, settings: PostfixSettings | None = None) -> None:
        super().__init__("pf")
        self.settings = settings or PostfixSettings()
        self.port = free_port()
        self.config = self.directory / "etc"
        self.maildirs = self.directory / "mail"
        self.log = self.directory / "mail.log"
        self._daemons = Path(self._system_default("daemon_directory"))
        self._configure()
        self._process = PeerProcess(
            [str(self._daemons / "master"), "-c", str(self.config), "-d"], log=self.directory / "master.log"
        )

    @staticmethod
    def _system_default(parameter: str) -> str:
        return subprocess.run(
            ["/usr/sbin/postconf", "-dh", parameter], check=True, capture_output=True, text=True
        ).stdout.strip()

    def _table(self, name: str, lines: tuple[str, ...]) -> Path:
        path = self.config / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def _parameters(self) -> dict[str, str]:
        s = self.settings
        domains = sorted({address.rpartition("@")[2] for address in s.people})
        mailboxes = self._table(
            "mailboxes", tuple(f"{a} {a.rpartition('@')[2]}/{a.rpartition('@')[0]}/" for a in s.people)
        )
        parameters = {
            "compatibility_level": "3.6",
            "queue_directory": f"{self.directory}/queue",
            "data_directory": f"{self.directory}/data",
            "daemon_directory": str(self._daemons),
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(self.directory),
            "inet_interfaces": LOOPBACK,
            "inet_protocols": "ipv4",
            "myhostname": "primary.example.org",
            "mydestination": "",
            # Only mail for its own domains: a primary is no open relay, not even for loopback.
            "mynetworks": "192.0.2.1/32",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "local_header_rewrite_clients": "",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_delay_reject": "yes",
            "smtpd_authorized_xclient_hosts": "127.0.0.0/8" if s.xclient else "",
            "smtpd_authorized_xforward_hosts": "127.0.0.0/8" if s.xforward else "",
            "message_size_limit": str(256 << 20),
            "mailbox_size_limit": "0",
            "virtual_mailbox_limit": "0",
            "default_process_limit": str(s.processes),
            "virtual_mailbox_domains": " ".join(domains),
            "virtual_mailbox_maps": f"texthash:{mailboxes}",
            "virtual_mailbox_base": str(self.maildirs),
            "virtual_uid_maps": f"static:{people.MAIL_UID}",
            "virtual_gid_maps": f"static:{people.MAIL_UID}",
            "virtual_minimum_uid": str(people.MAIL_UID),
            "alias_maps": "",
            "alias_database": "",
            "biff": "no",
        }
        if s.lmtp_socket is not None:
            parameters["virtual_transport"] = f"lmtp:unix:{s.lmtp_socket}"
        if s.relay_to is not None:
            parameters["virtual_transport"] = f"smtp:[{LOOPBACK}]:{s.relay_to}"
        if s.header_checks:
            parameters["header_checks"] = f"regexp:{self._table('header_checks', s.header_checks)}"
        if s.body_checks:
            parameters["body_checks"] = f"regexp:{self._table('body_checks', s.body_checks)}"
        if s.certificate is not None and s.private_key is not None:
            parameters |= {
                "smtpd_tls_cert_file": str(s.certificate),
                "smtpd_tls_key_file": str(s.private_key),
                "smtpd_tls_security_level": "may",
            }
        return parameters | dict(s.parameters)

    def _configure(self) -> None:
        queue = self.directory / "queue"
        for directory in (self.config, queue, self.directory / "data", self.maildirs):
            directory.mkdir()
        os.chown(self.maildirs, people.MAIL_UID, people.MAIL_UID)
        owner = pwd.getpwnam("postfix").pw_uid
        os.chown(self.directory / "data", owner, -1)
        # What `postfix check` would make, in three seconds less.
        for name, mode, user, group in _queue_directories(owner, grp.getgrnam("postdrop").gr_gid):
            (queue / name).mkdir()
            os.chown(queue / name, user, group)
            (queue / name).chmod(mode)
        self._write_main()
        (self.config / "master.cf").write_text(_MASTER.format(listen=f"{LOOPBACK}:{self.port}"))

    def _write_main(self) -> None:
        lines = (f"{name} = {value}\n" for name, value in self._parameters().items())
        (self.config / "main.cf").write_text("".join(lines))

    def start(self) -> None:
        """Start it and wait for its greeting."""
        self.process.spawn()
        self.process.await_port(self.port, expect=b"220 ")

    def reconfigure(self, **parameters: str) -> None:
        """Change main.cf parameters. A running instance is restarted: a reload leaves open sessions as they are."""
        self.settings = dataclasses.replace(self.settings, parameters={**self.settings.parameters, **parameters})
        self._write_main()
        if self.running:
            self.stop()
            self.start()

    def flush(self) -> None:
        """Try all deferred mail now."""
        self._run("postqueue", "-f")

    def release_held(self) -> None:
        """Let everything on hold be delivered, now."""
        self._run("postsuper", "-H", "ALL")
        self.flush()

    def queued(self) -> int:
        """Messages in its queue."""
        listing = self._run("postqueue", "-j")
        return sum(1 for line in listing.splitlines() if line.strip())

    def mail(self, address: str) -> Iterator[bytes]:
        """Messages in an address's Maildir, as files hold them: lines end in LF, three trace lines on top."""
        local, _, domain = address.rpartition("@")
        for folder in ("new", "cur"):
            box = self.maildirs / domain / local / folder
            if box.is_dir():
                for file in sorted(box.iterdir()):
                    yield file.read_bytes()

    def _run(self, command: str, *arguments: str) -> str:
        result = subprocess.run(
            [f"/usr/sbin/{command}", "-c", str(self.config), *arguments], check=False, capture_output=True, text=True
        )
        if result.returncode:
            raise PeerFailed(f"{command}: {result.stdout}{result.stderr}{self.logged()[-2000:]}")
        return result.stdout


def _queue_directories(postfix: int, postdrop: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, mode, owner, group; from the list that Postfix is installed by (postfix-files)."""
    ordinary = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved")
    for name in (*ordinary, "trace"):
        yield name, 0o700, postfix, -1
    yield "maildrop", 0o730, postfix, postdrop
    yield "public", 0o710, postfix, postdrop
    yield "pid", 0o755, 0, -1
