"""Queue depth per minute for the last two hours. The first process in a new minute writes it.

    read_queue  --record-->  <prefix>gauges:<minute>  --read_gauge_minutes-->  charts

Workers record at their beats, an open dashboard too, so that a queue without workers shows. On
shard 0. A minute that nobody recorded is a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import redis

from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.metrics.gauges import QueueGauges, read_queue
from worker.metrics.minutes import MINUTE_MS, MINUTES_MAX

__all__ = ["Depth", "read_gauge_minutes", "record_depth"]

#: Seconds that a minute is kept: two hours and a bit, as the series.
KEEP_S: Final = 7_500
#: Site of the figures that belong to no site.
ALL: Final = "*"
#: Counts of a site; those of the whole queue beside.
OF_SITE: Final = ("waiting", "oldest_ms", "in_flight")
OF_QUEUE: Final = ("delayed", "running", "dead", "held")


@dataclass(frozen=True, slots=True)
class Depth:
    """The queue at one moment of a minute.

    Attributes:
        minute_ms: when the minute began, Unix ms.
        numbers: (site, name) to a number that is not zero; names are `waiting`, `oldest_ms` and
            `in_flight` of a site, and `delayed`, `running`, `dead` and `held` of the site "*".
    """

    minute_ms: int
    numbers: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def total(self, name: str, site: str | None = None) -> int:
        """Sum a figure over all sites, or give that of one; of `oldest_ms` the highest."""
        found = [
            number
            for (place, what), number in self.numbers.items()
            if what == name and site in {None, place}
        ]
        return max(found, default=0) if name == "oldest_ms" else sum(found)


def record_depth(client: redis.Redis, keyspace: Keyspace, now_ms: int) -> bool:
    """Record this minute unless somebody has.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        now_ms: Redis time, Unix ms.

    Returns:
        Whether it was this call that recorded it.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    key = _key(keyspace, now_ms // MINUTE_MS)
    with speaking_to_redis():
        if not client.hsetnx(key, "at", now_ms):
            return False
        client.expire(key, KEEP_S)
        numbers = _numbers(read_queue(client, keyspace))
        if numbers:
            client.hset(key, items=[part for pair in numbers.items() for part in pair])
    return True


def read_gauge_minutes(client: redis.Redis, keyspace: Keyspace, minutes: int = 60) -> list[Depth]:
    """Read the last minutes, the current one included.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        minutes: how many, up to 120.

    Returns:
        The minutes that were recorded, oldest first.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    with speaking_to_redis():
        newest = redis_now_ms(client) // MINUTE_MS
        numbers = range(newest - max(1, min(minutes, MINUTES_MAX)) + 1, newest + 1)
        pipe = client.pipeline(transaction=False)
        for minute in numbers:
            pipe.hgetall(_key(keyspace, minute))
        replies = pipe.execute()
    return [
        Depth(minute * MINUTE_MS, _read(raw))
        for minute, raw in zip(numbers, replies, strict=True)
        if raw
    ]


def _key(keyspace: Keyspace, minute: int) -> str:
    return f"{keyspace.prefix(0)}gauges:{minute}"


def _numbers(queue: QueueGauges) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in queue.lines:
        name = f"{line.site}|waiting"
        found[name] = found.get(name, 0) + line.waiting
        name = f"{line.site}|oldest_ms"
        found[name] = max(found.get(name, 0), round(line.oldest_age_s * 1000))
    for site in queue.sites:
        found[f"{site.name}|in_flight"] = site.in_flight
    for name, number in zip(
        OF_QUEUE, (queue.delayed, queue.leased, queue.dead, queue.held), strict=True
    ):
        found[f"{ALL}|{name}"] = number
    return {name: number for name, number in found.items() if number}


def _read(raw: Mapping[bytes, bytes]) -> dict[tuple[str, str], int]:
    found = {}
    for name, number in raw.items():
        site, bar, what = name.decode(errors="replace").rpartition("|")
        if bar:
            found[site, what] = int(number)
    return found
