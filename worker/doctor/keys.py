"""The keys in Redis: ours, of other settings, of a newer version, or of somebody else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from worker.engine.keys import RECORD_VERSION, Keyspace
from worker.engine.redis_errors import speaking_to_redis
from worker.logs.redaction import scrub
from worker.process.check import Check

__all__ = ["KNOWN", "check_keys"]

#: First words of our keys, as docs/redis_keys.md has them.
KNOWN: Final = frozenset(
    {
        "job", "msg", "out", "hist", "q", "queues", "sites", "site", "dead", "held", "outcomes",
        "ended", "counts", "gauges", "clock", "stopped_at", "audit", "workers", "worker", "config",
        "layout", "missed", "time",
    }
)  # fmt: skip
#: Keys that are looked at; a larger Redis is looked at in part.
LOOK_MAX: Final = 100_000
#: Keys of one step: short enough not to hold anybody up.
STEP: Final = 1_000
#: Records whose version is read.
RECORDS_MAX: Final = 5_000

_OURS: Final = re.compile(r"\{(.+):(\d+)\}:([^:]+)(.*)", re.DOTALL)


@dataclass(slots=True)
class _Sight:
    """What a look found."""

    looked: int = 0
    is_partial: bool = False
    words: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    other_shards: set[int] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)
    foreign: int = 0
    records: list[str] = field(default_factory=list)


def check_keys(client: redis.Redis, keyspace: Keyspace) -> Iterator[Check]:
    """Check what lies in the database; nothing is changed.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    with speaking_to_redis():
        sight = _look(client, keyspace)
        newer = _newer(client, sight.records)
        layout: Any = client.hget(f"{keyspace.prefix(0)}layout", "shards")
    yield _check_names(sight, keyspace)
    yield _check_records(sight, newer)
    yield _check_shards(sight, keyspace, None if layout is None else int(layout))
    yield _check_neighbours(sight)


def _look(client: redis.Redis, keyspace: Keyspace) -> _Sight:
    sight = _Sight()
    for raw in client.scan_iter(count=STEP):
        if sight.looked >= LOOK_MAX:
            sight.is_partial = True
            break
        sight.looked += 1
        _sort(sight, keyspace, raw.decode(errors="replace"))
    return sight


def _sort(sight: _Sight, keyspace: Keyspace, key: str) -> None:
    found = _OURS.fullmatch(key)
    if found is None:
        sight.foreign += 1
    elif found[1] != keyspace.namespace:
        # Whatever else is in braces: only what has our words is a namespace of ours.
        if found[3] in KNOWN:
            sight.others[found[1]] += 1
        else:
            sight.foreign += 1
    elif found[3] not in KNOWN:
        sight.unknown[found[3]] += 1
    else:
        sight.words[found[3]] += 1
        if int(found[2]) >= keyspace.shards:
            sight.other_shards.add(int(found[2]))
        if found[3] == "job" and len(sight.records) < RECORDS_MAX:
            sight.records.append(key)


def _newer(client: redis.Redis, records: list[str]) -> Counter[int]:
    """Count the records of later versions, by version."""
    found: Counter[int] = Counter()
    for start in range(0, len(records), STEP):
        pipe = client.pipeline(transaction=False)
        for key in records[start : start + STEP]:
            pipe.hget(key, "v")
        versions: list[Any] = pipe.execute()
        found.update(int(v) for v in versions if v is not None and v.isdigit())
    return Counter({v: count for v, count in found.items() if v > RECORD_VERSION})


def _check_names(sight: _Sight, keyspace: Keyspace) -> Check:
    part = " of the first" if sight.is_partial else ""
    found = f"{sum(sight.words.values())} ours{part} of {sight.looked}"
    found += f" in namespace {keyspace.namespace}"
    if not sight.unknown:
        return Check("keys", "ok", found)
    names = ", ".join(scrub(name)[:40] for name, _ in sight.unknown.most_common(3))
    found += f", {sum(sight.unknown.values())} of no known name: {names}"
    remedy = "A newer version may have written them; else find out who else writes here."
    return Check("keys", "warn", found, remedy)


def _check_records(sight: _Sight, newer: Counter[int]) -> Check:
    if not newer:
        return Check("records", "ok", f"{len(sight.records)} looked at, none of a newer version")
    found = ", ".join(f"{count} of version {v}" for v, count in sorted(newer.items()))
    remedy = (
        "Upgrade the workers before the producers: old workers turn new records into dead letters."
    )
    return Check("records", "warn", f"{found}, and this reads up to {RECORD_VERSION}", remedy)


def _check_shards(sight: _Sight, keyspace: Keyspace, layout: int | None) -> Check:
    found = f"{keyspace.shards} in the settings"
    if layout not in {None, keyspace.shards}:
        remedy = f"Set LARGESSE_SHARDS={layout} for every app and worker of this queue."
        return Check("shards", "fail", f"{found}, and the queue has {layout}", remedy)
    if not sight.other_shards:
        return Check("shards", "ok", found)
    found += f", and shard {max(sight.other_shards)} in Redis"
    remedy = "Set LARGESSE_SHARDS as it was when these jobs were enqueued: no worker takes them."
    return Check("shards", "fail", found, remedy)


def _check_neighbours(sight: _Sight) -> Check:
    others = ", ".join(sorted(scrub(name)[:40] for name in sight.others)[:3])
    found = f"other keys: {sight.foreign}" if sight.foreign else "no other keys"
    if others:
        found += f"; other namespaces: {others}"
        if not sight.words:
            remedy = "Do producers use this LARGESSE_NAMESPACE? It holds no job."
            return Check("neighbours", "warn", found, remedy)
    return Check("neighbours", "ok", found)
