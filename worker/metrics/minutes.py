"""The last two hours in minutes, kept in Redis by all processes together.

    Counts  --Flusher, every 5 s-->  <prefix>counts:<minute>  --read_minutes-->  points

A minute is one hash a shard: `site|kind|name` to a number. A flush that Redis does not take loses
figures of these seconds, never a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final, Self

import redis

from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.metrics.counts import BOUNDS_S, Times

__all__ = ["Point", "merge", "minute_key", "read_minutes"]

#: A histogram of nothing.
NONE: Final = Times()
#: Minutes that can be asked for.
MINUTES_MAX: Final = 120
#: Commands of one pipeline of a reader.
READ_MAX: Final = 500
#: Milliseconds in a minute.
MINUTE_MS: Final = 60_000
#: Short names of the histograms that are kept.
TIMES: Final = {"api_call_seconds": "api", "job_seconds": "total_latency"}


def minute_key(keyspace: Keyspace, shard: int, minute: int) -> str:
    """Give the key of a minute on a shard.

    Args:
        keyspace: names of the keys.
        shard: number of the shard.
        minute: Unix time in minutes.
    """
    return f"{keyspace.prefix(shard)}counts:{minute}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One minute of one kind of job at one site, or a sum of such.

    Attributes:
        minute_ms: when it began, Unix ms; of a sum the earliest.
        site, kind: of the jobs; "*" in a sum of several.
        outcomes: "succeeded", "failed", "expired", "cancelled", "held" to jobs.
        attempts: attempts made.
        retries: attempts after which the job goes on.
        calls: calls of the API.
        throttled: calls that were answered by 429.
        replayed: calls that were answered by an earlier answer.
        api: how long calls took.
        total_latency: how long jobs took from enqueue to result.
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
    total_latency: Times = NONE

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
            total_latency=self.total_latency + other.total_latency,
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
        times = {name: _times(numbers, name) for name in TIMES.values()}
        return cls(
            minute_ms=minute_ms, site=site, kind=kind, outcomes=outcomes,
            attempts=counts["attempts"], retries=counts["retries"], calls=counts["calls"],
            throttled=counts["throttled"], replayed=counts["replayed"],
            api=times["api"], total_latency=times["total_latency"],
        )  # fmt: skip


_COUNTS: Final = ("attempts", "retries", "calls", "throttled", "replayed")


def merge(points: Iterable[Point]) -> Point | None:
    """Add points up; None when there are none."""
    found = list(points)
    return reduce(lambda one, two: one + two, found) if found else None


def read_minutes(client: redis.Redis, keyspace: Keyspace, minutes: int = 60) -> list[Point]:
    """Read the last minutes, the current one included.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        minutes: how many, up to 120.

    Returns:
        A point for each minute, site and kind in which something happened; oldest first.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    points: list[Point] = []
    with speaking_to_redis():
        newest = redis_now_ms(client) // MINUTE_MS
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
                pipe.hgetall(minute_key(keyspace, shard, minute))
            for (minute, _), raw in zip(lot, pipe.execute(), strict=True):
                points += _points(minute * MINUTE_MS, raw)
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
