"""The two limits of a site: requests a minute, and requests in progress."""

from __future__ import annotations

from collections import defaultdict, deque

from worker.sandbox.settings import Settings

WINDOW_MS = 60_000

#: Retry-After of a refusal for too many requests in progress: they end soon.
CONCURRENCY_WAIT_MS = 1_000


class Limits:
    """Counts per bucket (a site, or the grow host of a site with a budget of its own)."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, deque[int]] = defaultdict(deque)
        self.in_flight: defaultdict[str, int] = defaultdict(int)
        self.max_in_flight_by_site: defaultdict[str, int] = defaultdict(int)
        self.max_in_flight = 0

    def enter(self, site: str, *, grow: bool, now_ms: int, settings: Settings) -> int:
        """Take a place, or say how long to wait; a refused request takes nothing.

        Every request that gets 0 must be followed by one ``leave``.

        Returns:
            0 if taken, otherwise ms (> 0) until another try makes sense.
        """
        most = settings.limit(site, "max_concurrent")
        if most and self.in_flight[site] >= most:
            return CONCURRENCY_WAIT_MS
        bucket = f"{site}.grow" if grow and settings.grow_own_limit else site
        wait_ms = self._take(bucket, now_ms, settings.limit(site, "rate_per_minute"), settings)
        if wait_ms:
            return wait_ms
        self.in_flight[site] += 1
        self.max_in_flight_by_site[site] = max(
            self.max_in_flight_by_site[site], self.in_flight[site]
        )
        self.max_in_flight = max(self.max_in_flight, sum(self.in_flight.values()))
        return 0

    def leave(self, site: str) -> None:
        """Give the place back."""
        self.in_flight[site] -= 1

    def reset(self) -> None:
        """Forget the counts; what is in progress stays so."""
        self._taken.clear()
        self.max_in_flight_by_site.clear()
        self.max_in_flight = sum(self.in_flight.values())

    def _take(self, bucket: str, now_ms: int, limit: int, settings: Settings) -> int:
        if not limit:
            return 0
        taken = self._taken[bucket]
        if taken and taken[-1] > now_ms:
            taken.clear()  # the clock was set back
        fixed = settings.rate_window == "fixed"
        begin_ms = now_ms - now_ms % WINDOW_MS if fixed else now_ms - WINDOW_MS + 1
        while taken and taken[0] < begin_ms:
            taken.popleft()
        if len(taken) >= limit:
            # One place is free again when enough of the oldest have left the window.
            oldest = begin_ms if fixed else taken[len(taken) - limit]
            return oldest + WINDOW_MS - now_ms
        taken.append(now_ms)
        return 0
