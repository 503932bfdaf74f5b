"""From a key file and a data directory to a vault."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.core.errors import ConfigFault
from relay.vault.bootstrap import LOOKUP, META, open_vault, rewrap_roots, root_keys_in_use
from relay.vault.keys import KeyRing, add_key, init_key_file


class Settings:
    """The store's settings, in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, name: str) -> bytes | None:
        return self.values.get(name)

    async def put(self, name: str, value: bytes) -> None:
        self.values[name] = value

    async def put_if_absent(self, name: str, value: bytes) -> bytes:
        return self.values.setdefault(name, value)


async def test_the_same_directory_gives_the_same_look_ups(tmp_path: Path) -> None:
    ring, kept = init_key_file(tmp_path / "key"), Settings()
    first = await open_vault(ring, kept.get, kept.put_if_absent)
    sealed = first.seal("address", b"ann@example.org")
    second = await open_vault(KeyRing.load(tmp_path / "key"), kept.get, kept.put_if_absent)
    assert second.mac("p", "x") == first.mac("p", "x")
    assert second.open("address", sealed) == b"ann@example.org"
    assert set(kept.values) == {LOOKUP, META}


async def test_of_two_starting_workers_the_first_wins(tmp_path: Path) -> None:
    ring, kept = init_key_file(tmp_path / "key"), Settings()

    async def sees_nothing(name: str) -> bytes | None:
        return None

    first = await open_vault(ring, kept.get, kept.put_if_absent)
    late = await open_vault(ring, sees_nothing, kept.put_if_absent)
    assert late.mac("p", "x") == first.mac("p", "x")


async def test_rotation_rewraps_the_roots_and_changes_no_look_up(tmp_path: Path) -> None:
    path, kept = tmp_path / "key", Settings()
    old = init_key_file(path)
    before = await open_vault(old, kept.get, kept.put_if_absent)
    new = add_key(path)
    assert await root_keys_in_use(kept.get) == {old.active}
    assert await rewrap_roots(new, kept.get, kept.put) == 2
    assert await rewrap_roots(new, kept.get, kept.put) == 0
    assert await root_keys_in_use(kept.get) == {new.active}
    after = await open_vault(new, kept.get, kept.put_if_absent)
    assert after.mac("p", "x") == before.mac("p", "x")


async def test_another_directorys_key_file_is_noticed(tmp_path: Path) -> None:
    kept = Settings()
    ring = init_key_file(tmp_path / "key")
    await open_vault(ring, kept.get, kept.put_if_absent)
    with pytest.raises(ConfigFault, match=f"does not belong to this data directory.*{ring.active}"):
        await open_vault(init_key_file(tmp_path / "other"), kept.get, kept.put_if_absent)
    same_name = KeyRing(ring.active, {ring.active: bytes(32)})
    with pytest.raises(ConfigFault, match="does not belong to this data directory"):
        await open_vault(same_name, kept.get, kept.put_if_absent)
    kept.values[LOOKUP], kept.values[META] = kept.values[META], kept.values[LOOKUP]
    with pytest.raises(ConfigFault, match="does not belong to this data directory"):
        await open_vault(ring, kept.get, kept.put_if_absent)
    kept.values[LOOKUP] = b"nonsense"
    with pytest.raises(ConfigFault, match="does not belong to this data directory"):
        await open_vault(ring, kept.get, kept.put_if_absent)
