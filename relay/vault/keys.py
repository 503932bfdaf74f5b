"""The key file: several named key-encryption keys, one of them active.

```
relay-keys 1
active key-5f1c09ab
key key-5f1c09ab <base64 of 32 bytes>
key key-0b7e44d2 <base64 of 32 bytes>
```

Blank lines and lines starting with `#` are ignored. The active key wraps; all of them unwrap.

1. The file is read only when nobody but its owner can read or write it.
2. It is replaced atomically, and the rename is on disk before the new key is used for anything.
3. A fault names the file, the problem and the remedy, never the content of a line.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from relay.core.errors import ConfigFault, Damaged
from relay.vault.aead import KEY_BYTES, LongLivedKey

_HEADER = "relay-keys 1"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_COMMENT = """\
# Key file of a standby mail relay. Whoever has it can read the spool; without it nobody can.
# Keep a copy in another place. Old keys stay until `relay keys status` says that nothing uses them.
"""
_MAX_BYTES = 64 * 1024


class MissingKey(Damaged):
    """The bytes may be fine, but the key file does not hold the key that they name."""


class KeyRing:
    """The keys of one file; wraps with the active one."""

    __slots__ = ("_keys", "active")

    def __init__(self, active: str, keys: Mapping[str, bytes]) -> None:
        if active not in keys:
            raise ConfigFault("vault.key_file: the active key is not in the file. Restore the file from its copy")
        self.active = active
        self._keys = {name: LongLivedKey(key) for name, key in keys.items()}

    def __repr__(self) -> str:
        return f"KeyRing(active={self.active!r}, names={self.names!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all keys, as in the file."""
        return tuple(self._keys)

    @classmethod
    def load(cls, key_file: Path) -> KeyRing:
        """Read a key file; ConfigFault when it is missing, open to others, or not what it should be."""
        active, keys = _parse(_read(key_file), key_file)
        return cls(active, keys)

    def wrap(self, data: bytes, aad: bytes) -> tuple[str, bytes]:
        """Name of the active key, and `data` sealed by it."""
        return self.active, self._keys[self.active].seal(data, aad)

    def unwrap(self, key_id: str, wrapped: bytes, aad: bytes) -> bytes:
        """What `wrap` was given; MissingKey, Damaged."""
        key = self._keys.get(key_id)
        if key is None:
            name = key_id if _NAME.fullmatch(key_id) else "with an impossible name"
            raise MissingKey(f"key {name} is not in the key file; add it back from an older copy of the file")
        return key.open(wrapped, aad)


def init_key_file(path: Path) -> KeyRing:
    """Make a key file with one key; ConfigFault when it already exists."""
    with _locked_directory(path) as directory:
        if path.exists():
            raise ConfigFault(f"vault.key_file: {path} already exists. To add a key to it: relay keys rotate")
        name = _new_name()
        keys = {name: secrets.token_bytes(KEY_BYTES)}
        _write(path, directory, name, keys)
    return KeyRing(name, keys)


def add_key(path: Path) -> KeyRing:
    """Add a key and make it the active one; the old ones stay for unwrapping."""
    with _locked_directory(path) as directory:
        _, keys = _parse(_read(path), path)
        name = _new_name()
        keys = {name: secrets.token_bytes(KEY_BYTES), **keys}
        _write(path, directory, name, keys)
    return KeyRing(name, keys)


def _new_name() -> str:
    return f"key-{secrets.token_hex(4)}"


def _read(path: Path) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigFault(f"vault.key_file: {path} does not exist. Make it with: relay keys init") from None
    except OSError as error:
        raise ConfigFault(
            f"vault.key_file: {path} cannot be opened ({error.strerror}). Let the relay's user own and read it"
        ) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigFault(f"vault.key_file: {path} is not a regular file. Name the file that holds the keys")
        if status.st_mode & 0o077:
            raise ConfigFault(
                f"vault.key_file: {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}). "
                f"Close it with: chmod 600 {path}"
            )
        raw = os.read(fd, _MAX_BYTES + 1)
    except OSError as error:
        raise ConfigFault(f"vault.key_file: {path} cannot be read ({error.strerror}). Check its disk") from None
    finally:
        os.close(fd)
    if len(raw) > _MAX_BYTES:
        raise ConfigFault(f"vault.key_file: {path} is too long for a key file. Name the right file")
    return raw.decode("ascii", "replace")


def _parse(text: str, path: Path) -> tuple[str, dict[str, bytes]]:
    def fault(number: int, problem: str) -> ConfigFault:
        return ConfigFault(
            f"vault.key_file: {path} line {number}: {problem}. Restore the file from its copy; "
            "where nothing was spooled yet, remove it and run: relay keys init"
        )

    active: str | None = None
    keys: dict[str, bytes] = {}
    lines = [(n, line.split()) for n, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if not lines or lines[0][1] != _HEADER.split():
        raise fault(lines[0][0] if lines else 1, "not a key file of a version that is known here")
    for number, words in lines[1:]:
        match words:
            case ["active", name] if active is None:
                active = name
            case ["key", name, encoded] if _NAME.fullmatch(name) and name not in keys:
                try:
                    key = base64.b64decode(encoded, validate=True)
                except (binascii.Error, ValueError):
                    raise fault(number, "the key is not base64") from None
                if len(key) != KEY_BYTES:
                    raise fault(number, "the key is not 32 bytes long")
                keys[name] = key
            case _:
                raise fault(number, "neither `active NAME` (once) nor `key NAME BASE64` (a name once)")
    if active is None or active not in keys:
        raise fault(len(text.splitlines()), "the active key is not in the file")
    return active, keys


@contextlib.contextmanager
def _locked_directory(path: Path) -> Iterator[int]:
    """The directory's descriptor, locked so that two rotations do not lose a key."""
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigFault(
            f"vault.key_file: the directory {path.parent} cannot be opened ({error.strerror}). Make it first"
        ) from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(directory)


def _write(path: Path, directory: int, active: str, keys: Mapping[str, bytes]) -> None:
    lines = [_COMMENT + _HEADER, f"active {active}"]
    lines += [f"key {name} {base64.b64encode(key).decode()}" for name, key in keys.items()]
    temporary = None
    try:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(fd, "wb") as file:
            file.write(("\n".join(lines) + "\n").encode())
            file.flush()
            os.fsync(fd)
        Path(temporary).rename(path)
        temporary = None
        os.fsync(directory)
    except OSError as error:
        raise ConfigFault(
            f"vault.key_file: {path} cannot be written ({error.strerror}). It must lie in a directory that the "
            "relay's user may write to; a mounted secret is replaced where it is mounted from"
        ) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
