"""The invariants of the fault matrix, from the outside: never from a worker's word.

I1  every accepted job has a terminal record: none is lost
I2  every job has one published result, the same for every reader
I3  the API made one page per idempotency key at most, and ran no keyed request twice
I4  nothing is left over: leases, slots, lines and delays are empty, records will expire
I5  workers that were not killed are alive
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from rig.figures import percentile
from rig.sandbox import SandboxAdmin
from rig.waiting import until

PREFIX = "{largesse:0}:"
QUEUE = "chargebee"
TERMINAL = {"succeeded", "failed", "expired", "cancelled"}


@dataclass(slots=True)
class Verdict:
    """What a fault did.

    Attributes:
        n: accepted jobs.
        states: how many jobs are in each state.
        lost: accepted jobs without a record.
        open: accepted jobs that have not ended.
        duplicate_pages: idempotency keys with more than one page, or executed more than once.
        duplicate_results: jobs with more or fewer than one published result.
        unequal_results: jobs whose record and stream disagree.
        leftovers: what should be empty and is not.
        recoveries_ms: for each job that was handed out again, ms from the fault to its result.
    """

    n: int
    states: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    duplicate_pages: list[str] = field(default_factory=list)
    duplicate_results: list[str] = field(default_factory=list)
    unequal_results: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    recoveries_ms: list[float] = field(default_factory=list)

    def broken(self) -> dict[str, Any]:
        """Give what is not as it should be; empty when every invariant holds."""
        names = ("lost", "open", "duplicate_pages", "duplicate_results", "unequal_results")
        found = {name: getattr(self, name)[:5] for name in (*names, "leftovers")}
        return {name: value for name, value in found.items() if value}

    def figures(self) -> dict[str, Any]:
        """Give the figures of the report."""
        rows: dict[str, Any] = {
            "n": self.n,
            "lost": len(self.lost) + len(self.open),
            "duplicate_pages": len(self.duplicate_pages),
            "duplicate_results": len(self.duplicate_results) + len(self.unequal_results),
            "states": dict(self.states),
        }
        if self.recoveries_ms:
            rows["recovery_p50_ms"] = round(percentile(self.recoveries_ms, 0.5))
            rows["recovery_p99_ms"] = round(percentile(self.recoveries_ms, 0.99))
        return rows


def records(client: redis.Redis, ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read job records as they stand: id to fields, empty when there is none."""
    ids = list(ids)
    pipe = client.pipeline(transaction=False)
    for job_id in ids:
        pipe.hgetall(f"{PREFIX}job:{job_id}")
    return dict(zip(ids, pipe.execute(), strict=True))


def open_jobs(client: redis.Redis, ids: Iterable[str]) -> list[str]:
    """Ids of the jobs that have not come to rest; a held job rests."""
    rest = TERMINAL | {"held"}
    found = records(client, ids)
    return [job_id for job_id, record in found.items() if record.get("state") not in rest]


def wait_all_ended(client: redis.Redis, ids: Iterable[str], *, timeout_s: float) -> None:
    """Wait until every job has come to rest; raises TimeoutError."""
    waiting = list(ids)

    def done() -> bool:
        nonlocal waiting
        try:
            waiting = open_jobs(client, waiting)
        except redis.RedisError:
            return False
        return not waiting

    try:
        until(done, timeout_s=timeout_s, every_s=0.1)
    except TimeoutError:
        states = Counter(
            one.get("state", "no record") for one in records(client, waiting).values()
        )
        raise TimeoutError(f"{dict(states)} after {timeout_s} s, such as {waiting[:3]}") from None


def check(
    client: redis.Redis,
    ids: Iterable[str],
    api: SandboxAdmin,
    *,
    fault_at: float | None = None,
) -> Verdict:
    """Check I1 to I4.

    Args:
        client: the server, replies as text.
        ids: the accepted jobs, from the producer's own log.
        api: the sandbox's own counts.
        fault_at: Unix s of the fault, for the recovery times.
    """
    ids = list(ids)
    verdict = Verdict(len(ids))
    found = records(client, ids)
    entries: dict[str, list[dict[str, str]]] = {}
    for _, entry in client.xrange(f"{PREFIX}outcomes"):
        entries.setdefault(entry["job_id"], []).append(entry)
    for job_id, record in found.items():
        state = record.get("state", "none")
        verdict.states[state] += 1
        if not record:
            verdict.lost.append(job_id)
        elif state not in TERMINAL | {"held"}:
            verdict.open.append(job_id)
        published = entries.get(job_id, [])
        if len(published) != (state in TERMINAL):
            verdict.duplicate_results.append(job_id)
        elif published:
            stored = client.get(f"{PREFIX}out:{job_id}")
            if published[0]["outcome"] != stored or published[0]["state"] != state:
                verdict.unequal_results.append(job_id)
        again = int(record.get("fence", 0)) > 1
        if fault_at is not None and again and "finished_at" in record:
            verdict.recoveries_ms.append(int(record["finished_at"]) - fault_at * 1000)
    verdict.duplicate_pages = _duplicate_pages(api)
    verdict.leftovers = _leftovers(client)
    return verdict


def _duplicate_pages(api: SandboxAdmin) -> list[str]:
    pages = Counter(str(page["idempotency_key"]) for page in api.pages())
    runs = Counter(
        str(one["idempotency_key"])
        for one in api.requests()
        if one["executed"] and one["idempotency_key"]
    )
    return [key for key, count in (pages | runs).items() if count > 1 or key == "None"]


def _leftovers(client: redis.Redis) -> list[str]:
    return [*_unended(client), *_immortal(client)]


def _unended(client: redis.Redis) -> Iterator[str]:
    for name in ("leases", "delayed", "deadlines"):
        if count := client.zcard(f"{PREFIX}q:{QUEUE}:{name}"):
            yield f"{count} {name}"
    for key in client.scan_iter(f"{PREFIX}q:{QUEUE}:line:*", count=1000):
        yield f"{client.llen(key)} in {key}"
    for key in client.scan_iter(f"{PREFIX}site:*", count=1000):
        if slots := int(client.hget(key, "in_flight") or 0):
            yield f"{slots} slots of {key}"


def _immortal(client: redis.Redis) -> Iterator[str]:
    """Keys of a job that would stay for ever; those of a held one may."""
    held = set(client.zrange(f"{PREFIX}held", 0, -1))
    for kind in ("job", "msg", "out", "hist"):
        keys = list(client.scan_iter(f"{PREFIX}{kind}:*", count=1000))
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.ttl(key)
        for key, ttl in zip(keys, pipe.execute(), strict=True):
            if ttl == -1 and key.rpartition(":")[2] not in held:
                yield f"{key} never expires"
