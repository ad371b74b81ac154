"""What the scripts make of a site's fields, for those who only look; numbers as in site.lua."""

from __future__ import annotations

from typing import Final

__all__ = ["DOUBLE_MS", "FAILING_MAX", "TRUST_FIRST", "TRUST_MS", "calls_at_once", "pace_now"]

#: ms in which a pace doubles once it climbs.
DOUBLE_MS: Final = 3_500
#: Endings in a row that say "away" before the gate shuts.
FAILING_MAX: Final = 10
#: Calls at once of a site that was not seen to work, and the ms for which a good ending counts.
TRUST_FIRST: Final = 5
TRUST_MS: Final = 30_000

#: ms of climbing after which every pace is whole again.
_CLIMBED_MS: Final = 3_600_000


def pace_now(pace: float | None, pace_at: float, climb_ms: float, *, now_ms: int) -> float:
    """Give the part of its rate at which a site is called.

    Args:
        pace: the part that the last 429 left, or None when there was none.
        pace_at: Unix ms since which it stands.
        climb_ms: ms for which it stands; then it climbs.
        now_ms: Unix ms.

    Returns:
        More than 0, and 1 when it is called at its whole rate.
    """
    if pace is None:
        return 1.0
    climbed_ms = min(_CLIMBED_MS, max(0.0, now_ms - pace_at - climb_ms))
    return min(1.0, float(pace * 2 ** (climbed_ms / DOUBLE_MS)))


def calls_at_once(
    max_in_flight: int,
    *,
    probed: bool,
    failing: int,
    trust: int | None,
    well_at: int | None,
    now_ms: int,
) -> int:
    """Give how many calls of a site may be under way at the same moment now.

    Args:
        max_in_flight: as the settings say; 0 = no limit.
        probed: the site is parked, with a time to try it.
        failing: endings in a row that said the site is away.
        trust: calls at once that it has earned, or None.
        well_at: Unix ms when a call last went well, or None.
        now_ms: Unix ms.

    Returns:
        1 or more; 0 = no limit.
    """
    if probed:
        return 1
    if max_in_flight == 0:
        return 0
    fresh = trust is not None and well_at is not None and now_ms - well_at < TRUST_MS
    most = min(max_in_flight, trust if fresh and trust is not None else TRUST_FIRST)
    return max(1, min(most, FAILING_MAX - failing)) if failing else most
