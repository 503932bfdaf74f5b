"""The key file: made, read, rotated, refused."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.core.errors import ConfigFault, Damaged
from relay.vault.keys import KeyRing, MissingKey, add_key, init_key_file


def secrets_in(text: str) -> list[str]:
    """The keys of a file, as written."""
    return [line.split()[2] for line in text.splitlines() if line.startswith("key ")]


def test_made_private_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "relay.key"
    made = init_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["relay.key"]
    read = KeyRing.load(path)
    assert read.active == made.active
    assert read.unwrap(*made.wrap(b"data", b"aad"), b"aad") == b"data"
    with pytest.raises(ConfigFault, match="already exists"):
        init_key_file(path)


def test_rotation_keeps_the_old_keys(tmp_path: Path) -> None:
    path = tmp_path / "relay.key"
    before = init_key_file(path)
    apart = init_key_file(tmp_path / "apart.key")
    wrapped = before.wrap(b"data", b"aad")
    after = add_key(path)
    assert after.active != before.active
    assert set(after.names) == {before.active, after.active}
    for ring in (after, KeyRing.load(path)):
        assert ring.unwrap(*wrapped, b"aad") == b"data"
        assert ring.wrap(b"data", b"aad")[0] == after.active
    with pytest.raises(MissingKey, match=after.active):
        apart.unwrap(*after.wrap(b"data", b"aad"), b"aad")
    assert before.unwrap(*after.wrap(b"data", b"aad"), b"aad") == b"data"  # its file has the key by now
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(add_key(path).names) == 3


def test_a_wrapped_value_is_bound_to_its_place(tmp_path: Path) -> None:
    ring = init_key_file(tmp_path / "relay.key")
    key_id, wrapped = ring.wrap(b"data", b"aad")
    with pytest.raises(Damaged):
        ring.unwrap(key_id, wrapped, b"other")
    with pytest.raises(Damaged):
        ring.unwrap(key_id, wrapped[:10], b"aad")
    for index in range(len(wrapped)):
        broken = bytearray(wrapped)
        broken[index] ^= 1
        with pytest.raises(Damaged):
            ring.unwrap(key_id, bytes(broken), b"aad")
    with pytest.raises(MissingKey) as caught:
        ring.unwrap("evil\nname", wrapped, b"aad")
    assert "evil" not in str(caught.value)


def _empty(path: Path) -> None:
    path.write_text("")


def _other_version(path: Path) -> None:
    path.write_text(path.read_text().replace("relay-keys 1", "relay-keys 2"))


def _no_active(path: Path) -> None:
    path.write_text(re.sub(r"active .*\n", "", path.read_text()))


def _unknown_active(path: Path) -> None:
    path.write_text(re.sub(r"active .*\n", "active key-0\n", path.read_text()))


def _short_key(path: Path) -> None:
    path.write_text(path.read_text() + f"key key-0 {base64.b64encode(bytes(31)).decode()}\n")


def _no_base64(path: Path) -> None:
    path.write_text(path.read_text() + "key key-0 ?\n")


def _twice(path: Path) -> None:
    text = path.read_text()
    path.write_text(text + text.splitlines()[-1] + "\n")


def _garbage(path: Path) -> None:
    path.write_bytes(path.read_bytes() + os.urandom(50) + b"\n")


def _endless(path: Path) -> None:
    path.write_text(path.read_text() + "# comment\n" * 10_000)


@pytest.mark.parametrize(
    "spoil",
    [_empty, _other_version, _no_active, _unknown_active, _short_key, _no_base64, _twice, _garbage, _endless],
    ids=lambda spoil: spoil.__name__.strip("_"),
)
def test_a_wrong_file_is_refused_with_a_remedy_and_without_its_content(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "relay.key"
    init_key_file(path)
    secrets = secrets_in(path.read_text())
    spoil(path)
    for call in (KeyRing.load, add_key):
        with pytest.raises(ConfigFault, match=re.escape(str(path))) as caught:
            call(path)
        assert not any(secret in str(caught.value) for secret in secrets)
        assert re.search(r"[.] (Restore|Name) ", str(caught.value))


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        (0o604, "open to everybody"),
        (0o644, "open to everybody"),
        (0o444, "open to everybody"),
        (0o601, "open to everybody"),
        (0o620, "changed by its group"),
        (0o660, "changed by its group"),
        (0o650, "changed by its group"),
    ],
)
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int, problem: str) -> None:
    path = tmp_path / "relay.key"
    init_key_file(path)
    path.chmod(mode)
    with pytest.raises(ConfigFault, match=f"{problem}.*chmod 600"):
        KeyRing.load(path)
    path.chmod(0o400)
    assert KeyRing.load(path).active


@pytest.mark.parametrize("mode", [0o440, 0o640])
def test_a_group_may_read_it_only_if_it_is_one_of_ours(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a secret is mounted into a pod: root's, 0440, with the group that fsGroup names."""
    path = tmp_path / "relay.key"
    init_key_file(path)
    path.chmod(mode)
    real = os.fstat

    def of_the_pod(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[5] = 70_003
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_the_pod)
    monkeypatch.setattr(os, "getegid", lambda: 70_001)
    monkeypatch.setattr(os, "getgroups", lambda: [70_002, 70_003])
    assert KeyRing.load(path).active
    monkeypatch.setattr(os, "getgroups", lambda: [70_002])
    with pytest.raises(ConfigFault, match=r"read by group 70003, which this process is not a member of.*fsGroup"):
        KeyRing.load(path)


def test_a_new_key_leaves_owner_and_mode_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "relay.key"
    init_key_file(path)
    path.chmod(0o440)
    before = path.stat()
    add_key(path)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_ring_follows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "relay.key"
    init_key_file(path)
    running, wrapped = KeyRing.load(path), KeyRing.load(path).wrap(b"old", b"aad")
    newer = add_key(path)
    by_new = newer.wrap(b"new", b"aad")
    # Nobody told it: it meets the new key in a row, and looks.
    assert running.unwrap(*by_new, b"aad") == b"new"
    assert running.active == newer.active
    assert running.unwrap(*wrapped, b"aad") == b"old"
    assert running.refresh() == ()


def test_a_missing_key_does_not_make_it_read_the_same_file_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "relay.key"
    init_key_file(path)
    ring, stranger = KeyRing.load(path), init_key_file(tmp_path / "other.key").wrap(b"x", b"aad")
    reads: list[int] = []
    real = os.read

    def counted(fd: int, count: int) -> bytes:
        reads.append(fd)
        return real(fd, count)

    monkeypatch.setattr(os, "read", counted)
    for _ in range(3):
        with pytest.raises(MissingKey):
            ring.unwrap(*stranger, b"aad")
    assert reads == []
    add_key(path)
    reads.clear()
    for _ in range(3):
        with pytest.raises(MissingKey):
            ring.unwrap(*stranger, b"aad")
    assert len(reads) == 1


def test_a_key_that_left_the_file_works_until_the_end_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "relay.key"
    old = init_key_file(path)
    running, wrapped = KeyRing.load(path), old.wrap(b"old", b"aad")
    add_key(path)
    running.refresh()
    kept = [line for line in path.read_text().splitlines() if not line.startswith(f"key {old.active} ")]
    path.write_text("\n".join(kept) + "\n")
    assert running.refresh() == (old.active,)
    assert running.unwrap(*wrapped, b"aad") == b"old"
    with pytest.raises(MissingKey):
        KeyRing.load(path).unwrap(*wrapped, b"aad")


@pytest.mark.parametrize("spoil", ["foreign", "same name", "gone", "open"])
def test_a_wrong_file_changes_nothing_in_a_running_ring(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "relay.key"
    ring = init_key_file(path)
    wrapped = ring.wrap(b"data", b"aad")
    match spoil:
        case "foreign":
            path.unlink()
            init_key_file(path)
        case "same name":
            encoded = base64.b64encode(bytes(32)).decode()
            path.write_text(f"relay-keys 1\nactive {ring.active}\nkey {ring.active} {encoded}\n")
        case "gone":
            path.unlink()
        case _:
            path.chmod(0o644)
    with pytest.raises(ConfigFault, match=re.escape(str(path))):
        ring.refresh()
    assert ring.unwrap(*wrapped, b"aad") == b"data"
    assert ring.names == (wrapped[0],)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match="relay keys init"):
        KeyRing.load(tmp_path / "relay.key")
    with pytest.raises(ConfigFault, match="not a regular file"):
        KeyRing.load(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigFault, match="not a regular file"):
        KeyRing.load(tmp_path / "fifo")
    with pytest.raises(ConfigFault, match="directory"):
        init_key_file(tmp_path / "missing" / "relay.key")


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "relay.key"
    init_key_file(path)
    before = path.read_bytes()

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigFault, match="cannot be written"):
        add_key(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["relay.key"]


def test_nothing_prints_a_key(tmp_path: Path) -> None:
    path = tmp_path / "relay.key"
    ring = init_key_file(path)
    (secret,) = secrets_in(path.read_text())
    assert secret not in repr(ring)
    assert base64.b64decode(secret).hex() not in repr(ring)
