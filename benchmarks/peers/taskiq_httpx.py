"""taskiq on a Redis list with httpx."""

from __future__ import annotations

from collections.abc import Mapping

import redis.asyncio
from taskiq import TaskiqEvents, TaskiqState

from benchmarks.peers.clients import AsyncClients
from benchmarks.peers.taskiq_jobs import Jobs, make_broker
from benchmarks.work import PAGES, in_flight, published, redis_url

__all__ = ["make"]

broker = make_broker()
_redis = redis.asyncio.Redis.from_url(redis_url(), max_connections=in_flight() + 50)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def _open(state: TaskiqState) -> None:
    state.clients = AsyncClients()


@broker.task(task_name="gift")
async def gift(job: int, fields: Mapping[str, str]) -> None:
    found = await broker.state.clients.post(fields)
    await _redis.rpush(PAGES, published(job, found))


def make() -> Jobs:
    return Jobs(broker, gift)
