"""How often the disk is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.spool.pressure import RecentRoom


def test_room_is_asked_for_again_after_a_moment(tmp_path: Path) -> None:
    now = [0.0]
    room = RecentRoom(lambda: now[0])
    first = room(tmp_path)
    assert room(tmp_path) is first
    now[0] = 1.0
    assert room(tmp_path) is not first
    now[0] = 2.0
    for _ in range(2):
        with pytest.raises(OSError, match="No such file"):
            room(tmp_path / "gone")
