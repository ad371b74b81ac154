"""Wait for a condition of another process, with a bound and a reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    *,
    timeout_s: float = 30.0,
    every_s: float = 0.02,
    what: str = "the condition",
) -> T:
    """Return the first true value of a condition.

    Args:
        condition: called again and again; an OSError counts as "not yet".
        timeout_s: seconds until giving up.
        every_s: seconds between two calls.
        what: names the condition in the error.

    Returns:
        The first true value.

    Raises:
        TimeoutError: the condition stayed false.
    """
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            last = value = condition()
            if value:
                return value
        except OSError as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true in {timeout_s} s; last: {last!r}")
        time.sleep(every_s)
