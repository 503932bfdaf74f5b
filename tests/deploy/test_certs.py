"""The development certificates: usable by a strict client, private, never overwritten."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from tests.house.sources import ROOT

SCRIPT = ROOT / "certs" / "make-dev-certs.sh"


def make(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def handshake(directory: Path, name: str) -> dict[str, object]:
    """Both ends over a socket pair; the client trusts only ca.pem and asks for `name`. The certificate it saw."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(directory / "server.pem", directory / "server.key")
    client = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # on by default from Python 3.13 on
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as end:
                end.recv(1)
        except OSError:
            theirs.close()  # the client says what it did not like

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as end:
            return dict(end.getpeercert() or {})
    finally:
        ours.close()
        thread.join()


def test_a_strict_client_accepts_every_name_and_no_other(tmp_path: Path) -> None:
    made = make("-d", tmp_path, "mx1.example.org", "imap.example.org", "127.0.0.1", "::1")
    assert made.returncode == 0, made.stderr
    for name in ("mx1.example.org", "imap.example.org", "127.0.0.1", "::1"):
        assert handshake(tmp_path, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, "mx2.example.org")


def test_openssl_finds_nothing_missing_when_it_is_strict(tmp_path: Path) -> None:
    assert make("-d", tmp_path, "mx1.example.org").returncode == 0
    authority, server = str(tmp_path / "ca.pem"), str(tmp_path / "server.pem")
    for certificate in (server, authority):
        verify = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", authority, certificate]
        done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def extensions(certificate: str) -> str:
        show = ["openssl", "x509", "-in", certificate, "-noout", "-text"]
        return subprocess.run(show, capture_output=True, text=True, timeout=60, check=True).stdout

    for certificate, wanted in (
        (server, ("Basic Constraints: critical", "Key Usage: critical", "Extended Key Usage", "Authority Key Id")),
        (authority, ("Basic Constraints: critical", "Key Usage: critical", "pathlen:0")),
    ):
        shown = extensions(certificate)
        for name in ("Subject Key Identifier", *wanted):
            assert name in shown, (certificate, name)


def test_without_names_it_is_for_this_machine(tmp_path: Path) -> None:
    assert make("-d", tmp_path).returncode == 0
    assert handshake(tmp_path, "localhost")
    assert handshake(tmp_path, "127.0.0.1")


def test_only_the_server_key_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    assert make("-d", tmp_path, "localhost").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "server.key", "server.pem"]
    assert (tmp_path / "server.key").stat().st_mode & 0o777 == 0o600
    holding = [path.name for path in tmp_path.iterdir() if b"PRIVATE" in path.read_bytes()]
    assert holding == ["server.key"]


@pytest.mark.parametrize("present", ["ca.pem", "server.pem", "server.key"])
def test_nothing_is_overwritten_and_nothing_half_made(tmp_path: Path, present: str) -> None:
    (tmp_path / present).write_text("precious")
    made = make("-d", tmp_path, "localhost")
    assert made.returncode == 1
    assert present in made.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(present, "precious")]


@pytest.mark.parametrize("name", ["two words", "a,DNS:evil.example", "-x.example", "1:2:not-an-address", ""])
def test_a_bad_name_makes_nothing(tmp_path: Path, name: str) -> None:
    made = make("-d", tmp_path, "--", name)
    assert made.returncode != 0
    assert made.stderr
    assert list(tmp_path.iterdir()) == []


def test_git_ignores_what_it_makes() -> None:
    for name in (
        "certs/server.key",
        "certs/server.pem",
        "certs/ca.pem",
        "deploy/secrets/server.key",
        "deploy/relay.toml",
    ):
        command = ["git", "-c", f"safe.directory={ROOT}", "check-ignore", "-q", name]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0, name
