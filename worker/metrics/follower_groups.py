"""The groups that follow the outcomes: how far behind each one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from worker.engine.keys import Keyspace
from worker.engine.redis_errors import speaking_to_redis
from worker.metrics.gauges import redis_now_ms

__all__ = ["FollowerGroup", "read_follower_groups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerGroup:
    """A group over all shards.

    Attributes:
        name: its name.
        age_ms: milliseconds since the oldest outcome that it has not handled; 0 when it has
            handled all.
        lag: outcomes that it has not handled, at least.
        missed: outcomes that were cut before it had handled them, and that it was not told of yet.
    """

    name: str
    age_ms: int
    lag: int
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
        missed=one.missed + other.missed,
    )


def _read_shard(client: redis.Redis, keyspace: Keyspace, shard: int) -> list[FollowerGroup]:
    stream = keyspace.stream(shard)
    if not client.exists(stream):
        return []
    now_ms = redis_now_ms(client)
    groups: Any = client.xinfo_groups(stream)
    missed: Any = client.hgetall(f"{keyspace.prefix(shard)}missed")
    return [_group(client, stream, group, missed, now_ms) for group in groups]


def _group(
    client: redis.Redis, stream: str, group: Any, missed: Any, now_ms: int
) -> FollowerGroup:
    name: bytes = group["name"]
    first: Any = client.xrange(stream, b"(" + group["last-delivered-id"], "+", count=1)
    oldest = first[0][0] if first else None
    if group["pending"]:
        pending: Any = client.xpending(stream, name)
        oldest = pending["min"]
    unread = group.get("lag")  # not known to servers before 7.0, nor after every cut
    if unread is None:
        unread = len(first)
    return FollowerGroup(
        name=name.decode(errors="replace"),
        age_ms=0 if oldest is None else max(0, now_ms - int(oldest.partition(b"-")[0])),
        lag=group["pending"] + unread,
        missed=int(missed.get(b"count " + name, 0)),
    )
