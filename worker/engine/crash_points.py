"""Named points at which a fault test can kill this process.

`LARGESSE_CRASH_AT=after_fetch:3` kills it with SIGKILL the third time it passes `after_fetch`.
Without the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from typing import Final

__all__ = ["POINTS", "point"]

#: Every point, in the order in which a job passes them.
POINTS: Final = (
    "producer_before_enqueue",
    "producer_after_enqueue",
    "after_fetch",
    "before_send",
    "after_parse",
    "before_finish",
    "after_finish",
    "in_retry",
    "while_delayed",
    "in_bury",
    "in_drain",
)

_NAME, _, _COUNT = os.environ.get("LARGESSE_CRASH_AT", "").partition(":")
_left = int(_COUNT or 1)


def point(name: str) -> None:
    """Die here if the environment says so.

    Args:
        name: one of `POINTS`, or "" where there is none.
    """
    global _left  # noqa: PLW0603 - a process dies once
    if not _NAME or name != _NAME:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
