"""Workers: who is there by his own word, who holds which jobs, and since when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace
from worker.engine.redis_errors import speaking_to_redis
from worker.process.heartbeat import Seen, read_heartbeats

__all__ = ["KeyHolder", "Lease", "WorkerState", "key_holders", "read_workers"]

#: Leases of one look: a fleet of hundreds of processes has no more.
LOOK_MAX: Final = 20_000
_FIELDS: Final = ("worker", "delivered_at", "site", "actor", "deliveries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One job in a worker's hands.

    Attributes:
        job_id, kind, site: which.
        since_ms: Unix ms of the delivery, or None when the record cannot be read.
        until_ms: Unix ms at which the lease lapses unless it is renewed.
        deliveries: deliveries in a row without an ending.
    """

    job_id: str
    kind: str
    site: str
    since_ms: int | None
    until_ms: int
    deliveries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """A living worker and the key of a site that it holds.

    Attributes:
        worker: host, process id and a random part.
        mark: 8 hex digits of a hash of the key, or "none".
        problem: "", "missing" or "refused".
    """

    worker: str
    mark: str
    problem: str

    def __str__(self) -> str:
        if self.problem == "missing":
            return f"{self.worker}: no key"
        return f"{self.worker}: {self.mark}{self.problem and f', {self.problem}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """One worker that told of itself in the last ten minutes, or holds leases.

    Attributes:
        worker: host, process id and a random part, such as `app-1:4711:0f3c...`; "" for leases
            whose worker is not known.
        queue: whose jobs it holds; "" when it holds none.
        leases: what it holds, the oldest first.
        seen: what it last said of itself, or None.
    """

    worker: str
    queue: str
    leases: tuple[Lease, ...]
    seen: Seen | None = None

    def state(self, now_ms: int) -> str:
        """Say how it stands.

        Args:
            now_ms: Unix ms.

        Returns:
            "busy" or "idle"; "stopping"; "stuck" (it is there and takes no jobs); "lost" (it has
            said nothing for 20 s and did not take leave); "silent" (it holds jobs and never said a
            word: of an older version, or lost long ago).
        """
        if self.seen is None:
            return "silent"
        if self.seen.is_lost(now_ms):
            return "lost"
        if not self.seen.ready:
            return "stopping" if self.seen.why == "stopping" else "stuck"
        return "busy" if self.leases else "idle"

    def as_json(self, now_ms: int) -> dict[str, Any]:
        """Give it as one object of `largesse workers --json`."""
        seen = self.seen
        return {
            "worker": self.worker,
            "state": self.state(now_ms),
            "why": seen and seen.why,
            "version": seen and seen.version,
            "concurrency": seen and seen.concurrency,
            "started_at": seen and seen.started_ms,
            "seen_at": seen and seen.seen_ms,
            "silence_ms": seen and seen.silence_ms,
            "keys": {
                site: {"mark": mark, "problem": problem or None}
                for site, (mark, problem) in (seen.keys if seen else {}).items()
            },
            "queue": self.queue or None,
            "leases": len(self.leases),
            "oldest_ms": self.oldest_ms(now_ms),
            "lapses_in_ms": self.lapses_in_ms(now_ms),
            "jobs": [
                {
                    "job_id": one.job_id,
                    "kind": one.kind,
                    "site": one.site,
                    "since": one.since_ms,
                    "until": one.until_ms,
                    "deliveries": one.deliveries,
                }
                for one in self.leases
            ],
        }

    def key_problems(self) -> str:
        """Say which sites it cannot serve: "no key for one; key of two refused"; "" for none."""
        said = {"missing": "no key for {}", "refused": "key of {} refused"}
        keys = self.seen.keys if self.seen else {}
        return "; ".join(said[why].format(site) for site, (_, why) in keys.items() if why in said)

    def oldest_ms(self, now_ms: int) -> int:
        """Give how long it has held its oldest job, ms."""
        since = [one.since_ms for one in self.leases if one.since_ms is not None]
        return max(0, now_ms - min(since)) if since else 0

    def lapses_in_ms(self, now_ms: int) -> int | None:
        """Give when the first of its leases lapses unless it is renewed, ms; None without one."""
        return max(0, min(one.until_ms for one in self.leases) - now_ms) if self.leases else None


def key_holders(workers: Sequence[WorkerState], site: str, now_ms: int) -> list[KeyHolder]:
    """Give the living workers that know a site, with the key that each holds.

    A worker tells of a hundred sites, those with a problem first.

    Args:
        workers: see `read_workers`.
        site: its name, or that of one of its budgets.
        now_ms: Unix ms.
    """
    name = site.partition("/")[0]
    seen = {one.worker: one.seen for one in workers if one.seen and not one.seen.is_lost(now_ms)}
    return [
        KeyHolder(worker=worker, mark=one.keys[name][0], problem=one.keys[name][1])
        for worker, one in seen.items()
        if name in one.keys
    ]


def read_workers(client: redis.Redis, keyspace: Keyspace) -> list[WorkerState]:
    """Give the workers that are there or hold leases, by name.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    seen = {one.worker: one for one in read_heartbeats(client, keyspace)}
    held: dict[tuple[str, str], list[Lease]] = defaultdict(list)
    for shard in range(keyspace.shards):
        prefix = keyspace.prefix(shard)
        with speaking_to_redis():
            queues: Any = client.smembers(f"{prefix}queues")
        for queue in sorted(one.decode() for one in queues):
            for worker, lease in _leases(client, keyspace, prefix, queue):
                held[worker, queue].append(lease)
    for worker in seen.keys() - {worker for worker, _ in held}:
        held[worker, ""] = []
    return [
        WorkerState(
            worker=worker,
            queue=queue,
            leases=tuple(sorted(leases, key=lambda one: (one.since_ms or 0, one.job_id))),
            seen=seen.get(worker),
        )
        for (worker, queue), leases in sorted(held.items())
    ]


def _leases(
    client: redis.Redis, keyspace: Keyspace, prefix: str, queue: str
) -> list[tuple[str, Lease]]:
    with speaking_to_redis():
        rows: Any = client.zrange(f"{prefix}q:{queue}:leases", 0, LOOK_MAX - 1, withscores=True)
        pipe = client.pipeline(transaction=False)
        for raw, _ in rows:
            pipe.hmget(keyspace.job(raw.decode()), *_FIELDS)
        records = pipe.execute()
    found = []
    for (raw, until_ms), record in zip(rows, records, strict=True):
        worker, since, site, kind, deliveries = (
            (value or b"").decode(errors="replace") for value in record
        )
        lease = Lease(
            job_id=raw.decode(),
            kind=kind,
            site=site,
            since_ms=int(since) if since else None,
            until_ms=int(until_ms),
            deliveries=int(deliveries or 0),
        )
        found.append((worker.removesuffix(f":{queue}"), lease))
    return found
