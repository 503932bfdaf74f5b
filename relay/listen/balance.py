"""How many connections each worker holds, where all of them see it, and where a new one belongs.

One small file, mapped into the supervisor and every worker: a row of numbers for each worker. What a worker holds, has
sent and has taken enters; the worker that a newcomer should go to leaves. (`sharing` does the sending.)

1. Each number has one writer, the worker whose row it is (once it has died the supervisor, until it is started again),
   and is one aligned store of eight octets: no lock, and no change is lost to another's.
2. A worker is sent something only while it says so: the first number of its row is 0 before `hold`, after `close`
   and after `forget`, else one more than it holds.
3. What is on its way counts for the one that it goes to. The sender's row has the number of the last connection that
   it has sent to each, the receiver's the number of the last that it has taken from each. The numbers travel with the
   connections and are written down, never added up; a worker that begins notes as taken what was sent to it so far,
   for that was lost with its predecessor. So nothing drifts, whoever dies when.
4. A newcomer, counted as ours, stays here unless another worker has at least two fewer: the other has no more than we
   then, and never a reason to give it back.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

_NUMBER = 8


class Rows:
    """The file, mapped."""

    def __init__(self, path: Path, workers: int) -> None:
        """Of a file that `create` has made. OSError, also where it was made for another number of workers."""
        self.workers = workers
        self._width = 1 + 2 * workers
        size = workers * self._width * _NUMBER
        with path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size != size:
                raise OSError(errno.EINVAL, "made for another number of workers", str(path))
            self._map = mmap.mmap(file.fileno(), size)
        self._numbers = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, path: Path, workers: int) -> Rows:
        """The supervisor, before the first worker: nobody holds anything. OSError.

        A new file each time. One that is cut short under a worker that has it mapped (left over by a supervisor that
        was killed) would kill that worker; and real zeros, because a hole would kill whoever fills it on a full disk.
        """
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(bytes(workers * (1 + 2 * workers) * _NUMBER))
        return cls(path, workers)

    def close(self) -> None:
        """Unmap it."""
        self._numbers.release()
        self._map.close()

    def held(self, worker: int) -> int | None:
        """How many connections it holds; None: it must not be sent any."""
        number = self._numbers[worker * self._width]
        return number - 1 if number else None

    def hold(self, worker: int, number: int) -> None:
        """Written by the worker itself."""
        self._numbers[worker * self._width] = number + 1

    def forget(self, worker: int) -> None:
        """It has died, or takes nothing more."""
        self._numbers[worker * self._width] = 0

    def sent(self, sender: int, receiver: int) -> int:
        """The number of the last connection that went from one to the other."""
        return self._numbers[sender * self._width + 1 + receiver]

    def note_sent(self, sender: int, receiver: int, number: int) -> None:
        """Written by the sender."""
        self._numbers[sender * self._width + 1 + receiver] = number

    def taken(self, receiver: int, sender: int) -> int:
        """The number of the last that has arrived."""
        return self._numbers[receiver * self._width + 1 + self.workers + sender]

    def note_taken(self, receiver: int, sender: int, number: int) -> None:
        """Written by the receiver."""
        self._numbers[receiver * self._width + 1 + self.workers + sender] = number

    def on_the_way(self, receiver: int) -> int:
        """How many were sent to a worker that it has not taken yet."""
        # A number may be seen as taken a moment before it is seen as sent: each pair has its own floor.
        return sum(max(0, self.sent(sender, receiver) - self.taken(receiver, sender)) for sender in range(self.workers))


class Balance:
    """As one worker sees and writes it."""

    def __init__(self, rows: Rows, worker: int) -> None:
        self._rows = rows
        self._me = worker

    def begin(self) -> None:
        """Before anything is sent to us, by a socket that is new (invariant 3)."""
        for other in self._others():
            self._rows.note_taken(self._me, other, self._rows.sent(other, self._me))

    def hold(self, held: int) -> None:
        """So many now, and open for more."""
        self._rows.hold(self._me, held)

    def close(self) -> None:
        """Nothing more, please: out of descriptors, or about to stop."""
        self._rows.forget(self._me)

    def place(self, held: int) -> int | None:
        """The worker that a newcomer belongs to (invariant 4); None = here, where `held` are already."""
        ours = held + 1 + self._rows.on_the_way(self._me)
        loads = [
            (theirs + self._rows.on_the_way(other), other)
            for other in self._others()
            if (theirs := self._rows.held(other)) is not None
        ]
        least, worker = min(loads, default=(ours, self._me))
        return worker if least + 2 <= ours else None

    def number(self, receiver: int) -> int:
        """Of the next connection that is sent to a worker; a predecessor of ours may have died before it noted one."""
        return max(self._rows.sent(self._me, receiver), self._rows.taken(receiver, self._me)) + 1

    def sent(self, receiver: int, number: int) -> None:
        """It is on its way."""
        self._rows.note_sent(self._me, receiver, number)

    def taken(self, sender: int, number: int) -> None:
        """It has arrived, and is counted among what we hold if it lives."""
        self._rows.note_taken(self._me, sender, number)

    def _others(self) -> Iterator[int]:
        return (worker for worker in range(self._rows.workers) if worker != self._me)
