"""dramatiq with its stock Redis broker: sync actors on threads, httpx.

A client a thread with a single connection: one client that all share gets slower with each
connection in its pool. Redis gets as many connections as there are threads, since acks that meet
the limit of redis-py's pool are tried again seconds later. Middleware that the job does not need
is left out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import dramatiq
import httpx
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Retries, ShutdownNotifications, TimeLimit

from benchmarks.work import PAGES, api_url, headers, in_flight, payload, published, redis_url

__all__ = ["make"]

_MIDDLEWARE = [AgeLimit(), TimeLimit(), ShutdownNotifications(), Retries()]

broker = RedisBroker(
    url=redis_url(), middleware=_MIDDLEWARE, max_connections=in_flight() + 50
)  # fmt: skip
dramatiq.set_broker(broker)
_redis = redis.Redis.from_url(redis_url(), max_connections=in_flight() + 50)
_own = threading.local()


def _client() -> httpx.Client:
    if not hasattr(_own, "client"):
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        _own.client = httpx.Client(headers=headers(), limits=limits, timeout=30, verify=False)
    client: httpx.Client = _own.client
    return client


@dramatiq.actor(queue_name="gifts")
def gift(job: int, fields: Mapping[str, str]) -> None:
    answer = _client().post(api_url(), data=dict(fields))
    answer.raise_for_status()
    _redis.rpush(PAGES, published(job, answer.json()))


class _Jobs:
    def enqueue(self, job: int) -> None:
        gift.send(job, payload(job))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        dramatiq.group(gift.message(job, payload(job)) for job in jobs).run()


make = _Jobs
