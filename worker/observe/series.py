"""The last two hours in minutes, kept in Redis by all processes together.

    Figures  --Flusher, every 5 s-->  <prefix>series:<minute>  --read_series-->  points

A minute is one hash a shard: `site|kind|name` to a number. A flush that Redis does not take loses
figures of these seconds, never a job.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final, Self

import redis

from worker.engine.away import speaking_to_redis
from worker.engine.keys import Keyspace
from worker.errors import BrokerError
from worker.observe.figures import BOUNDS_S, Figures, Snapshot, Times
from worker.observe.queue_figures import is_cluster, redis_now_ms

__all__ = ["Flusher", "Point", "merge", "read_series", "series_key"]

_log = logging.getLogger("worker.series")

#: A histogram of nothing.
NONE: Final = Times()
#: Seconds between two flushes: how old the newest figures are.
FLUSH_S: Final = 5.0
#: Seconds that a minute is kept after its last flush: two hours and a bit.
KEEP_S: Final = 7_500
#: Minutes that can be asked for.
MINUTES_MAX: Final = 120
#: Commands of one pipeline of a reader.
READ_MAX: Final = 500
#: Seconds that the end waits for the last flush.
LAST_S: Final = 1.0
#: Milliseconds in a minute.
_MINUTE_MS: Final = 60_000
#: Outcomes of attempts after which the job goes on.
_GOES_ON: Final = frozenset({"retry_scheduled", "snoozed", "reissued"})
#: Short names of the histograms that are kept.
_TIMES: Final = {"api_call_seconds": "api", "job_seconds": "way"}


def series_key(keyspace: Keyspace, shard: int, minute: int) -> str:
    """Give the key of a minute on a shard.

    Args:
        keyspace: names of the keys.
        shard: number of the shard.
        minute: Unix time in minutes.
    """
    return f"{keyspace.prefix(shard)}series:{minute}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One minute of one kind of job at one site, or a sum of such.

    Attributes:
        minute_ms: when it began, Unix ms; of a sum the earliest.
        site, kind: of the jobs; "*" in a sum of several.
        outcomes: "succeeded", "failed", "expired", "held" to jobs.
        attempts: attempts made.
        retries: attempts after which the job goes on.
        calls: calls of the API.
        throttled: calls that were answered by 429.
        replayed: calls that were answered by an earlier answer.
        api: how long calls took.
        way: how long jobs took from enqueue to result.
    """

    minute_ms: int
    site: str
    kind: str
    outcomes: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    retries: int = 0
    calls: int = 0
    throttled: int = 0
    replayed: int = 0
    api: Times = NONE
    way: Times = NONE

    @property
    def jobs(self) -> int:
        """Jobs that ended."""
        return sum(self.outcomes.values())

    def __add__(self, other: Point) -> Point:
        names = {**self.outcomes, **other.outcomes}
        return Point(
            minute_ms=min(self.minute_ms, other.minute_ms),
            site=self.site if self.site == other.site else "*",
            kind=self.kind if self.kind == other.kind else "*",
            outcomes={
                name: self.outcomes.get(name, 0) + other.outcomes.get(name, 0) for name in names
            },
            attempts=self.attempts + other.attempts,
            retries=self.retries + other.retries,
            calls=self.calls + other.calls,
            throttled=self.throttled + other.throttled,
            replayed=self.replayed + other.replayed,
            api=self.api + other.api,
            way=self.way + other.way,
        )

    @classmethod
    def of(cls, minute_ms: int, site: str, kind: str, numbers: Mapping[str, int]) -> Self:
        """Read a point out of its fields."""
        outcomes = {
            name.removeprefix("jobs:"): count
            for name, count in sorted(numbers.items())
            if name.startswith("jobs:")
        }
        counts = {name: numbers.get(name, 0) for name in _COUNTS}
        times = {name: _times(numbers, name) for name in _TIMES.values()}
        return cls(
            minute_ms=minute_ms, site=site, kind=kind, outcomes=outcomes,
            attempts=counts["attempts"], retries=counts["retries"], calls=counts["calls"],
            throttled=counts["throttled"], replayed=counts["replayed"],
            api=times["api"], way=times["way"],
        )  # fmt: skip


_COUNTS: Final = ("attempts", "retries", "calls", "throttled", "replayed")


def merge(points: Iterable[Point]) -> Point | None:
    """Add points up; None when there are none."""
    found = list(points)
    return reduce(lambda one, two: one + two, found) if found else None


def read_series(client: redis.Redis, keyspace: Keyspace, minutes: int = 60) -> list[Point]:
    """Read the last minutes, the current one included.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        minutes: how many, up to 120.

    Returns:
        A point for each minute, site and kind in which something happened; oldest first.

    Raises:
        BrokerUnavailableError: Redis is away.
    """
    points: list[Point] = []
    with speaking_to_redis():
        newest = redis_now_ms(client) // _MINUTE_MS
        oldest = newest - max(1, min(minutes, MINUTES_MAX)) + 1
        places = [
            (minute, shard)
            for minute in range(oldest, newest + 1)
            for shard in range(keyspace.shards)
        ]
        for start in range(0, len(places), READ_MAX):
            lot = places[start : start + READ_MAX]
            pipe = client.pipeline(transaction=False)
            for minute, shard in lot:
                pipe.hgetall(series_key(keyspace, shard, minute))
            for (minute, _), raw in zip(lot, pipe.execute(), strict=True):
                points += _points(minute * _MINUTE_MS, raw)
    return sorted(points, key=lambda one: (one.minute_ms, one.site, one.kind))


def _points(minute_ms: int, raw: Mapping[bytes, bytes]) -> list[Point]:
    found: dict[tuple[str, str], dict[str, int]] = {}
    for field_name, value in raw.items():
        site, kind, name = field_name.decode().split("|", 2)
        found.setdefault((site, kind), {})[name] = int(value)
    return [Point.of(minute_ms, site, kind, numbers) for (site, kind), numbers in found.items()]


def _times(numbers: Mapping[str, int], name: str) -> Times:
    buckets = tuple(numbers.get(f"{name}:{place}", 0) for place in range(len(BOUNDS_S) + 1))
    return Times(buckets, numbers.get(f"{name}:ms", 0) / 1000)


class Flusher:
    """Adds the figures of one process to the minutes, from a thread of its own.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        figures: what is counted here.
        clock: gives this machine's Unix s; Redis time corrects it.
    """

    def __init__(
        self,
        client: redis.Redis,
        keyspace: Keyspace,
        figures: Figures,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._keyspace = keyspace
        self._figures = figures
        self._clock = clock
        self._before = Snapshot()
        self._ahead_ms: int | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="largesse-series", daemon=True)

    def start(self) -> None:
        """Begin to flush."""
        self._thread.start()

    def stop(self) -> None:
        """Flush a last time, if Redis takes it soon, and end."""
        self._stopped.set()
        self._thread.join(LAST_S)

    def flush(self) -> None:
        """Add what was counted since the last time; what Redis does not take is lost."""
        now = self._figures.snapshot()
        before, self._before = self._before, now
        changes = _changes(before, now)
        if not changes:
            return
        try:
            with speaking_to_redis():
                self._write(changes)
        except BrokerError as error:
            self._figures.lost_series()
            _log.debug("figures of some seconds are lost: %s", error)

    def _write(self, changes: Mapping[tuple[str, str], Mapping[str, int]]) -> None:
        minute = self._now_ms() // _MINUTE_MS
        pipe = self._client.pipeline(transaction=False)
        keys = set()
        for (site, kind), numbers in changes.items():
            key = series_key(self._keyspace, self._keyspace.shard_of_site(site), minute)
            keys.add(key)
            for name, number in numbers.items():
                pipe.hincrby(key, f"{site}|{kind}|{name}", number)
        for key in keys:
            pipe.expire(key, KEEP_S)
        if not is_cluster(self._client):
            pipe.time()
        replies: list[Any] = pipe.execute()
        if not is_cluster(self._client):
            self._set_clock(replies[-1])

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_s()):
            self.flush()
        self.flush()

    def _pause_s(self) -> float:
        """Wait five seconds, or to the end of the minute, so that no figure is late."""
        left_s = (_MINUTE_MS - self._now_ms(ask=False) % _MINUTE_MS) / 1000
        return min(FLUSH_S, max(0.1, left_s - 0.2))

    def _now_ms(self, *, ask: bool = True) -> int:
        """Give Redis time: this machine's, corrected by what Redis said at the last flush."""
        if self._ahead_ms is None and ask and not is_cluster(self._client):
            self._ahead_ms = redis_now_ms(self._client) - int(self._clock() * 1000)
        return int(self._clock() * 1000) + (self._ahead_ms or 0)

    def _set_clock(self, reply: tuple[int, int]) -> None:
        self._ahead_ms = int(reply[0]) * 1000 + int(reply[1]) // 1000 - int(self._clock() * 1000)


def _changes(before: Snapshot, now: Snapshot) -> dict[tuple[str, str], dict[str, int]]:
    """Give what was counted between two moments: (site, kind) to name to number, no zeros."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for labels, total in now.counts.items():
        count = total - before.counts.get(labels, 0)
        names = _names(labels) if count else ()
        for name in names:
            numbers = found.setdefault((labels[1], labels[2]), {})
            numbers[name] = numbers.get(name, 0) + count
    for labels, times in now.times.items():
        short = _TIMES.get(labels[0])
        change = times - before.times.get(labels, Times())
        if short is None or not change.count:
            continue
        numbers = found.setdefault((labels[1], labels[2]), {})
        numbers[f"{short}:ms"] = round(change.sum_s * 1000)
        for place, count in enumerate(change.buckets):
            if count:
                numbers[f"{short}:{place}"] = count
    return found


def _names(labels: tuple[str, ...]) -> list[str]:
    """Say which numbers of a minute a count belongs to."""
    match labels:
        case ("jobs_total", _, _, outcome, _):
            return [f"jobs:{outcome}"]
        case ("attempts_total", _, _, outcome):
            return ["attempts", "retries"] if outcome in _GOES_ON else ["attempts"]
        case ("api_calls_total", _, _, outcome, _, replayed):
            names = ["calls"]
            if outcome == "throttled":
                names.append("throttled")
            if replayed == "true":
                names.append("replayed")
            return names
    return []
