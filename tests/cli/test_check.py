"""`relay check` tries things for real and says which of them will not work."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.primary.lookup import Dns, Exchanger
from tests.cli.conftest import Desk
from tests.peers.certs import Authority, Pair
from tests.peers.issuer import Signer, key_set
from tests.primary.fake import FakeSmtp

LISTENING = 'imap = ["127.0.0.1:143"]\nimaps = ["127.0.0.1:993"]\nsubmissions = ["127.0.0.1:465"]\n'
"""More of the section that `Desk.configure` ends with."""


@contextmanager
def smtp_server() -> Iterator[int]:
    """A primary's SMTP, on a loop of its own: the command under test has one too."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = FakeSmtp()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield server.port
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def steps(desk: Desk, *arguments: str) -> dict[str, tuple[str, str]]:
    done = desk.relay("check", "--no-dns", "--json", *arguments)
    assert done.code == (0 if done.json["ok"] else 1)
    return {step["what"]: (step["result"], step["detail"]) for step in done.json["steps"]}


def test_a_site_that_works(desk: Desk, tmp_path: Path) -> None:
    desk.mixed()
    pair = Authority(tmp_path).issue("mx1.example.org", days=90)
    with smtp_server() as port:
        desk.configure(
            f'[tls]\ncertificate = "{pair.certificate}"\nprivate_key = "{pair.private_key}"\n'
            f'[primary.smtp]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'
        )
        found = steps(desk)
    assert {what: result for what, (result, _) in found.items()} == {
        "configuration": "ok",
        "key file": "ok",
        "data directory": "ok",
        "spool": "ok",
        "certificate": "ok",
        "primary smtp": "ok",
    }
    assert "4 messages" in found["spool"][1]


@pytest.mark.parametrize(
    ("names", "days", "result", "words"),
    [
        (("mx1.example.org",), -0.5, "fail", "expired on"),
        (("mx1.example.org",), 3, "warn", "expires in"),
        (("other.example.org",), 90, "warn", "not for node.hostname mx1.example.org"),
        (("*.example.org",), 90, "ok", "valid until"),
        (("*.org",), 90, "warn", "not for node.hostname"),
    ],
)
def test_certificates(
    desk: Desk, tmp_path: Path, *, names: tuple[str, ...], days: float, result: str, words: str
) -> None:
    desk.mixed()
    pair = Authority(tmp_path).issue(*names, days=days)
    desk.configure(f'[tls]\ncertificate = "{pair.certificate}"\nprivate_key = "{pair.private_key}"\n')
    said, detail = steps(desk)["certificate"]
    assert (said, words in detail) == (result, True), detail


def test_certificates_by_name(desk: Desk, tmp_path: Path) -> None:
    """Servers often send no server name, so the first certificate is theirs; clients see whichever fits."""
    desk.mixed()
    authority = Authority(tmp_path)
    first, second = authority.issue("mx1.example.org", days=90), authority.issue("*.example.net", days=3, stem="more")

    def configure(one: Pair, other: Pair) -> None:
        desk.configure(
            f'[tls]\ncertificate = "{one.certificate}"\nprivate_key = "{one.private_key}"\n'
            f'[[tls.more]]\ncertificate = "{other.certificate}"\nprivate_key = "{other.private_key}"\n'
            '[clients]\nimap_host = "imap.example.net"\n'
        )

    configure(first, second)
    found = steps(desk)
    assert found["certificate"][0] == "ok"
    assert found["certificate tls.more[0]"][0] == "warn"
    configure(second, first)
    assert "not for node.hostname mx1.example.org" in steps(desk)["certificate"][1]
    second.private_key.write_text("nothing")
    configure(first, second)
    assert steps(desk)["certificate tls.more[0]"][0] == "fail"


def test_a_certificate_and_the_key_of_another(desk: Desk, tmp_path: Path) -> None:
    desk.mixed()
    authority = Authority(tmp_path)
    one, other = authority.issue(stem="one"), authority.issue(stem="other")
    desk.configure(f'[tls]\ncertificate = "{one.certificate}"\nprivate_key = "{other.private_key}"\n')
    assert "do not go together" in steps(desk)["certificate"][1]
    desk.configure(f'[tls]\ncertificate = "{tmp_path}/none.pem"\nprivate_key = "{one.private_key}"\n')
    assert "cannot be read" in steps(desk)["certificate"][1]
    (tmp_path / "empty.pem").write_text("nothing")
    desk.configure(f'[tls]\ncertificate = "{tmp_path}/empty.pem"\nprivate_key = "{one.private_key}"\n')
    assert steps(desk)["certificate"][0] == "fail"


def test_a_primary_that_is_not_there_and_one_that_hangs(desk: Desk) -> None:
    desk.mixed()
    desk.configure('[primary.smtp]\nhost = "127.0.0.1"\nport = 1\n')
    assert steps(desk)["primary smtp"] == ("fail", "127.0.0.1:1: connection refused, 0.00 s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        desk.configure(f'[primary.smtp]\nhost = "127.0.0.1"\nport = {port}\n[failover]\ntimeout = "100ms"\n')
        result, detail = steps(desk)["primary smtp"]
    assert result == "fail"
    assert "in time" in detail


@pytest.mark.parametrize(
    ("document", "more", "result", "words"),
    [
        (key_set(Signer("one")), "", "ok", "has keys for ES256"),
        (key_set(Signer("one")), 'algorithms = ["RS256"]', "fail", "has no key for RS256"),
        (b"{}", "", "fail", "no key of use"),
        (None, "", "fail", "cannot be asked"),
    ],
)
def test_the_issuer_of_tokens(desk: Desk, *, document: bytes | None, more: str, result: str, words: str) -> None:
    desk.mixed()
    file = desk.directory / "keys.json"
    if document is not None:
        file.write_bytes(document)
        more += f'\njwks_file = "{file}"'
    desk.configure(f'[login.oauth]\nissuer = "http://127.0.0.1:1"\naudience = ["mail"]\n{more}\n')
    said, detail = steps(desk)["token issuer"]
    assert (said, words in detail) == (result, True), detail


def test_key_and_data_that_do_not_fit(desk: Desk) -> None:
    assert steps(desk)["key file"][0] == "fail"
    desk.mixed()
    (desk.directory / "relay.key").unlink()
    assert desk.relay("keys", "init").code == 0
    result, detail = steps(desk)["spool"]
    assert (result, "does not belong to this data directory" in detail) == ("fail", True)


def test_faults_of_the_configuration_are_its_result(desk: Desk) -> None:
    desk.file.write_text("[node]\nworkers = 0\n")
    done = desk.relay("check", "--json")
    assert done.code == 1
    assert {step["what"] for step in done.json["steps"]} == {"node.hostname", "node.workers"}
    assert "FAIL" in desk.relay("check").out


def test_files_that_the_configuration_names(desk: Desk, tmp_path: Path) -> None:
    desk.mixed()
    listed = tmp_path / "recipients"
    desk.file.write_text(
        desk.file.read_text().replace("[listen]", f'recipients_file = "{listed}"\n[listen]')
        + '[primary.imap]\nhost = "127.0.0.1"\naccess = "master"\nmaster_user = "m"\nmaster_password_file = "/none"\n'
    )
    found = steps(desk)
    assert found["recipient list"][0] == "fail"
    assert found["primary"] == (
        "fail",
        "primary.imap.master_password_file: /none cannot be read (No such file or directory). "
        "Let the relay's user read it",
    )
    listed.write_text("bob@example.org\n# nobody\n")
    assert steps(desk)["recipient list"] == ("ok", "1 addresses")


def test_what_the_dns_says_is_a_hint(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def addresses(_self: Dns, _host: str) -> list[str] | None:
        return ["192.0.2.1", "2001:db8::1"]

    async def names(_self: Dns, address: str) -> list[str] | None:
        return ["mx1.example.org"] if address == "192.0.2.1" else None

    async def exchangers(_self: Dns, _domain: str) -> list[Exchanger] | None:
        return [Exchanger(10, "other.example.org"), Exchanger(20, "mx1.example.org")]

    desk.mixed()
    monkeypatch.setattr(Dns, "addresses", addresses)
    monkeypatch.setattr(Dns, "names", names)
    monkeypatch.setattr(Dns, "mail_exchangers", exchangers)
    said = [(s["result"], s["detail"]) for s in desk.relay("check", "--json").json["steps"] if s["what"] == "DNS"]
    assert said == [
        ("ok", "192.0.2.1 is mx1.example.org and back"),
        ("warn", "2001:db8::1 has no PTR to mx1.example.org: some servers refuse its mail"),
        ("ok", "MX of example.org names mx1.example.org"),
    ]


def test_the_records_that_lead_clients_here(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = {
        ("_imaps._tcp.example.org.", "SRV"): ["0 1 993 imap.example.org."],
        ("_imap._tcp.example.org.", "SRV"): ["10 1 143 old.example.org."],
        ("_submissions._tcp.example.org.", "SRV"): None,
        ("autodiscover.example.org.", "CNAME"): [],
    }
    hosts = {"autodiscover.example.org.": ["192.0.2.1"], "mx1.example.org.": ["192.0.2.1"]}

    async def records(_self: Dns, name: str, kind: str) -> list[str] | None:
        return zone.get((name, kind), [])

    async def addresses(_self: Dns, host: str) -> list[str] | None:
        return hosts.get(host, [])

    desk.mixed()
    pair = Authority(tmp_path).issue("mx1.example.org", days=90)
    desk.configure(
        f"{LISTENING}"
        f'[tls]\ncertificate = "{pair.certificate}"\nprivate_key = "{pair.private_key}"\n'
        '[clients]\nimap_host = "imap.example.org"\n'
    )
    monkeypatch.setattr(Dns, "records", records)
    monkeypatch.setattr(Dns, "addresses", addresses)
    done = desk.relay("check", "--json")
    assert done.code == 0
    assert [
        (one["name"].removesuffix(".example.org."), one["value"], one["now"]) for one in done.json["dns_to_set"]
    ] == [
        ("_imaps._tcp", "0 1 993 imap.example.org.", "set"),
        ("_imap._tcp", "10 1 143 imap.example.org.", "different"),
        ("_submissions._tcp", "0 1 465 mx1.example.org.", "no answer"),
        ("_submission._tcp", "0 0 0 .", "missing"),
        ("_autodiscover._tcp", "0 1 443 mx1.example.org.", "missing"),
        ("autoconfig", "mx1.example.org.", "missing"),
        ("autodiscover", "mx1.example.org.", "set"),
    ]
    assert {
        step["detail"] for step in done.json["steps"] if (step["what"], step["result"]) == ("certificate", "warn")
    } == {"is for mx1.example.org, not for clients.imap_host imap.example.org"}
    printed = desk.relay("check", "--no-dns").out
    assert "DNS to set" in printed
    assert "IN SRV" in printed
    assert "not asked" in printed
