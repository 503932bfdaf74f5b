"""A disk that can lose power: ext4 on a loop device. Needs root.

`cut_power` is EXT4_IOC_SHUTDOWN with NOLOGFLUSH: from that moment nothing reaches the device, neither dirty pages nor
the journal's unwritten tail; then it is mounted again and ext4 recovers, as after a real cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import time
from typing import Final

from tests.peers import workdir
from tests.peers.process import PATIENCE

_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
_NOLOGFLUSH: Final = 2


class LoopDisk:
    """A small ext4 of its own; `path` is its root."""

    def __init__(self, megabytes: int) -> None:
        self.directory = workdir.make("disk")
        self.path = self.directory / "mnt"
        self._image = self.directory / "image"
        self._device = ""
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._device = _run("losetup", "--find", "--show", str(self._image)).strip()
        try:
            self._mount()
        except BaseException:
            self.close()
            raise

    def _mount(self) -> None:
        _run("mount", "-t", "ext4", self._device, str(self.path))

    def cut_power(self) -> None:
        """Nothing more reaches the device; every later operation fails with EIO."""
        root = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(root, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(root)

    def restore_power(self) -> None:
        """Mount again; whoever had files open must be gone by now."""
        self._unmount()
        self._mount()

    def _unmount(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                _run("umount", str(self.path))
            except subprocess.CalledProcessError:
                # The last process that had a file open may still be on its way out.
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def free_bytes(self) -> int:
        """What is left for anybody."""
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def close(self) -> None:
        """Unmount and remove everything."""
        if self.path.is_mount():
            self._unmount()
        if self._device:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("losetup", "--detach", self._device)
        workdir.remove(self.directory)

    def __enter__(self) -> LoopDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run(*argv: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, "PATH": path}).stdout
