"""Imported by Python at start when this folder is on its path: moves the clock of one process.

`LARGESSE_TEST_SKEW_S=600` puts `time.time` ten minutes ahead; `jumps` makes it jump between ten
minutes ahead and ten behind, every half second.
"""

from __future__ import annotations

import os
import time

_SKEW = os.environ.get("LARGESSE_TEST_SKEW_S", "0")
_real = time.time


def _skewed() -> float:
    now = _real()
    if _SKEW == "jumps":
        return now + (600.0 if int(now * 2) % 2 else -600.0)
    return now + float(_SKEW)


time.time = _skewed
