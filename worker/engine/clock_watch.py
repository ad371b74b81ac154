"""Time as a server tells it, held against the clock of this process, which has no steps."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ClockWatch"]


class ClockWatch:
    """Remembers what time a server told, and what it must be by now.

    Args:
        clock: gives monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: tuple[int, float] | None = None

    def expected_ms(self) -> int | None:
        """Give what the server must tell now, at the earliest (Unix ms); None before a reply."""
        if self._told is None:
            return None
        told_ms, at = self._told
        return told_ms + int((self._clock() - at) * 1000)

    def note(self, told_ms: int) -> int:
        """Take what a server told.

        Returns:
            Milliseconds by which it is later than expected; below 0 = it stepped back.
        """
        expected = self.expected_ms()
        self._told = (told_ms, self._clock())
        return 0 if expected is None else told_ms - expected
