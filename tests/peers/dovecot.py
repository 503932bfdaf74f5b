"""A private Dovecot: the primary's mailboxes over IMAP, and LMTP to put mail into them.

In: `DovecotSettings`. Out: IMAP (with STARTTLS) and IMAPS on loopback ports, an LMTP socket, `people.PEOPLE` with
`people.password_of`, and a master user (`alice@example.org*standby`). Everything is in one temporary directory.

1. Names outside `people` cannot log in and get no mail.
2. It never limits connections: what a proxy in front of it may do is the test's business.
"""

from __future__ import annotations

import contextlib
import dataclasses
import imaplib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.peers import people
from tests.peers.certs import Pair
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.process import PATIENCE, Peer, PeerFailed, PeerProcess

EXCHANGE_CAPABILITY = "IMAP4 IMAP4rev1 UIDPLUS MOVE ID CHILDREN IDLE NAMESPACE LITERAL+"
"""What Exchange 2013 and later announce: no CONDSTORE, QRESYNC, SPECIAL-USE or ESEARCH."""

_COMMON = """\
base_dir = {directory}/run
log_path = {directory}/dovecot.log
listen = {loopback}
protocols = imap lmtp
first_valid_uid = {uid}
first_valid_gid = {uid}
auth_cache_size = 0
auth_failure_delay = 0
auth_master_user_separator = *
ssl = yes
{capability}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
  process_min_avail = 2
  client_limit = 2000
  {many} = {unlimited}
}}
service imap {{
  process_limit = 2000
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  process_min_avail = 1
}}
service anvil {{
  client_limit = 8000
  # No growing delay after wrong passwords: every test comes from the same address.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 8000
}}
service stats {{
  client_limit = 8000
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  mailbox Sent {{
    auto = subscribe
    special_use = \\Sent
  }}
  mailbox Drafts {{
    auto = subscribe
    special_use = \\Drafts
  }}
  mailbox Trash {{
    auto = subscribe
    special_use = \\Trash
  }}
  mailbox Junk {{
    auto = subscribe
    special_use = \\Junk
  }}
}}
protocol imap {{
  mail_max_userip_connections = 10000
}}
"""

# The two lines of releases that Debian and Ubuntu ship differ in how databases, files and plugins are named.
_UP_TO_2_3 = """\
disable_plaintext_auth = no
ssl_cert = <{certificate}
ssl_key = <{private_key}
mail_uid = {uid}
mail_gid = {uid}
mail_location = maildir:{mail}/%d/%n
passdb {{
  driver = passwd-file
  master = yes
  args = scheme=PLAIN username_format=%u {directory}/masters
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={directory}/home/%d/%n
}}
protocol lmtp {{
  mail_plugins = sieve
}}
plugin {{
  sieve = file:{directory}/home/%d/%n/sieve;active={directory}/home/%d/%n/active.sieve
}}
"""

_FROM_2_4 = """\
auth_allow_cleartext = yes
ssl_server_cert_file = {certificate}
ssl_server_key_file = {private_key}
mail_uid = {uid}
mail_gid = {uid}
mail_driver = maildir
mail_path = {mail}/%{{user | domain}}/%{{user | username}}
passdb masters {{
  driver = passwd-file
  master = yes
  passwd_file_path = {directory}/masters
  default_password_scheme = PLAIN
}}
passdb users {{
  driver = passwd-file
  passwd_file_path = {directory}/users
  default_password_scheme = PLAIN
}}
userdb static {{
  driver = static
  fields {{
    uid = {uid}
    gid = {uid}
    home = {directory}/home/%{{user | domain}}/%{{user | username}}
  }}
}}
protocol lmtp {{
  mail_plugins {{
    sieve = yes
  }}
}}
sieve_script personal {{
  driver = file
  path = {directory}/home/%{{user | domain}}/%{{user | username}}/sieve
  active_path = {directory}/home/%{{user | domain}}/%{{user | username}}/active.sieve
}}
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DovecotSettings:
    """What a test may want different."""

    certificate: Pair
    people: tuple[str, ...] = people.PEOPLE
    capability: str | None = None
    """Announce exactly this, `EXCHANGE_CAPABILITY` for example."""
    maildirs: Path | None = None
    """Serve these Maildirs (`Postfix.maildirs`) instead of its own."""
    separator: str = "/"
    extra: str = ""
    """Lines of configuration that come last and win."""


class Dovecot(Peer):
    """One private instance; ports stay the same after every restart."""

    def __init__(self, settings: DovecotSettings) -> None:
        super().__init__("dc")
        self.settings = settings
        self.imap_port = free_port()
        self.imaps_port = free_port()
        self.maildirs = settings.maildirs or self.directory / "mail"
        self.lmtp_socket = self.directory / "run" / "lmtp"
        self.log = self.directory / "dovecot.log"
        self._passwords = {address: people.password_of(address) for address in settings.people}
        self._configure()
        self._process = PeerProcess(
            ["/usr/sbin/dovecot", "-F", "-c", str(self.directory / "dovecot.conf")],
            log=self.directory / "master.log",
        )

    def _configure(self) -> None:
        s = self.settings
        release = _release()
        old = release < (2, 4)
        values = {
            "directory": self.directory,
            "loopback": LOOPBACK,
            "uid": people.MAIL_UID,
            "imap": self.imap_port,
            "imaps": self.imaps_port,
            "mail": self.maildirs,
            "separator": s.separator,
            "many": "service_count" if old else "restart_request_count",
            "unlimited": "0" if old else "unlimited",
            "capability": f"imap_capability = {s.capability}" if s.capability else "",
            "certificate": s.certificate.certificate,
            "private_key": s.certificate.private_key,
        }
        version = f"{release[0]}.{release[1]}.0"
        head = "" if old else f"dovecot_config_version = {version}\ndovecot_storage_version = {version}\n"
        body = _COMMON + (_UP_TO_2_3 if old else _FROM_2_4)
        (self.directory / "dovecot.conf").write_text(head + body.format(**values) + s.extra)
        for directory in (self.directory / "home", self.maildirs):
            directory.mkdir(exist_ok=True)
            os.chown(directory, people.MAIL_UID, people.MAIL_UID)
        (self.directory / "masters").write_text(f"{people.MASTER_USER}:{{PLAIN}}{people.MASTER_PASSWORD}\n")
        self._write_users()

    def _write_users(self) -> None:
        lines = "".join(f"{address}:{{PLAIN}}{password}\n" for address, password in self._passwords.items())
        fresh = self.directory / "users.new"
        fresh.write_text(lines)
        fresh.chmod(0o644)
        fresh.replace(self.directory / "users")

    def start(self) -> None:
        """Start it and wait for its greeting."""
        self.process.spawn()
        try:
            self.process.await_port(self.imap_port, expect=b"* OK ")
        except PeerFailed as problem:
            raise PeerFailed(f"{problem}\n{self.logged()[-2000:]}") from problem

    def password(self, address: str) -> str:
        """The password that is in force for an address."""
        return self._passwords[address]

    def set_password(self, address: str, password: str) -> None:
        """Change a password; it is in force when this returns."""
        self._passwords[address] = password
        self._write_users()
        self._settle(address, password, accepted=True)

    def remove_user(self, address: str) -> None:
        """The address cannot log in and gets no mail from now on."""
        password = self._passwords.pop(address)
        self._write_users()
        self._settle(address, password, accepted=False)

    def _settle(self, address: str, password: str, *, accepted: bool) -> None:
        """Dovecot looks at the file at most once a second: ask until it has."""
        deadline = time.monotonic() + PATIENCE
        while self.running and self._accepts(address, password) is not accepted:
            if time.monotonic() > deadline:
                raise PeerFailed(f"the change of users was not noticed\n{self.logged()[-2000:]}")

    def _accepts(self, address: str, password: str) -> bool:
        with imaplib.IMAP4(LOOPBACK, self.imap_port, timeout=PATIENCE) as client:
            try:
                client.login(address, password)
            except client.error:
                return False
            return True

    def doveadm(self, *arguments: str) -> str:
        """Run doveadm against this instance; its standard output."""
        result = subprocess.run(
            ["/usr/bin/doveadm", "-c", str(self.directory / "dovecot.conf"), *arguments],
            check=False,
            capture_output=True,
            text=True,
        )
        if result.returncode:
            raise PeerFailed(f"doveadm {arguments[0]}: {result.stderr}")
        return result.stdout

    @contextlib.contextmanager
    def login(self, address: str) -> Iterator[imaplib.IMAP4]:
        """A second opinion: the standard library's IMAP client, logged in as a user."""
        with imaplib.IMAP4(LOOPBACK, self.imap_port, timeout=PATIENCE) as client:
            client.login(address, self.password(address))
            yield client

    def messages(self, address: str, mailbox: str = "INBOX") -> list[bytes]:
        """Every message of a mailbox as IMAP gives it (CRLF, trace lines on top), in UID order."""
        with self.login(address) as client:
            status, _ = client.select(mailbox, readonly=True)
            if status != "OK":
                return []
            _, parts = client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
            return [part[1] for part in parts if isinstance(part, tuple)]


def _release() -> tuple[int, int]:
    text = subprocess.run(["/usr/sbin/dovecot", "--version"], check=True, capture_output=True, text=True).stdout
    major, minor, *_ = text.split()[0].split(".")
    return int(major), int(minor)
