"""Another process that wants the write lock all the time: `python -m tests.store.turns LOCK RECORD NAME TURNS`.

It says that it is ready, waits for a line, then takes turns without a pause between them. Each writes its NAME (one
octet) into RECORD under the lock, until that has TURNS of them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from relay.store.sqlite.lockfile import LockFile


def main(lock_path: str, record: str, name: str, turns: str) -> None:
    """Take turns."""
    lock = LockFile(Path(lock_path), 60.0)
    fd = os.open(record, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    print("ready", flush=True)
    sys.stdin.readline()
    done = False
    while not done:
        lock.acquire()
        done = os.fstat(fd).st_size >= int(turns)
        if not done:
            os.write(fd, name.encode())
            os.fsync(fd)  # as long as a commit
        lock.release()
    lock.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
