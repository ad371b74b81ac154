"""What time it is: by Redis, and by the queue's clock, which never goes back (see keys.lua)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace

__all__ = ["is_cluster", "queue_now_ms", "redis_now_ms"]

#: Most milliseconds by which the queue's clock is ahead of Redis time after a step back, and by
#: how many it gains one less until it is not; as in keys.lua.
AHEAD_MAX_MS: Final = 1_800_000
SLEW: Final = 20


def is_cluster(client: redis.Redis) -> bool:
    """Say whether the client speaks to a Cluster."""
    return getattr(client, "nodes_manager", None) is not None


def redis_now_ms(client: redis.Redis) -> int:
    """Give Redis time, Unix ms; of a Cluster, which has no single clock, this machine's."""
    if is_cluster(client):
        return int(time.time() * 1000)
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


def queue_now_ms(client: redis.Redis, keyspace: Keyspace, redis_ms: int | None = None) -> int:
    """Give the time by which the scripts of shard 0 go, Unix ms.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        redis_ms: Redis time, when it is known already.
    """
    now_ms = redis_now_ms(client) if redis_ms is None else redis_ms
    clock: Any = client.hmget(f"{keyspace.prefix(0)}time", ("at", "ahead", "stepped_at"))
    return _queue_ms(now_ms, clock)


def _queue_ms(redis_ms: int, clock: Sequence[bytes | None]) -> int:
    at, ahead, stepped_at = (int(float(value or 0)) for value in clock)
    left = max(0, ahead - max(0, redis_ms - stepped_at) // SLEW)
    now_ms = redis_ms + left
    return min(at, redis_ms + AHEAD_MAX_MS) if at > now_ms else now_ms
