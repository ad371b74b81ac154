"""Largesse as its users run it, with every feature on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import redis

from benchmarks.work import SITE, nested, redis_url
from worker import Producer, Settings
from worker.jobs.job import job_id_of

__all__ = ["make"]


class _Jobs:
    """The queue, through the producer of the environment's settings."""

    def __init__(self) -> None:
        settings = Settings.from_env()
        self._producer = Producer(settings)
        self._redis = redis.Redis.from_url(redis_url())
        self._stream = self._producer.keyspace.stream(0)
        self._numbers: dict[str, int] = {}

    def enqueue(self, job: int) -> None:
        self._producer.gift_checkout(nested(job), key=_key(job))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        self._producer.enqueue_many(
            {"kind": "gift_checkout", "payload": nested(job), "key": _key(job)} for job in jobs
        )

    def roundtrip(self, job: int) -> None:
        handle = self._producer.gift_checkout(nested(job), key=_key(job))
        assert handle.result(timeout=30).hosted_page is not None

    def pages(self) -> Mapping[int, list[str]]:
        """Read every ending off the stream, so that none that came twice can hide."""
        found: dict[int, list[str]] = {}
        for _, fields in self._redis.xrange(self._stream):
            outcome = json.loads(fields[b"outcome"])
            page = outcome["hosted_page"]["id"] if outcome["hosted_page"] else outcome["state"]
            found.setdefault(self._number(outcome["job_id"]), []).append(page)
        return found

    def close(self) -> None:
        self._producer.close()
        self._redis.close()

    def _number(self, job_id: str) -> int:
        while job_id not in self._numbers:
            job = len(self._numbers) + 1
            self._numbers[job_id_of(SITE, "gift_checkout", _key(job))] = job
        return self._numbers[job_id]


def _key(job: int) -> str:
    return f"order-{job}"


make = _Jobs
