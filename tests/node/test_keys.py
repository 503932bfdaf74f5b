"""A new key under a running node: every worker takes it, and what is sealed meanwhile opens afterwards."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from relay.vault.keys import KeyRing, add_key
from tests.peers.relay import Relay, RelaySettings


@pytest.fixture(scope="module")
def node() -> Iterator[Relay]:
    with Relay(RelaySettings(workers=2)) as relay:
        relay.until(lambda: relay.log.read_text().count('"worker_ready"') == 2, why="a worker did not start")
        yield relay


def send(relay: Relay, count: int, stop: threading.Event | None = None) -> int:
    """A connection each, so that both workers get some; how many were accepted."""
    for number in range(count):
        if stop is not None and stop.is_set():
            return number
        with smtplib.SMTP("127.0.0.1", relay.mx_port, timeout=30) as client:
            client.sendmail("alice@sender.example", ["bob@example.org"], f"Subject: {number}\r\n\r\nbody\r\n")
    return count


def keys(relay: Relay) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in json.loads(relay.command("keys", "status", "--json").stdout)["keys"]}


def audit(relay: Relay, *options: str) -> dict[str, Any]:
    found = json.loads(relay.command("audit", *options, "--json").stdout)
    assert isinstance(found, dict)
    return found


def test_rotation_while_mail_comes_in(node: Relay) -> None:
    send(node, 10)
    before = audit(node)["accepted"]  # in any order of these tests
    old = KeyRing.load(node.key_file).active
    stop, sent = threading.Event(), []
    traffic = threading.Thread(target=lambda: sent.append(send(node, 10_000, stop)))
    traffic.start()
    try:
        done = json.loads(node.command("keys", "rotate", "--json").stdout)
        node.until(lambda: node.owed().get("pending", 0) > before, why="no mail came in meanwhile")
    finally:
        stop.set()
        traffic.join()
    assert done["active"] != old
    assert done["rewrapped"] >= before + 2
    # What was begun with the old key and committed after is the next rotation's; it opens all the same.
    again = json.loads(node.command("keys", "rotate", "--mounted", "--json").stdout)
    assert again["active"] == done["active"]
    assert {key for key, row in keys(node).items() if row["used_by"]} == {done["active"]}
    whole = audit(node, "--bodies")
    assert (whole["ok"], whole["accepted"], whole["quarantined"]) == (True, before + sent[0], 0)


def test_a_mounted_file_that_is_replaced_is_read_on_hup(node: Relay) -> None:
    old = KeyRing.load(node.key_file).active
    new = add_key(node.key_file).active
    os.kill(node.process.pid, signal.SIGHUP)  # the supervisor passes it on
    node.until(lambda: node.log.read_text().count(f'"key_id":"{new}"') == 2, why="a worker did not take the new key")
    send(node, 8)
    used = keys(node)
    assert used[new]["used_by"] == 8
    assert used[old]["used_by"] > 0
    node.command("keys", "rotate", "--mounted")
    used = keys(node)
    assert used[old]["used_by"] == 0
    # Nothing needs the old key: it may leave the file.
    kept = [line for line in node.key_file.read_text().splitlines() if not line.startswith(f"key {old} ")]
    node.key_file.write_text("\n".join(kept) + "\n")
    assert audit(node, "--bodies")["ok"] is True


def test_a_key_file_that_does_not_read_leaves_the_keys_as_they_are(node: Relay) -> None:
    whole = node.key_file.read_text()
    node.key_file.write_text("nonsense")
    try:
        os.kill(node.process.pid, signal.SIGHUP)  # the supervisor passes it on
        node.until(lambda: '"not_reloaded"' in node.log.read_text(), why="nobody said that the file does not read")
        send(node, 2)
        node.until(lambda: node.metric("relay_node_reload_failed", part="keys") > 0, why="nobody counted it")
    finally:
        node.key_file.write_text(whole)
    node.command("keys", "rotate")  # the workers read the file again, without HUP
    node.until(lambda: node.metric("relay_node_reload_failed") == 0, why="the alert would never end")
    assert audit(node, "--bodies")["ok"] is True
