"""`[imap]`: what every account has on the standby."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay import wiring, wiring_mailboxes
from relay.config import ConfigFaults, load
from relay.spool.folders import Usual
from relay.store.mailbox_records import Quota

SMALLEST = '[node]\nhostname = "mx1.example.org"\n'


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "relay.toml"
    file.write_text(SMALLEST + text)
    return file


def test_what_is_not_set(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""))
    assert wiring_mailboxes.quota(config) is None
    assert wiring.serve_settings(config, "").append_limit == 50_000_000
    assert [one.special_use for one in wiring_mailboxes.usual_folders(config)] == [
        "\\Drafts",
        "\\Sent",
        "\\Trash",
        "\\Junk",
        "\\Archive",
    ]


def test_the_names_of_the_primary(tmp_path: Path) -> None:
    text = '[imap]\nquota = "2GB"\nappend_limit = "1MiB"\n[imap.folders]\nsent = "Sent Items"\ntrash = ""\njunk = ""\n'
    config = load(written(tmp_path, text))
    assert wiring_mailboxes.quota(config) == Quota(size=2_000_000_000)
    assert wiring.serve_settings(config, "").append_limit == 1 << 20
    assert wiring_mailboxes.usual_folders(config) == [
        Usual("Drafts", "\\Drafts"),
        Usual("Sent Items", "\\Sent"),
        Usual("Archive", "\\Archive"),
    ]


@pytest.mark.parametrize("name", ["a//b", "inbox", "a*b", "/x"])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigFaults, match=r"imap\.folders\.sent"):
        load(written(tmp_path, f'[imap.folders]\nsent = "{name}"\n'))
