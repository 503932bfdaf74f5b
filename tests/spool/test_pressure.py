"""When the disk is asked, and what is counted until it is asked again."""

from __future__ import annotations

from pathlib import Path

from relay.spool.pressure import DiskRoom, Pressure, PressureSettings

MB = 1 << 20


class Disk:
    """A file system that counts its questions, and a clock."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.asked = 0
        self.now = 0.0
        self.broken = False

    def room(self, _: Path) -> DiskRoom:
        """The answer."""
        self.asked += 1
        if self.broken:
            raise OSError
        return DiskRoom(self.free, 1 << 20)

    def pressure(self) -> Pressure:
        """A gate that keeps 100 MB and asks every second; a byte costs a byte."""
        settings = PressureSettings(reserve_bytes=100 * MB, overhead=1.0, remembered=1.0)
        return Pressure(Path(), settings, room=self.room, monotonic=lambda: self.now)


def test_one_answer_holds_for_a_moment() -> None:
    disk = Disk(200 * MB)
    pressure = disk.pressure()
    assert all(pressure.admits(MB) for _ in range(50))
    assert disk.asked == 1
    disk.free, disk.now = 100 * MB, 1.0
    assert not pressure.admits(MB)
    assert disk.asked == 2


def test_what_was_written_since_the_answer_is_not_promised_again() -> None:
    disk = Disk(200 * MB)
    pressure = disk.pressure()
    assert pressure.admits(MB)
    for _ in range(99):
        pressure.take(MB)
        pressure.give(MB)
    assert pressure.in_flight == 0
    assert pressure.admits(MB)
    pressure.take(MB)
    assert not pressure.admits(MB)
    pressure.give(MB)
    assert not pressure.admits(MB)
    disk.now = 1.0  # and all of it was dropped, as it turns out
    assert pressure.admits(100 * MB)


def test_a_disk_that_does_not_answer_is_asked_again() -> None:
    disk = Disk(200 * MB)
    disk.broken = True
    pressure = disk.pressure()
    assert pressure.lacks(None) == "disk"
    disk.broken, disk.now = False, 1.0
    assert pressure.lacks(None) is None
