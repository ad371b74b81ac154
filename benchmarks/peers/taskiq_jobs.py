"""What both forms of taskiq share: the broker and the way in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from taskiq import AsyncBroker
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker

from benchmarks.work import in_flight, payload, redis_url

__all__ = ["Jobs", "make_broker"]

#: Jobs that are sent at the same time.
_TOGETHER = 50


def make_broker() -> AsyncBroker:
    """Make the broker: a list, the quickest of taskiq's; results off, as by default."""
    broker = ListQueueBroker(redis_url(), max_connection_pool_size=in_flight() + 50)
    return broker.with_serializer(ORJSONSerializer())


class Jobs:
    """The queue, from an app with a loop."""

    def __init__(self, broker: AsyncBroker, task: Any) -> None:
        self._task = task
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(broker.startup())

    def enqueue(self, job: int) -> None:
        self._loop.run_until_complete(self._task.kiq(job, payload(job)))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        self._loop.run_until_complete(self._send(list(jobs)))

    async def _send(self, jobs: list[int]) -> None:
        for start in range(0, len(jobs), _TOGETHER):
            part = jobs[start : start + _TOGETHER]
            await asyncio.gather(*(self._task.kiq(job, payload(job)) for job in part))
