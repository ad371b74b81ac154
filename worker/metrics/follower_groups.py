"""The groups that follow the outcomes: how far behind each one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import Scripts

__all__ = ["FollowerGroup", "read_follower_groups"]

#: Entries that one call counts for a server that does not know the lag of a group.
COUNT_AT_ONCE: Final = 1_000
#: Calls of one count. With more entries than that, the whole stream is given.
COUNTS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerGroup:
    """One group, over all shards.

    Attributes:
        name: its name.
        age_ms: milliseconds since the oldest outcome that it has not handled; 0 when it has
            handled all.
        lag: outcomes that it has not handled.
        shard_lag: the same on the shard that has the most: each shard is cut by itself.
        missed: outcomes that were cut before it had handled them, and that it was not told of yet.
    """

    name: str
    age_ms: int
    lag: int
    shard_lag: int
    missed: int


def read_follower_groups(client: redis.Redis, keyspace: Keyspace) -> list[FollowerGroup]:
    """Give the groups by name.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    found: dict[str, FollowerGroup] = {}
    for shard in range(keyspace.shards):
        with speaking_to_redis():
            for one in _read_shard(client, keyspace, shard):
                other = found.get(one.name)
                found[one.name] = one if other is None else _sum(one, other)
    return sorted(found.values(), key=lambda one: one.name)


def _sum(one: FollowerGroup, other: FollowerGroup) -> FollowerGroup:
    return FollowerGroup(
        name=one.name,
        age_ms=max(one.age_ms, other.age_ms),
        lag=one.lag + other.lag,
        shard_lag=max(one.shard_lag, other.shard_lag),
        missed=one.missed + other.missed,
    )


def _read_shard(client: redis.Redis, keyspace: Keyspace, shard: int) -> list[FollowerGroup]:
    stream = keyspace.stream(shard)
    if not client.exists(stream):
        return []
    now_ms = redis_now_ms(client)
    groups: Any = client.xinfo_groups(stream)
    missed: Any = client.hgetall(f"{keyspace.prefix(shard)}missed")
    found = []
    for group in groups:
        name: bytes = group["name"]
        oldest = _oldest(client, stream, group)
        unread = group.get("lag")  # unknown before Redis 7.0, and of some groups later
        if unread is None:
            unread = _count(Scripts(client, keyspace), shard, stream, group["last-delivered-id"])
        lag = group["pending"] + unread
        found.append(
            FollowerGroup(
                name=name.decode(errors="replace"),
                age_ms=0 if oldest is None else max(0, now_ms - _ms(oldest)),
                lag=lag,
                shard_lag=lag,
                missed=int(missed.get(b"count " + name, 0)),
            )
        )
    return found


def _oldest(client: redis.Redis, stream: str, group: Any) -> bytes | None:
    """Give the id of the first entry that the group has not handled."""
    if group["pending"]:
        pending: Any = client.xpending(stream, group["name"])
        first: bytes | None = pending["min"]
        return first
    rows: Any = client.xrange(stream, b"(" + group["last-delivered-id"], "+", count=1)
    return rows[0][0] if rows else None


def _count(scripts: Scripts, shard: int, stream: str, last: bytes) -> int:
    """Count the entries after one."""
    rows: Any = scripts.client.xrange(stream, count=1)
    length: Any = scripts.client.xlen(stream)
    whole = int(length)
    if not rows or _place(last) < _place(rows[0][0]):
        return whole
    total = 0
    for _ in range(COUNTS_MAX):
        found, last = scripts.run("behind", shard, [last, COUNT_AT_ONCE])
        total += int(found)
        if found < COUNT_AT_ONCE:
            return total
    return whole


def _place(entry_id: bytes) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence)


def _ms(entry_id: bytes) -> int:
    return _place(entry_id)[0]
