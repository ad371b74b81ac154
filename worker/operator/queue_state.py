"""A queue as a whole: how deep its lanes are, and how long the oldest job has waited."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from worker.engine.enqueue import NO_SITE
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import queue_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.site_config import count_living, read_site_config
from worker.operator.site_state import LANES

__all__ = ["QueueState", "read_queues"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue over all its sites.

    Attributes:
        name: of the queue.
        waiting: jobs in the lines of each lane: `{"interactive": n, "bulk": n}`; one that was
            cancelled counts until its line reaches it.
        delayed: jobs that wait for a time of their own: delays and retries.
        running: jobs in the hands of workers.
        oldest_at_ms: Unix ms at which the job at the head of a line that has waited longest was
            enqueued, or None when none waits; sites that no living worker serves are left out.
        next_due_ms: Unix ms at which the next delayed job is due, or None.
    """

    name: str
    waiting: dict[str, int]
    delayed: int
    running: int
    oldest_at_ms: int | None
    next_due_ms: int | None

    def as_json(self, now_ms: int) -> dict[str, Any]:
        """Give it as one object of `largesse queues --json`."""
        return {
            "queue": self.name,
            "waiting": sum(self.waiting.values()),
            "lanes": dict(self.waiting),
            "delayed": self.delayed,
            "running": self.running,
            "oldest_ms": self.oldest_ms(now_ms),
            "next_due": self.next_due_ms,
        }

    def oldest_ms(self, now_ms: int) -> int:
        """Give how long the oldest waiting job has waited, ms; 0 when none waits."""
        return 0 if self.oldest_at_ms is None else max(0, now_ms - self.oldest_at_ms)


def read_queues(client: redis.Redis, keyspace: Keyspace) -> list[QueueState]:
    """Give every queue that has ever taken a job, by name.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    parts: dict[str, list[QueueState]] = defaultdict(list)
    for shard in range(keyspace.shards):
        prefix = keyspace.prefix(shard)
        with speaking_to_redis():
            queues: Any = client.smembers(f"{prefix}queues")
            for raw in queues:
                name = raw.decode()
                parts[name].append(_part(client, keyspace, prefix, name))
    return [_sum(name, parts[name]) for name in sorted(parts)]


def _part(client: redis.Redis, keyspace: Keyspace, shard: str, name: str) -> QueueState:
    prefix = f"{shard}q:{name}:"
    lines: Any = client.smembers(f"{prefix}lines")
    sites = sorted(one.decode() for one in lines)
    pipe = client.pipeline(transaction=False)
    pipe.zcard(f"{prefix}delayed")
    pipe.zcard(f"{prefix}leases")
    pipe.zrange(f"{prefix}delayed", 0, 0, withscores=True)
    for site in sites:
        for lane in LANES:
            pipe.llen(f"{prefix}line:{site}:{lane}")
            pipe.lindex(f"{prefix}line:{site}:{lane}", 0)
    delayed, running, due, *lengths_and_heads = pipe.execute()
    lengths, heads = lengths_and_heads[::2], lengths_and_heads[1::2]
    served = _served(client, keyspace, shard, sites)
    owners = [site for site in sites for _ in LANES]
    first = [
        head.decode() for site, head in zip(owners, heads, strict=True) if head and site in served
    ]
    return QueueState(
        name=name,
        waiting={lane: sum(lengths[place :: len(LANES)]) for place, lane in enumerate(LANES)},
        delayed=delayed,
        running=running,
        oldest_at_ms=_oldest(client, keyspace, first),
        next_due_ms=int(due[0][1]) if due else None,
    )


def _served(client: redis.Redis, keyspace: Keyspace, shard: str, sites: Sequence[str]) -> set[str]:
    """Leave out the sites that no living worker has a key for; none while no worker lives."""
    now_ms = queue_now_ms(client, keyspace)
    if not count_living(client, keyspace, now_ms):
        return set(sites)
    pipe = client.pipeline(transaction=False)
    for site in sites:
        pipe.hgetall(f"{shard}config:{site}")
    return {
        site
        for site, raw in zip(sites, pipe.execute(), strict=True)
        if site == NO_SITE or read_site_config(raw, now_ms).is_served(now_ms)
    }


def _oldest(client: redis.Redis, keyspace: Keyspace, heads: Sequence[str]) -> int | None:
    pipe = client.pipeline(transaction=False)
    for job_id in heads:
        pipe.hget(keyspace.job(job_id), "enqueued_at")
    return _least(int(at) for at in pipe.execute() if at is not None)


def _least(values: Any) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _sum(name: str, parts: Sequence[QueueState]) -> QueueState:
    return QueueState(
        name=name,
        waiting={lane: sum(part.waiting[lane] for part in parts) for lane in LANES},
        delayed=sum(part.delayed for part in parts),
        running=sum(part.running for part in parts),
        oldest_at_ms=_least(part.oldest_at_ms for part in parts),
        next_due_ms=_least(part.next_due_ms for part in parts),
    )
