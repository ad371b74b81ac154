"""The figures of one process since its start: counts and times, kept where jobs run.

    jobs, attempts, calls  ->  Counts  ->  /metrics and the series in Redis

A job costs some dictionary look-ups here and nothing else: whoever reads takes a copy. Labels are
bounded: a site, a kind or a code that is not known counts as `other`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

__all__ = ["BOUNDS_S", "OTHER", "Counts", "Snapshot", "Times"]

#: Upper bounds of all histograms, seconds, inclusive; one more bucket takes what is above. Fine
#: where the API's answers lie, coarse where a backlog waits.
BOUNDS_S: Final = (
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
    300.0, 1800.0,
)  # fmt: skip
#: What stands for a site, kind or code that is not known.
OTHER: Final = "other"
#: Different `api_error_code`s that are told apart; the API documents about fifty.
CODES_MAX: Final = 64

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Times:
    """A histogram.

    Attributes:
        buckets: counts of each bucket, `len(BOUNDS_S) + 1` of them, not cumulative.
        sum_s: seconds, all in all.
    """

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """How many were measured."""
        return sum(self.buckets)

    def __add__(self, other: Times) -> Times:
        pairs = zip(self.buckets, other.buckets, strict=True)
        return Times(tuple(one + two for one, two in pairs), self.sum_s + other.sum_s)

    def __sub__(self, earlier: Times) -> Times:
        pairs = zip(self.buckets, earlier.buckets, strict=True)
        return Times(tuple(one - two for one, two in pairs), self.sum_s - earlier.sum_s)

    def quantile_s(self, part: float) -> float | None:
        """Estimate a quantile, as Prometheus does: evenly spread within a bucket.

        Args:
            part: above 0, below 1; 0.5 is the median.

        Returns:
            Seconds, at most the highest bound; None when nothing was measured.
        """
        rank = part * self.count
        low, below = 0.0, 0
        for high, count in zip(BOUNDS_S, self.buckets, strict=False):
            if count and below + count >= rank:
                return low + (high - low) * (rank - below) / count
            low, below = high, below + count
        return BOUNDS_S[-1] if self.count else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of all figures at one moment.

    Attributes:
        counts: (metric, *values of its labels) to count.
        times: the same to histogram.
    """

    counts: Mapping[Labels, int] = field(default_factory=lambda: MappingProxyType({}))
    times: Mapping[Labels, Times] = field(default_factory=lambda: MappingProxyType({}))


class _Histogram:
    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0


class Counts:
    """Counts what happens in one process. Threads may share one.

    Args:
        sites: names of the sites that are told apart.
        kinds: kinds of jobs that are told apart.
    """

    def __init__(self, *, sites: Iterable[str], kinds: Iterable[str]) -> None:
        self._sites = frozenset(sites)
        self._kinds = frozenset(kinds)
        self._codes: set[str] = set()
        self._counts: dict[Labels, int] = {}
        self._times: dict[Labels, _Histogram] = {}
        self._lock = threading.Lock()

    def started(self, site: str, kind: str, *, attempt: int, waited_ms: int) -> None:
        """Count the wait of a job whose first attempt begins.

        Args:
            site: name of its site.
            kind: of the job.
            attempt: its number, 1 = first.
            waited_ms: ms since the job was enqueued.
        """
        if attempt == 1:
            where = self._place(site, kind)
            with self._lock:
                self._time(("job_wait_seconds", *where), waited_ms)

    def called(
        self, site: str, kind: str, *, outcome: str, code: str | None, replayed: bool,
        duration_ms: int,
    ) -> None:  # fmt: skip
        """Count a call of the API.

        Args:
            site: name of the site.
            kind: of the job.
            outcome: "succeeded" or the class of the error.
            code: `api_error_code` of the answer, or None.
            replayed: whether the answer was a replay.
            duration_ms: ms from the request to its end.
        """
        where = self._place(site, kind)
        answer = (outcome, self._code(code), "true" if replayed else "false")
        with self._lock:
            self._count(("api_calls_total", *where, *answer))
            self._time(("api_call_seconds", *where), duration_ms)

    def attempted(self, site: str, kind: str, outcome: str) -> None:
        """Count an attempt by what it led to.

        Args:
            site: name of the site.
            kind: of the job.
            outcome: "succeeded", "failed", "expired", "held", "reissued", "retry_scheduled" or
                "snoozed".
        """
        where = self._place(site, kind)
        with self._lock:
            self._count(("attempts_total", *where, outcome))

    def ended(
        self, site: str, kind: str, *, outcome: str, error_class: str, duration_ms: int
    ) -> None:
        """Count a job whose ending Redis has taken.

        Args:
            site: name of its site.
            kind: of the job.
            outcome: "succeeded", "failed", "expired" or "held".
            error_class: class of the error, or "" of a success.
            duration_ms: ms since the job was enqueued.
        """
        where = self._place(site, kind)
        with self._lock:
            self._count(("jobs_total", *where, outcome, error_class))
            self._time(("job_seconds", *where), duration_ms)

    def clock_stepped(self) -> None:
        """Count a step of Redis time."""
        with self._lock:
            self._count(("broker_clock_steps_total",))

    def lost_flush(self) -> None:
        """Count a flush of the series that Redis did not take."""
        with self._lock:
            self._count(("minute_flushes_lost_total",))

    def snapshot(self) -> Snapshot:
        """Copy all figures."""
        with self._lock:
            counts = dict(self._counts)
            times = {
                labels: Times(tuple(one.buckets), one.sum_s) for labels, one in self._times.items()
            }
        return Snapshot(counts, times)

    def _place(self, site: str, kind: str) -> tuple[str, str]:
        return (
            site if site in self._sites else OTHER,
            kind if kind in self._kinds else OTHER,
        )

    def _code(self, code: str | None) -> str:
        if not code:
            return ""
        if code not in self._codes:
            if len(self._codes) >= CODES_MAX:
                return OTHER
            self._codes.add(code)
        return code

    def _count(self, labels: Labels) -> None:
        self._counts[labels] = self._counts.get(labels, 0) + 1

    def _time(self, labels: Labels, duration_ms: int) -> None:
        found = self._times.get(labels)
        if found is None:
            found = self._times[labels] = _Histogram()
        seconds = max(0, duration_ms) / 1000
        found.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        found.sum_s += seconds
