"""arq with aiohttp on uvloop: results off, and a queue looked at every 20 ms instead of 500."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import aiohttp
import uvloop
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import run_worker

from benchmarks.work import PAGES, api_url, headers, in_flight, payload, published, redis_url

__all__ = ["make"]

#: Jobs that are sent at the same time.
_TOGETHER = 50


def _settings() -> RedisSettings:
    settings = RedisSettings.from_dsn(redis_url())
    settings.max_connections = in_flight() + 50
    return settings


async def gift(context: dict[str, Any], job: int, fields: Mapping[str, str]) -> None:
    async with context["session"].post(api_url(), data=fields) as answer:
        answer.raise_for_status()
        found = await answer.json()
    await context["redis"].rpush(PAGES, published(job, found))


async def _open(context: dict[str, Any]) -> None:
    context["session"] = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=in_flight()), headers=headers()
    )


async def _close(context: dict[str, Any]) -> None:
    await context["session"].close()


class WorkerSettings:
    functions: ClassVar = [gift]
    on_startup = _open
    on_shutdown = _close
    redis_settings = _settings()
    max_jobs = in_flight()
    keep_result = 0
    log_results = False
    poll_delay = 0.02


class _Jobs:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool: ArqRedis = self._loop.run_until_complete(create_pool(_settings()))

    def enqueue(self, job: int) -> None:
        self._loop.run_until_complete(self._pool.enqueue_job("gift", job, payload(job)))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        self._loop.run_until_complete(self._send(list(jobs)))

    async def _send(self, jobs: list[int]) -> None:
        for start in range(0, len(jobs), _TOGETHER):
            part = jobs[start : start + _TOGETHER]
            await asyncio.gather(
                *(self._pool.enqueue_job("gift", job, payload(job)) for job in part)
            )


make = _Jobs

if __name__ == "__main__":
    uvloop.install()
    run_worker(WorkerSettings)  # type: ignore[arg-type]
