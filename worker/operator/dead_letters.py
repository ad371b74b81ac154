"""Jobs that were set aside: dead letters, and jobs held for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import redis

from worker.engine.keys import Keyspace
from worker.engine.record import JobState, Record, read_records
from worker.engine.redis_errors import speaking_to_redis

__all__ = ["DeadLetter", "Which", "count_dead_letters", "read_dead_letters"]

Which = Literal["dead", "held"]

#: Entries of one page of a listing.
PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A job that was set aside.

    Attributes:
        job_id: its id.
        at_ms: when, Unix ms.
        record: its record, or None when it has gone by age.
    """

    job_id: str
    at_ms: int
    record: Record | None

    def why(self) -> dict[str, Any]:
        """Say why it was set aside.

        Returns:
            `{"class", "status", "api_error_code", "param", "reason"}`; for a held job status and
            code are those of its last attempt, and the class is "held".
        """
        if self.record is None:
            return {**_NOTHING, "class": "gone", "reason": "the record was dropped by age"}
        if self.record.unreadable is not None:
            brief = self.record.unreadable.brief
            return {**_NOTHING, "class": brief, "reason": self.record.reason or brief}
        if self.record.outcome is not None:
            error = json.loads(self.record.outcome).get("error") or {}
            found = {name: error.get(name) for name in _NOTHING}
            return {**found, "reason": found["reason"] or self.record.reason}
        last = _last_attempt(self.record)
        return {
            **_NOTHING,
            "class": "held" if self.record.state is JobState.HELD else None,
            "status": last.get("status"),
            "api_error_code": last.get("code") or last.get("error"),
            "reason": self.record.reason,
        }

    def as_json(self) -> dict[str, Any]:
        """Give it as one object of `largesse dead list --json`."""
        record, why = self.record, self.why()
        return {
            "job_id": self.job_id,
            "kind": record.kind if record else None,
            "site": record.site if record else None,
            "state": record.state.value if record else "missing",
            "key": record.key if record else None,
            **why,
            "attempts": record.attempts if record else None,
            "orphans": record.orphans if record else None,
            "enqueued_at": record.enqueued_at_ms if record else None,
            "stopped_at": self.at_ms,
            "unsure_since": record.unsure_since_ms if record else None,
        }


_NOTHING: Final[Mapping[str, Any]] = {
    "class": None, "status": None, "api_error_code": None, "param": None, "reason": None,
}  # fmt: skip


def _last_attempt(record: Record) -> Mapping[str, Any]:
    if not record.history:
        return {}
    last: Mapping[str, Any] = json.loads(record.history[-1])
    return last


def read_dead_letters(
    client: redis.Redis, keyspace: Keyspace, which: Which
) -> Iterator[DeadLetter]:
    """Give the dead letters or the held jobs, oldest first within a shard.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        which: "dead" or "held".

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    for shard in range(keyspace.shards):
        key, start = f"{keyspace.prefix(shard)}{which}", 0
        while True:
            with speaking_to_redis():
                rows: Any = client.zrange(key, start, start + PAGE - 1, withscores=True)
            entries = [(raw.decode(), int(score)) for raw, score in rows]
            records = read_records(client, keyspace, [one for one, _ in entries], history=True)
            for job_id, at_ms in entries:
                yield DeadLetter(job_id=job_id, at_ms=at_ms, record=records[job_id])
            if len(entries) < PAGE:
                break
            start += PAGE


def count_dead_letters(client: redis.Redis, keyspace: Keyspace) -> dict[str, int]:
    """Count them: `{"dead": n, "held": n}`."""
    totals = {"dead": 0, "held": 0}
    with speaking_to_redis():
        for shard in range(keyspace.shards):
            for which in totals:
                totals[which] += int(client.zcard(f"{keyspace.prefix(shard)}{which}"))
    return totals
