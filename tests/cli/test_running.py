"""Commands while the node runs: they see it, it sees what they do."""

from __future__ import annotations

import imaplib
import json
import smtplib
from collections.abc import Iterator

import pytest

from tests.peers.relay import Relay, RelaySettings


@pytest.fixture(scope="module")
def node() -> Iterator[Relay]:
    with Relay(RelaySettings(smtp_port=1)) as relay:
        with smtplib.SMTP("127.0.0.1", relay.mx_port, timeout=30) as client:
            client.sendmail("alice@sender.example", ["bob@example.org"], b"Subject: x\r\n\r\nplanted-body\r\n")
        yield relay


def test_status_of_a_running_node(node: Relay) -> None:
    node.until(lambda: node.smtp_mode() == "standby", why="a primary that is not there was believed")
    live = node.command("status", "--live")
    assert (live.returncode, live.stdout) == (0, "")
    done = node.command("status", "--json", check=False)
    found = json.loads(done.stdout)
    assert found["running"] is True
    assert found["ready"] is True
    assert found["queue"]["pending"]["items"] == 1
    # The primary has never answered: that needs somebody, though mail is safe.
    assert done.returncode == 1
    assert found["troubles"] == ["the primary's smtp has never answered: relay check"]
    shown = node.command("status", check=False).stdout
    assert "standby" in shown
    assert "pending" in shown
    assert "connection refused" in shown


def test_the_node_obeys_the_operator(node: Relay) -> None:
    node.command("mode", "normal", "--service", "smtp")
    node.until(lambda: node.smtp_mode() == "normal")
    node.command("mode", "auto")
    node.until(lambda: node.smtp_mode() == "standby")
    node.command("replay", "pause")
    node.until(lambda: node.status()["replay_paused"])
    node.command("replay", "resume")
    node.until(lambda: not node.status()["replay_paused"])


def test_the_queue_of_a_running_node(node: Relay) -> None:
    (view,) = json.loads(node.command("queue", "list", "--json").stdout)
    assert view["recipients"][0]["address"] == "bob@example.org"
    assert "planted-body" in node.command("queue", "export", view["id"]).stdout
    node.command("queue", "hold", view["id"])
    node.until(lambda: node.owed() == {"held": 1})
    node.command("queue", "release", view["id"])
    node.until(lambda: node.owed() == {"pending": 1})
    assert node.command("audit", "--bodies").returncode == 0
    assert "planted-body" not in node.log.read_text()
    assert "bob@" not in node.log.read_text()


def test_the_numbers_of_a_running_node_move(node: Relay) -> None:
    assert node.metric("relay_store_commit_seconds_count") > 0
    assert node.metric("relay_store_commit_operations_sum") > 0
    assert node.metric("relay_inbound_transactions_total", listener="mx", result="spooled") == 1
    assert node.metric("relay_mode_evidence_total", service="smtp", source="probe", signal="fail") > 0
    client = imaplib.IMAP4("127.0.0.1", node.imap_port, timeout=30)
    with pytest.raises(imaplib.IMAP4.error):
        client.login("bob@example.org", "wrong")
    client.shutdown()
    assert node.metric("relay_login_attempts_total", source="none") == 1
    assert node.metric("relay_login_verify_seconds_count") == 1
