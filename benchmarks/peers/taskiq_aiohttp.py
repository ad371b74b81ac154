"""taskiq on a Redis list with aiohttp: uvloop (taskiq takes it where it is installed), orjson."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import redis.asyncio
from taskiq import TaskiqEvents, TaskiqState

from benchmarks.peers.taskiq_jobs import Jobs, make_broker
from benchmarks.work import PAGES, api_url, headers, in_flight, published, redis_url

__all__ = ["make"]

broker = make_broker()
_redis = redis.asyncio.Redis.from_url(redis_url(), max_connections=in_flight() + 50)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def _open(state: TaskiqState) -> None:
    state.session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=in_flight()), headers=headers()
    )


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def _close(state: TaskiqState) -> None:
    await state.session.close()


@broker.task(task_name="gift")
async def gift(job: int, fields: Mapping[str, str]) -> None:
    async with broker.state.session.post(api_url(), data=fields) as answer:
        answer.raise_for_status()
        found = await answer.json()
    await _redis.rpush(PAGES, published(job, found))


def make() -> Jobs:
    return Jobs(broker, gift)
