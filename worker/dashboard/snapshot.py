"""What the overview shows, read at one moment."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker.dashboard.chart import Bars, Lines, bars, levels, lines
from worker.metrics.counts import Times
from worker.metrics.follower_groups import FollowerGroup
from worker.metrics.gauge_minutes import Depth
from worker.metrics.minutes import Point, merge
from worker.operator import OperatorClient, SiteState
from worker.operator.broker_health import BrokerHealth
from worker.operator.queue_state import QueueState
from worker.operator.worker_state import WorkerState

__all__ = ["Snapshot", "Snapshots", "take"]

MINUTE_MS: Final = 60_000
MINUTES: Final = 60
#: Seconds for which a snapshot is shown to everybody: many viewers cost as much as one.
FRESH_S: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The overview.

    Attributes:
        now_ms: Redis time of the reading, Unix ms.
        queues, workers, sites, followers, health, counts: as `OperatorClient` gives them.
        hour: all that workers did in the last hour, or None when they did nothing.
        minute: the same of the last whole minute.
        rows: the hour of each site and kind, in order.
        jobs, total_latency, api, depth, oldest, troubles: charts.
        site: the site whose waiting and running jobs are counted; all when None.
    """

    now_ms: int
    queues: list[QueueState]
    workers: list[WorkerState]
    sites: list[SiteState]
    followers: list[FollowerGroup]
    health: BrokerHealth
    counts: Mapping[str, int]
    hour: Point | None
    minute: Point | None
    rows: list[Point]
    jobs: Bars
    total_latency: Lines
    api: Lines
    depth: Lines
    oldest: Lines
    troubles: Bars
    site: str | None

    @property
    def _own_sites(self) -> list[SiteState]:
        return [one for one in self.sites if _belongs(one.name, self.site)]

    @property
    def waiting(self) -> int:
        """Jobs in the lines."""
        if self.site is not None:
            return sum(one.backlog for one in self._own_sites)
        return sum(sum(one.waiting.values()) for one in self.queues)

    @property
    def delayed(self) -> int:
        """Jobs that wait for a time of their own."""
        return sum(one.delayed for one in self.queues)

    @property
    def running(self) -> int:
        """Jobs in the hands of workers."""
        if self.site is not None:
            return sum(one.in_flight for one in self._own_sites)
        return sum(one.running for one in self.queues)

    @property
    def oldest_ms(self) -> int:
        """How long the oldest waiting job has waited, ms."""
        if self.site is not None:
            return max((one.oldest_ms(self.now_ms) for one in self._own_sites), default=0)
        return max((one.oldest_ms(self.now_ms) for one in self.queues), default=0)

    @property
    def unhealthy(self) -> list[WorkerState]:
        """Workers that are there and take no jobs, or were lost."""
        return [
            one for one in self.workers if one.state(self.now_ms) in {"stuck", "lost", "silent"}
        ]

    @property
    def held_back(self) -> list[SiteState]:
        """Sites that are paused, tripped, unserved or throttled."""
        held_back = {"paused", "tripped", "unserved", "throttled"}
        return [one for one in self.sites if one.state(self.now_ms) in held_back]


def take(operator: OperatorClient, site: str | None = None, kind: str | None = None) -> Snapshot:
    """Read everything the overview shows.

    Args:
        operator: the looks.
        site: figures of this one alone; of all when None.
        kind: the same of what ran; what waits is told apart by site alone.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    now_ms = operator.now_ms()
    points = [
        one
        for one in operator.minutes(MINUTES)
        if site in {None, one.site} and kind in {None, one.kind}
    ]
    this_minute = now_ms - now_ms % MINUTE_MS
    minutes = [this_minute - MINUTE_MS * ago for ago in reversed(range(MINUTES))]
    by_minute = _by_minute(points)
    kept = {one.minute_ms: one for one in operator.gauge_minutes(MINUTES)}
    return Snapshot(
        now_ms=now_ms,
        queues=operator.queues(),
        workers=operator.workers(),
        sites=operator.sites(),
        followers=operator.follower_groups(),
        health=operator.health(),
        counts=operator.counts(),
        hour=merge(points),
        minute=by_minute.get(this_minute - MINUTE_MS),
        rows=_by_place(points),
        jobs=bars(minutes, {minute: one.outcomes for minute, one in by_minute.items()}),
        total_latency=_quantiles(
            minutes, {minute: one.total_latency for minute, one in by_minute.items()}
        ),
        api=_quantiles(minutes, {minute: one.api for minute, one in by_minute.items()}),
        depth=levels(
            minutes,
            {
                "waiting": {at: _total(one, "waiting", site) for at, one in kept.items()},
                "in flight": {at: _in_flight(one, site) for at, one in kept.items()},
            },
        ),
        oldest=lines(
            minutes,
            {"oldest": {at: _oldest_s(one, site) for at, one in kept.items()}},
        ),
        troubles=bars(
            minutes,
            {
                at: {"429s": one.throttled, "other retries": max(0, one.retries - one.throttled)}
                for at, one in by_minute.items()
            },
            order=("429s", "other retries"),
        ),
        site=site,
    )


class Snapshots:
    """Takes a snapshot at most every `FRESH_S` seconds for each choice of site and kind.

    Args:
        operator: the looks.
    """

    def __init__(self, operator: OperatorClient) -> None:
        self._operator = operator
        self._lock = threading.Lock()
        self._kept: dict[tuple[str | None, str | None], tuple[float, Snapshot]] = {}

    def get(self, site: str | None = None, kind: str | None = None) -> Snapshot:
        """Give a snapshot that is fresh enough."""
        with self._lock:
            at, kept = self._kept.get((site, kind), (0.0, None))
            if kept is not None and time.monotonic() - at < FRESH_S:
                return kept
            fresh = take(self._operator, site, kind)
            now = time.monotonic()
            self._kept = {
                choice: one for choice, one in self._kept.items() if now - one[0] < FRESH_S
            }
            self._kept[site, kind] = (now, fresh)
            return fresh


def _belongs(name: str, site: str | None) -> bool:
    """Say whether a budget is of a site: one of its own has the name of its site in front."""
    return site is None or name.partition("/")[0] == site


def _total(depth: Depth, name: str, site: str | None) -> int:
    found = [
        depth.total(name, place)
        for place in {place for place, what in depth.numbers if what == name}
        if _belongs(place, site)
    ]
    return max(found, default=0) if name == "oldest_ms" else sum(found)


def _oldest_s(depth: Depth, site: str | None) -> float | None:
    """Give the age in seconds; nothing where nothing waits."""
    return _total(depth, "oldest_ms", site) / 1000 or None


def _in_flight(depth: Depth, site: str | None) -> int:
    """Count the jobs in the hands of workers; those of no site count in the whole alone."""
    return depth.total("running") if site is None else _total(depth, "in_flight", site)


def _by_minute(points: Sequence[Point]) -> dict[int, Point]:
    lots: dict[int, list[Point]] = defaultdict(list)
    for one in points:
        lots[one.minute_ms].append(one)
    return {minute: whole for minute, lot in lots.items() if (whole := merge(lot)) is not None}


def _by_place(points: Sequence[Point]) -> list[Point]:
    lots: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for one in points:
        lots[one.site, one.kind].append(one)
    return [whole for _, lot in sorted(lots.items()) if (whole := merge(lot)) is not None]


def _quantiles(minutes: Sequence[int], times: Mapping[int, Times]) -> Lines:
    values: dict[str, dict[int, float | None]] = {"p50": {}, "p99": {}}
    for minute, one in times.items():
        values["p50"][minute] = one.quantile_s(0.5)
        values["p99"][minute] = one.quantile_s(0.99)
    return lines(minutes, values)
