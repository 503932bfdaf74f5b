"""Sealed bytes: what comes back, and what must never."""

from __future__ import annotations

import os

import pytest
from backports import zstd
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.errors import Damaged
from relay.core.ids import ItemId, from_bytes
from relay.vault.aead import derive
from relay.vault.keys import KeyRing, MissingKey
from relay.vault.sealing import CHUNK_SIZE, MAC_BYTES, MessageKey, Vault

ITEM, OTHER = from_bytes(bytes(16)), from_bytes(bytes(15) + b"\1")
TEXT = b"a line of text, as mail has many\r\n" * 10_000


def vault(*names: str) -> Vault:
    """A vault with keys of these names, the first one active; the same for the same names."""
    keys = {name: name.encode().ljust(32, b".") for name in names or ("k1",)}
    return Vault(KeyRing(next(iter(keys)), keys), b"l" * 32, b"m" * 32)


def again(key: MessageKey, item: ItemId = ITEM) -> MessageKey:
    """The key as a reader gets it."""
    return vault().unwrap(key.key_id, key.wrapped, item)


def pieces(data: bytes) -> list[bytes]:
    """Cut into chunks."""
    return [data[at : at + CHUNK_SIZE] for at in range(0, len(data), CHUNK_SIZE)] or [b""]


def seal(data: bytes, item: ItemId = ITEM) -> tuple[MessageKey, list[bytes]]:
    """A sealed body."""
    key, cut = vault().new_message_key(item), pieces(data)
    return key, [key.seal_chunk(i, i == len(cut) - 1, piece) for i, piece in enumerate(cut)]


@pytest.mark.parametrize("length", [0, 1, 255, 256, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE])
@pytest.mark.parametrize("kind", ["text", "random"])
def test_a_body_comes_back(length: int, kind: str) -> None:
    data = TEXT[:length] if kind == "text" else os.urandom(length)
    key, sealed = seal(data)
    reader = again(key)
    assert b"".join(reader.open_chunk(i, i == len(sealed) - 1, one) for i, one in enumerate(sealed)) == data
    if kind == "text" and length >= CHUNK_SIZE:
        assert sum(map(len, sealed)) < length // 10
    assert sum(map(len, sealed)) <= length + 17 * len(sealed)
    assert not any(data[:16] in one for one in sealed if length >= 16)


@given(data=st.binary(max_size=2000), flip=st.integers(0))
def test_any_flipped_bit_is_damage(data: bytes, flip: int) -> None:
    key, (sealed,) = seal(data)
    at = flip % (len(sealed) * 8)
    broken = bytearray(sealed)
    broken[at // 8] ^= 1 << at % 8
    with pytest.raises(Damaged):
        again(key).open_chunk(0, True, bytes(broken))


@given(data=st.binary(max_size=500), keep=st.integers(0))
def test_any_cut_is_damage(data: bytes, keep: int) -> None:
    key, (sealed,) = seal(data)
    with pytest.raises(Damaged):
        again(key).open_chunk(0, True, sealed[: keep % len(sealed)])
    with pytest.raises(Damaged):
        again(key).open_chunk(0, True, sealed + b"\0")


def test_swapping_cutting_off_and_extending_are_damage() -> None:
    key, sealed = seal(TEXT)
    assert len(sealed) == 3
    reader = again(key)
    for index, last, which in [(0, False, 1), (1, False, 0), (1, True, 1), (2, False, 2), (0, True, 0), (3, True, 2)]:
        with pytest.raises(Damaged):
            reader.open_chunk(index, last, sealed[which])
    other, _ = seal(TEXT, OTHER)
    with pytest.raises(Damaged):
        again(other, OTHER).open_chunk(0, False, sealed[0])
    same_item, _ = seal(TEXT)
    with pytest.raises(Damaged):
        again(same_item).open_chunk(0, False, sealed[0])
    assert reader.open_chunk(0, False, sealed[0]) == TEXT[:CHUNK_SIZE]


def test_a_key_belongs_to_its_item() -> None:
    key, _ = seal(b"x")
    with pytest.raises(Damaged):
        again(key, OTHER)
    with pytest.raises(MissingKey):
        vault("k2").unwrap(key.key_id, key.wrapped, ITEM)


def test_no_nonce_is_used_twice() -> None:
    key = vault().new_message_key(ITEM)
    full = bytes(CHUNK_SIZE)
    key.seal_chunk(0, False, full)
    for index in (0, 2):
        with pytest.raises(ValueError, match="once"):
            key.seal_chunk(index, False, full)
    key.seal_chunk(1, True, b"")
    for index in (1, 2):
        with pytest.raises(ValueError, match="once"):
            key.seal_chunk(index, True, b"")
    with pytest.raises(ValueError, match="once"):
        again(key).seal_chunk(0, True, b"")


@pytest.mark.parametrize(("length", "last"), [(CHUNK_SIZE + 1, True), (CHUNK_SIZE - 1, False), (0, False)])
def test_only_the_last_chunk_is_short_and_none_is_long(length: int, last: bool) -> None:
    with pytest.raises(ValueError, match="full"):
        vault().new_message_key(ITEM).seal_chunk(0, last, bytes(length))


def forge(packed: bytes, last: bool = True) -> tuple[MessageKey, bytes]:
    """A chunk sealed with the right key around whatever we like: what a bug or a stolen key could write."""
    ring = KeyRing("k1", {"k1": b"k1".ljust(32, b".")})
    raw = b"r" * 32
    key_id, wrapped = ring.wrap(raw, b"relay 1 message key " + ITEM.encode())
    nonce = bytes(7) + bytes(4) + (b"\1" if last else b"\0")
    sealed = AESGCM(derive(raw, b"relay 1 chunk ")).encrypt(nonce, packed, b"relay 1 chunk " + ITEM.encode())
    return vault().unwrap(key_id, wrapped, ITEM), sealed


def test_the_forge_works() -> None:
    key, sealed = forge(b"\1" + zstd.compress(b"plain"))
    assert key.open_chunk(0, True, sealed) == b"plain"


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\2data",
        b"\1data",
        b"\1" + zstd.compress(bytes(CHUNK_SIZE + 1)),
        b"\1" + zstd.compress(bytes(100_000_000)),
        b"\1" + zstd.compress(b"data")[:-1],
        b"\1" + zstd.compress(b"data") + b"tail",
        b"\0" + bytes(CHUNK_SIZE + 1),
    ],
    ids=["empty", "flag", "garbage", "long", "bomb", "cut", "tail", "stored-long"],
)
def test_impossible_content_is_damage(packed: bytes) -> None:
    key, sealed = forge(packed)
    with pytest.raises(Damaged):
        key.open_chunk(0, True, sealed)


def test_a_short_chunk_in_the_middle_is_damage() -> None:
    key, sealed = forge(b"\0short", last=False)
    with pytest.raises(Damaged):
        key.open_chunk(0, False, sealed)


@given(data=st.binary(max_size=300), purpose=st.text(max_size=10), other=st.text(max_size=10), flip=st.integers(0))
@settings(max_examples=50)
def test_blobs_come_back_for_their_purpose_only(data: bytes, purpose: str, other: str, flip: int) -> None:
    key = vault().new_message_key(ITEM)
    one = vault()
    for sealed, open_ in ((key.seal_blob(purpose, data), again(key).open_blob), (one.seal(purpose, data), one.open)):
        assert open_(purpose, sealed) == data
        broken = bytearray(sealed)
        broken[flip % len(sealed)] ^= 0x80
        for what, bad in ((purpose, bytes(broken)), (purpose, sealed[:-1]), (purpose, sealed[:9])):
            with pytest.raises(Damaged):
                open_(what, bad)
        if other != purpose:
            with pytest.raises(Damaged):
                open_(other, sealed)


def test_domains_do_not_mix() -> None:
    key, (chunk,) = seal(b"x")
    blob, meta = key.seal_blob("p", b"x"), vault().seal("p", b"x")
    with pytest.raises(Damaged):
        again(key).open_blob("p", bytes(12) + chunk)
    with pytest.raises(Damaged):
        vault().open("p", blob)
    with pytest.raises(Damaged):
        again(key).open_blob("p", meta)
    assert vault().seal("p", b"x") != meta


def test_rotation_rewraps_without_touching_the_body() -> None:
    key, (sealed,) = seal(b"body")
    both = vault("k2", "k1")
    key_id, wrapped = both.rewrap(key.key_id, key.wrapped, ITEM)
    assert key_id == both.active_key == "k2"
    assert vault("k2").unwrap(key_id, wrapped, ITEM).open_chunk(0, True, sealed) == b"body"
    with pytest.raises(Damaged):
        both.rewrap(key.key_id, key.wrapped, OTHER)


def test_look_ups_are_separate_by_purpose_and_key() -> None:
    one = vault()
    assert one.mac("recipient", "ann") == one.mac("recipient", b"ann")
    assert len(one.mac("recipient", "ann")) == MAC_BYTES
    values = {one.mac(p, d) for p, d in [("a", "bc"), ("ab", "c"), ("", "abc"), ("a", "b"), ("abc", "")]}
    assert len(values) == 5
    other = Vault(KeyRing("k1", {"k1": bytes(32)}), b"L" * 32, b"m" * 32)
    assert other.mac("a", "bc") not in values


def test_nothing_prints_a_key() -> None:
    key, _ = seal(b"x")
    for shown in (repr(key), repr(vault())):
        assert "..." not in shown
        assert "mmmm" not in shown
    with pytest.raises(ValueError, match="32 bytes"):
        Vault(KeyRing("k1", {"k1": bytes(32)}), b"short", b"m" * 32)
