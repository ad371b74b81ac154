"""Celery on threads, httpx: results off, one job a thread, no chatter between workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import redis
from celery import Celery

from benchmarks.peers.clients import post
from benchmarks.work import PAGES, in_flight, payload, published, redis_url

__all__ = ["make"]

app = Celery("gifts", broker=redis_url())
app.conf.update(
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=1,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)
_redis = redis.Redis.from_url(redis_url(), max_connections=in_flight() + 50)


@app.task(name="gift")
def gift(job: int, fields: Mapping[str, str]) -> None:
    _redis.rpush(PAGES, published(job, post(fields)))


class _Jobs:
    def enqueue(self, job: int) -> None:
        gift.apply_async((job, payload(job)))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for job in jobs:
                gift.apply_async((job, payload(job)), producer=producer)


make = _Jobs
