"""A clock that can be moved: page expiry, the idempotency window and rate windows follow it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Clock:
    """The machine's clock plus an offset; it can be frozen.

    Args:
        wall_ms: The clock to stand on, Unix ms.
        offset_ms: How far ahead of it this clock begins.
    """

    def __init__(self, *, wall_ms: Callable[[], int] = _wall_ms, offset_ms: int = 0) -> None:
        self._wall_ms = wall_ms
        self.offset_ms = offset_ms
        self._frozen_at_ms: int | None = None

    @property
    def frozen(self) -> bool:
        """Whether time stands still."""
        return self._frozen_at_ms is not None

    def now_ms(self) -> int:
        """The time, Unix ms."""
        if self._frozen_at_ms is not None:
            return self._frozen_at_ms
        return self._wall_ms() + self.offset_ms

    def now_s(self) -> int:
        """The time, Unix seconds."""
        return self.now_ms() // 1000

    def advance(self, delta_ms: int) -> None:
        """Move the clock by ``delta_ms``, backwards when negative."""
        self.offset_ms += delta_ms
        if self._frozen_at_ms is not None:
            self._frozen_at_ms += delta_ms

    def set(self, now_ms: int) -> None:
        """Make it ``now_ms``, Unix ms."""
        self.advance(now_ms - self.now_ms())

    def freeze(self, frozen: bool) -> None:
        """Stop the clock, or let it go on from where it stands."""
        now_ms = self.now_ms()
        self._frozen_at_ms = now_ms if frozen else None
        self.offset_ms = now_ms - self._wall_ms()

    def reset(self) -> None:
        """Go back to the machine's own time."""
        self.offset_ms = 0
        self._frozen_at_ms = None

    def as_json(self) -> Mapping[str, Any]:
        """What ``GET /_sandbox/clock`` answers."""
        now_ms = self.now_ms()
        return {
            "now_ms": now_ms,
            "now": now_ms // 1000,
            "offset_ms": now_ms - self._wall_ms(),
            "frozen": self.frozen,
        }
