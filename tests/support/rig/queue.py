"""The Lua scripts as plain calls, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from worker.engine.endings import SCRIPT_OF, Bury, Ending, Finish, Release, Retry
from worker.engine.enqueue import Entry
from worker.engine.keys import RECORD_VERSION, Keyspace
from worker.engine.scripts import Argument, Scripts

QUEUE = "calls"
SITE = "acme"
LEASE_MS = 15_000
TTL_MS = 60_000
STREAM_MAX = 1000
MAX_DELIVERIES = 3
WINDOW_MS = 25 * 60_000

#: Arguments that come before the endings of each script.
_HEADS: dict[str, list[Argument]] = {
    "finish": [STREAM_MAX],
    "bury": [STREAM_MAX],
    "retry": [TTL_MS, STREAM_MAX],
    "release": [],
}


@dataclass(frozen=True, slots=True)
class Lease:
    """One job as fetch hands it out; numbers as numbers, None where not set."""

    id: str
    message: str
    fence: int
    deliveries: int
    attempts: int
    enqueued_at: int
    first_delivery_at: int
    unsure_since: int | None
    deadline_at: int | None
    epoch: int
    site: str
    lane: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch gave; `wait_ms` is None when nothing is coming by itself."""

    leases: list[Lease]
    wait_ms: int | None

    @property
    def ids(self) -> list[str]:
        """Ids of the jobs, in their order."""
        return [one.id for one in self.leases]


def entry(
    job_id: str,
    *,
    site: str = SITE,
    lane: str = "interactive",
    mode: Any = "job",
    mark: str = "digest",
    queue: str = QUEUE,
    key: str = "",
    delay_ms: int = 0,
    deadline_ms: int = 0,
    message: str = "message",
    parts: bytes = b"",
) -> Entry:
    """Make an entry as a producer would, of shard 0."""
    return Entry(
        id=job_id, mode=mode, mark=mark, queue=queue, actor="gift_checkout", site=site, lane=lane,
        key=key, delay_ms=delay_ms, deadline_ms=deadline_ms, message=message.encode(), shard=0,
        parts=parts,
    )  # fmt: skip


class Queue:
    """Calls of the scripts of shard 0.

    Args:
        client: replies as bytes.
    """

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.keys = Keyspace()
        self.prefix = self.keys.prefix(0)
        self.scripts = Scripts(client, self.keys, moved_clock=True)

    def run(self, name: str, *args: Argument) -> Any:
        """Run a script; its reply as text and numbers."""
        return text(self.scripts.run(name, 0, list(args)))

    def passes(self, ms: int) -> None:
        """Let time pass."""
        self.client.incrby(f"{self.prefix}clock", ms)

    def enqueue(self, *entries: Entry) -> list[list[str]]:
        """Enqueue entries; a pair of word and state for each."""
        reply: list[list[str]] = self.run(
            "enqueue", *(part for one in entries for part in one.arguments())
        )
        return reply

    def add(self, *job_ids: str, **options: Any) -> None:
        """Enqueue new jobs of one make."""
        for job_id in job_ids:
            assert self.enqueue(entry(job_id, **options))[0][0] == "new"

    def fetch(
        self, n: int = 10, *, worker: str = "w", queue: str = QUEUE, version: int = RECORD_VERSION
    ) -> Fetched:
        """Fetch up to n jobs."""
        reply = self.run(
            "fetch", queue, worker, n, LEASE_MS, MAX_DELIVERIES, TTL_MS, STREAM_MAX, version
        )
        leases = [
            Lease(
                row[0], row[1], int(row[2]), int(rest[0]), int(rest[1]), int(rest[2]),
                int(rest[3]),
                int(rest[4]) if rest[4] else None, int(rest[5]) if rest[5] else None, int(rest[6]),
                rest[8], rest[7],
            )
            for row, rest in ((row, row[3].split(" ", 8)) for row in reply[2:])
        ]  # fmt: skip
        return Fetched(leases, reply[1] - reply[0] if reply[1] else None)

    def take(self, job_id: str | None = None, **options: Any) -> Lease:
        """Fetch one job, which must be there (and be this one)."""
        found = self.fetch(1, **options).leases
        assert len(found) == 1, "no job was handed out"
        assert job_id in {None, found[0].id}
        return found[0]

    def end(self, lease: Lease, ending: Ending) -> bool:
        """Send an ending; False when it was refused."""
        return self.end_all([(lease, ending)]) == [1]

    def end_all(self, pairs: Sequence[tuple[Lease, Ending]]) -> list[int]:
        """Send endings of one kind in one call."""
        name = SCRIPT_OF[type(pairs[0][1])]
        args = list(_HEADS[name])
        for lease, ending in pairs:
            args += ending.arguments(lease.id, lease.fence)
        reply: list[int] = self.run(name, *args)
        return reply

    def finish(self, lease: Lease, **options: Any) -> bool:
        """End with an outcome."""
        return self.end(lease, Finish(**{"outcome": "{}", "ttl_ms": TTL_MS, **options}))

    def retry(self, lease: Lease, **options: Any) -> bool:
        """End with another try later."""
        given = {"delay_ms": 0, "counted": True, "unsure": False, **options}
        return self.end(lease, Retry(**given))

    def bury(self, lease: Lease, **options: Any) -> bool:
        """End with the dead or the held."""
        given = {"reason": "why", "ttl_ms": TTL_MS, "error_class": "rejected", **options}
        return self.end(lease, Bury(**given))

    def release(self, lease: Lease, *, unsure: bool = False) -> bool:
        """Give back."""
        return self.end(lease, Release(unsure=unsure))

    def renew(self, *leases: Lease, queue: str = QUEUE) -> list[str]:
        """Renew leases; the ids that are lost."""
        pairs = [part for one in leases for part in (one.id, one.fence)]
        lost: list[str] = self.run("renew", queue, LEASE_MS, *pairs)
        return lost

    def cancel(self, job_id: str) -> str:
        """Cancel a job; the script's word."""
        return str(self.run("cancel", job_id, TTL_MS, STREAM_MAX))

    def replay(self, job_id: str, *, new_key: bool = False) -> str:
        """Replay a job; the script's word."""
        return str(self.run("replay", job_id, WINDOW_MS, int(new_key)))

    def discard(self, job_id: str) -> str:
        """Discard a job; the script's word."""
        return str(self.run("discard", job_id, TTL_MS, STREAM_MAX))

    def configure(
        self,
        site: str = SITE,
        *,
        interval_ms: int = 0,
        burst_ms: int = 0,
        cap: int = 0,
        bulk_every: int = 10,
        key_mark: str = "",
        accepted: bool = False,
        worker: str = "host:1:a",
    ) -> Any:
        """Write a site's budget; what Redis knows of it."""
        row = (site, interval_ms, burst_ms, cap, bulk_every, key_mark, int(accepted))
        return self.run("configure", worker, *row)[0]

    def key(self, rest: str) -> str:
        """Whole name of a key of the shard."""
        return f"{self.prefix}{rest}"

    def record(self, job_id: str) -> dict[str, str]:
        """All fields of a record."""
        found: dict[bytes, bytes] = self.client.hgetall(self.key(f"job:{job_id}"))  # type: ignore[assignment]
        return {name.decode(): value.decode() for name, value in found.items()}

    def state(self, job_id: str) -> str | None:
        """State of a record; None when there is none."""
        return self.record(job_id).get("state")

    def outcome(self, job_id: str) -> str | None:
        """Stored outcome."""
        found: bytes | None = self.client.get(self.key(f"out:{job_id}"))  # type: ignore[assignment]
        return None if found is None else found.decode()

    def published(self) -> list[tuple[str, str]]:
        """Id and state of each entry of the stream."""
        rows: Any = self.client.xrange(self.key("outcomes"))
        return [(row[b"job_id"].decode(), row[b"state"].decode()) for _, row in rows]

    def members(self, rest: str) -> list[str]:
        """Members of a sorted set, in order."""
        return [str(one) for one in text(self.client.zrange(self.key(rest), 0, -1))]


def text(reply: Any) -> Any:
    """Bytes to text, at any depth."""
    if isinstance(reply, bytes):
        return reply.decode()
    return [text(one) for one in reply] if isinstance(reply, list) else reply
