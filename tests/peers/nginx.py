"""A private nginx as a mail proxy in front of an IMAP server: the yardstick for what passing a session through costs.

In: the port of the IMAP server. Out: an IMAP port. nginx asks an HTTP server where to connect every login to; that
server is nginx itself, and says the same for everybody.
"""

from __future__ import annotations

import subprocess

from tests.peers.ports import LOOPBACK, free_port
from tests.peers.process import Peer, PeerProcess

_CONFIG = """\
load_module {modules}/ngx_mail_module.so;
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log stderr warn;
events {{
  worker_connections 8192;
}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen {loopback}:{auth};
    location / {{
      add_header Auth-Status OK;
      add_header Auth-Server {loopback};
      add_header Auth-Port {upstream};
      return 200;
    }}
  }}
}}
mail {{
  auth_http {loopback}:{auth}/;
  server {{
    listen {loopback}:{port};
    protocol imap;
    imap_auth plain login;
  }}
}}
"""


class Nginx(Peer):
    """One instance; `port` is where it listens."""

    def __init__(self, upstream: int) -> None:
        super().__init__("ng")
        self.port = free_port()
        self.log = self.directory / "nginx.log"
        self._file = self.directory / "nginx.conf"
        self._file.write_text(
            _CONFIG.format(
                modules="/usr/lib/nginx/modules",
                directory=self.directory,
                loopback=LOOPBACK,
                auth=free_port(),
                upstream=upstream,
                port=self.port,
            )
        )
        self._process = PeerProcess(["/usr/sbin/nginx", "-c", str(self._file), "-e", "stderr"], log=self.log)

    def start(self) -> None:
        """Start it and wait for its greeting."""
        self.process.spawn()
        self.process.await_port(self.port, expect=b"* OK ")


def version() -> str:
    """As nginx says it."""
    told = subprocess.run(["/usr/sbin/nginx", "-v"], check=True, capture_output=True, text=True).stderr
    return told.rpartition("/")[2].strip()
