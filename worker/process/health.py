"""Whether a worker process lives, and whether it is ready: judged without a thread.

live    its event loop turns: if not, restart it
ready   it heard from Redis within the last seconds: if not, look at Redis or at the process
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Health", "Verdict"]

#: Seconds of silence after which a process is not ready: the longest wait of an idle consumer
#: (4 s) and of an answer (5 s), and a bit.
READY_S: Final = 10.0
#: Seconds that an event loop may stand still before the process counts as dead: longer than any
#: pause of a machine that is merely busy.
LIVE_S: Final = 30.0
#: Seconds between two beats of the loop.
BEAT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer of a probe.

    Attributes:
        ok: yes or no.
        why: one line for a person.
    """

    ok: bool
    why: str


class Health:
    """Judges one worker process.

    Args:
        silence_s: gives the seconds since the slowest consumer last heard from Redis.
        is_unreachable: says whether Redis is unreachable.
        is_stopping: says whether the process was told to end.
        clock: gives seconds that never go back.
    """

    def __init__(
        self,
        *,
        silence_s: Callable[[], float],
        is_unreachable: Callable[[], bool],
        is_stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.silence_s = silence_s
        self._is_unreachable = is_unreachable
        self._is_stopping = is_stopping
        self._clock = clock
        self._beaten: float | None = None
        self._beat: asyncio.TimerHandle | None = None

    def watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expect the loop to turn from now on. Call it on the loop."""
        self._beaten = self._clock()
        self._beat = loop.call_later(BEAT_S, self.watch_loop, loop)

    def leave_loop(self) -> None:
        """Expect the loop to turn no more. Call it on the loop."""
        self._beaten = None
        if self._beat is not None:
            self._beat.cancel()

    def live(self) -> Verdict:
        """Judge whether the process should go on; an unreachable Redis is no reason to end it."""
        beaten = self._beaten
        still_s = 0.0 if beaten is None else self._clock() - beaten
        if still_s > LIVE_S:
            return Verdict(False, f"the event loop has not turned for {still_s:.0f} s")
        return Verdict(True, "live")

    def ready(self) -> Verdict:
        """Judge whether the process takes jobs."""
        live = self.live()
        if not live.ok:
            return live
        if self._is_stopping():
            return Verdict(False, "stopping")
        if self._is_unreachable():
            return Verdict(False, "Redis is unreachable")
        silence_s = self.silence_s()
        if silence_s > READY_S:
            return Verdict(False, f"nothing heard from Redis for {silence_s:.0f} s")
        return Verdict(True, "ready")
