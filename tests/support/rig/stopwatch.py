"""Bounds of time on a machine with other work: what other programs took is not counted."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from rig.processes import descendants


class Stopwatch:
    """Runs from its making on.

    `own_s` leaves out the time in which threads of this process and its children were ready to
    run and had no processor (Linux; elsewhere it is the whole time): that of the two that waited
    longest, as a call goes through two at most. So a bound of a second is a second of this
    program, and a wait that is too long stays too long.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._waited_s = _waited_s()

    @property
    def own_s(self) -> float:
        """Seconds until now, less those of other programs."""
        took_s = time.monotonic() - self._began
        queued_s = sorted(s - self._waited_s.get(task, 0.0) for task, s in _waited_s().items())
        return took_s - min(sum(queued_s[-2:]), took_s)


def _waited_s() -> dict[str, float]:
    """Seconds that each thread of this process and its children waited for a processor."""
    found: dict[str, float] = {}
    for pid in (os.getpid(), *descendants(os.getpid())):
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # a thread that has ended
                found[str(path)] = int(path.read_text().split()[1]) / 1e9
    return found
