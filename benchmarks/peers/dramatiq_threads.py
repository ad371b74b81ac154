"""dramatiq with its stock Redis broker: sync actors on threads (or on greenlets), httpx.

Redis gets as many connections as there are threads: acks that meet the limit of redis-py's pool
are tried again seconds later. Middleware that the job does not need is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Retries, ShutdownNotifications, TimeLimit

from benchmarks.peers.clients import post
from benchmarks.work import PAGES, in_flight, payload, published, redis_url

__all__ = ["make"]

_CONNECTIONS = in_flight() + 50
broker = RedisBroker(
    url=redis_url(),
    middleware=[AgeLimit(), TimeLimit(), ShutdownNotifications(), Retries()],
    max_connections=_CONNECTIONS,
)
dramatiq.set_broker(broker)
_redis = redis.Redis.from_url(redis_url(), max_connections=_CONNECTIONS)


@dramatiq.actor(queue_name="gifts")
def gift(job: int, fields: Mapping[str, str]) -> None:
    _redis.rpush(PAGES, published(job, post(fields)))


class _Jobs:
    def enqueue(self, job: int) -> None:
        gift.send(job, payload(job))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        dramatiq.group(gift.message(job, payload(job)) for job in jobs).run()


make = _Jobs
