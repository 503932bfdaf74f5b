"""A desktop nobody sits at: an X server in memory, and pictures of what is on it."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Final

from tests.peers.process import PATIENCE, Peer, PeerFailed, PeerProcess

_SCREEN: Final = "1400x1000x24"


class Desktop(Peer):
    """A private X server; `display` is its name for programs."""

    def __init__(self) -> None:
        super().__init__("x")
        self.log = self.directory / "xvfb.log"
        self.display = ""

    def start(self) -> None:
        """Start it, and wait until it has chosen a number."""
        # It writes the number of the display to this file when clients may come.
        chosen = self.directory / "display"
        chosen.touch()
        self._process = PeerProcess(
            [
                *("/bin/sh", "-c", 'exec 3>"$1"; shift; exec "$@"', "sh", str(chosen)),
                *("/usr/bin/Xvfb", "-displayfd", "3", "-screen", "0", _SCREEN, "-nolisten", "tcp", "-noreset"),
            ],
            log=self.log,
        )
        self._process.spawn()
        for _ in range(int(PATIENCE / 0.02)):
            if chosen.read_text().endswith("\n"):
                self.display = ":" + chosen.read_text().strip()
                return
            if not self._process.running:
                break
            self._process.pause()
        raise PeerFailed(f"no display\n{self.logged()}")

    def picture(self, file: Path) -> Path:
        """What somebody would see now, as a PNG."""
        command = ["/usr/bin/import", "-display", self.display, "-window", "root", str(file)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
            if result.returncode == 0:
                return file
            raise PeerFailed(f"no picture: {result.stderr}")
        raise PeerFailed("no picture in time")
