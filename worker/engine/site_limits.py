"""What the scripts make of a site's fields, for those who only look; numbers as in site.lua."""

from __future__ import annotations

from typing import Final

__all__ = ["DOUBLE_MS", "FAILURES_MAX", "RAMP_FIRST", "RAMP_MS", "adaptive_ratio", "calls_at_once"]

#: ms in which an adaptive rate doubles once it climbs.
DOUBLE_MS: Final = 3_500
#: Failed endings in a row that trip the circuit breaker.
FAILURES_MAX: Final = 10
#: Calls at once of a site that has not answered, and the ms for which a good ending counts.
RAMP_FIRST: Final = 5
RAMP_MS: Final = 30_000

#: ms of climbing after which every adaptive rate is whole again.
_CLIMBED_MS: Final = 3_600_000


def adaptive_ratio(
    adaptive: float | None, adaptive_at: float, climb_ms: float, *, now_ms: int
) -> float:
    """Give the part of its rate at which a site is called.

    Args:
        adaptive: the part that the last 429 left, or None when there was none.
        adaptive_at: Unix ms since which it stands.
        climb_ms: ms for which it stands; then it climbs.
        now_ms: Unix ms.

    Returns:
        More than 0, and 1 when it is called at its whole rate.
    """
    if adaptive is None:
        return 1.0
    climbed_ms = min(_CLIMBED_MS, max(0.0, now_ms - adaptive_at - climb_ms))
    return min(1.0, float(adaptive * 2 ** (climbed_ms / DOUBLE_MS)))


def calls_at_once(
    max_in_flight: int,
    *,
    probed: bool,
    failures: int,
    ramp: int | None,
    success_at: int | None,
    now_ms: int,
) -> int:
    """Give how many calls of a site may be under way at the same moment now.

    Args:
        max_in_flight: as the settings say; 0 = no limit.
        probed: its circuit breaker is tripped.
        failures: failed endings in a row.
        ramp: calls at once that it has earned, or None.
        success_at: Unix ms when a call last went well, or None.
        now_ms: Unix ms.

    Returns:
        1 or more; 0 = no limit.
    """
    if probed:
        return 1
    if max_in_flight == 0:
        return 0
    fresh = ramp is not None and success_at is not None and now_ms - success_at < RAMP_MS
    most = min(max_in_flight, ramp if fresh and ramp is not None else RAMP_FIRST)
    return max(1, min(most, FAILURES_MAX - failures)) if failures else most
