"""The key file: several named key-encryption keys, one of them active.

```
relay-keys 1
active key-5f1c09ab
key key-5f1c09ab <base64 of 32 bytes>
key key-0b7e44d2 <base64 of 32 bytes>
```

Blank lines and lines starting with `#` are ignored. The active key wraps; all of them unwrap.

1. The file is read only when nobody but its owner can write it, and nobody but its owner and a group of this process
   (or root's) can read it: mounted secrets come as 0440 with the pod's group.
2. It is replaced atomically, and the rename is on disk before the new key is used for anything.
3. A fault names the file, the problem and the remedy, never the content of a line.
4. A ring follows its file: `refresh` reads it again, and so does the first wrapped value that names a key it does not
   have, because some other process may know the new file already. What a ring could unwrap once, it can unwrap as long
   as it lives; a file without the key that wraps now is refused as the wrong one.
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
from typing import NamedTuple

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


class _Held(NamedTuple):
    """What a ring holds at one moment; replaced as a whole, so that threads see one or the other."""

    active: str
    keys: Mapping[str, bytes]


class KeyRing:
    """The keys of one file; wraps with the active one. Safe to use from several threads."""

    __slots__ = ("_file", "_held", "_seen")

    def __init__(self, active: str, keys: Mapping[str, bytes], *, file: Path | None = None) -> None:
        """`file` is where `refresh` looks; None = these keys are all there will ever be."""
        if active not in keys:
            raise ConfigFault("vault.key_file: the active key is not in the file. Restore the file from its copy")
        self._held = _Held(active, dict(keys))
        self._file = file
        self._seen: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"KeyRing(active={self.active!r}, names={self.names!r})"

    @property
    def active(self) -> str:
        """Name of the key that wraps."""
        return self._held.active

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all keys, as in the file."""
        return tuple(self._held.keys)

    @classmethod
    def load(cls, key_file: Path) -> KeyRing:
        """Read a key file; ConfigFault when it is missing, open to others, or not what it should be."""
        seen = _identity(key_file)  # before it is read: what replaces it meanwhile is noticed later
        active, keys = _parse(_read(key_file), key_file)
        ring = cls(active, keys, file=key_file)
        ring._seen = seen
        return ring

    def refresh(self) -> tuple[str, ...]:
        """Read the file again, invariant 4; the names of keys that are not in it any more.

        ConfigFault, with everything left as it was, when it does not read or is the file of something else.
        """
        if self._file is None:
            return ()
        self._seen = _identity(self._file)
        active, keys = _parse(_read(self._file), self._file)
        held = self._held
        if held.active not in keys or any(held.keys.get(name, key) != key for name, key in keys.items()):
            raise ConfigFault(
                f"vault.key_file: {self._file} does not hold the key {held.active} that is in use, or another one by "
                "the same name. Put the right file back; a new key is added to the old ones: relay keys rotate"
            )
        self._held = _Held(active, {**held.keys, **keys})
        return tuple(name for name in held.keys if name not in keys)

    def wrap(self, data: bytes, aad: bytes) -> tuple[str, bytes]:
        """Name of the active key, and `data` sealed by it."""
        active, keys = self._held
        return active, LongLivedKey(keys[active]).seal(data, aad)

    def unwrap(self, key_id: str, wrapped: bytes, aad: bytes) -> bytes:
        """What `wrap` was given; MissingKey, Damaged."""
        key = self._held.keys.get(key_id) or self._look_again(key_id)
        if key is None:
            name = key_id if _NAME.fullmatch(key_id) else "with an impossible name"
            raise MissingKey(f"key {name} is not in the key file; add it back from an older copy of the file")
        return LongLivedKey(key).open(wrapped, aad)

    def _look_again(self, key_id: str) -> bytes | None:
        """A key of a newer file; the file is read only where it is another one than was read last."""
        if self._file is not None and _identity(self._file) != self._seen:
            with contextlib.suppress(ConfigFault):  # whoever refreshes it by hand is told
                self.refresh()
        return self._held.keys.get(key_id)


def init_key_file(path: Path) -> KeyRing:
    """Make a key file with one key; ConfigFault when it already exists."""
    with _locked_directory(path) as directory:
        if path.exists():
            raise ConfigFault(f"vault.key_file: {path} already exists. To add a key to it: relay keys rotate")
        name = _new_name()
        keys = {name: secrets.token_bytes(KEY_BYTES)}
        _write(path, directory, name, keys)
    return KeyRing(name, keys, file=path)


def add_key(path: Path) -> KeyRing:
    """Add a key and make it the active one; the old ones stay for unwrapping."""
    with _locked_directory(path) as directory:
        _, keys = _parse(_read(path), path)
        name = _new_name()
        keys = {name: secrets.token_bytes(KEY_BYTES), **keys}
        _write(path, directory, name, keys, like=path.stat())
    return KeyRing(name, keys, file=path)


def _new_name() -> str:
    return f"key-{secrets.token_hex(4)}"


def _identity(path: Path) -> tuple[int, ...]:
    """Changes when the file is replaced or written; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_mode(path: Path, status: os.stat_result) -> None:
    """Invariant 1."""
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    if status.st_mode & 0o007:
        raise ConfigFault(
            f"vault.key_file: {path} is open to everybody on this machine ({mode}). Close it with: chmod 600 {path}"
        )
    if status.st_mode & 0o030:
        raise ConfigFault(
            f"vault.key_file: {path} can be changed by its group ({mode}). Close it with: chmod 600 {path}"
        )
    # Group 0 is root's, and with an ACL (systemd's credentials) the bits of the group are the mask of the named users.
    ours = {0, os.getegid(), *os.getgroups()}
    if status.st_mode & 0o040 and status.st_gid not in ours:
        raise ConfigFault(
            f"vault.key_file: {path} can be read by group {status.st_gid}, which this process is not a member of "
            f"({mode}). Close it with: chmod 600 {path}; or give it a group of the relay's user (fsGroup of a pod)"
        )


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
        _check_mode(path, status)
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


def _write(
    path: Path, directory: int, active: str, keys: Mapping[str, bytes], *, like: os.stat_result | None = None
) -> None:
    """`like` is the file that is replaced: whoever could read it can read the new one."""
    lines = [_COMMENT + _HEADER, f"active {active}"]
    lines += [f"key {name} {base64.b64encode(key).decode()}" for name, key in keys.items()]
    temporary = None
    try:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(fd, "wb") as file:
            if like is not None:
                if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(fd, like.st_uid, like.st_gid)
                os.fchmod(fd, stat.S_IMODE(like.st_mode))
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
