"""A disk that can be told to fail, as an SQLite VFS."""

from __future__ import annotations

import apsw


class FlakyDisk(apsw.VFS):
    """Passes everything on to the real one until told otherwise."""

    def __init__(self, name: str) -> None:
        self.fail_sync = False
        self.full = False
        self.syncs = 0
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FlakyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:
        self._disk.syncs += 1
        if self._disk.fail_sync:
            raise apsw.IOError("fsync failed")
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk.full:
            raise apsw.FullError("no space")
        super().xWrite(data, offset)
