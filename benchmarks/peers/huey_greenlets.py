"""huey on greenlets with httpx: results off, workers that block on the list."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the worker; whoever enqueues needs no greenlets
    from gevent import monkey

    monkey.patch_all()

from collections.abc import Iterable, Mapping

import redis
from huey import RedisHuey

from benchmarks.peers.clients import post
from benchmarks.work import PAGES, in_flight, payload, published, redis_url

__all__ = ["make"]

_pool = redis.ConnectionPool.from_url(redis_url(), max_connections=2 * in_flight() + 50)
_redis = redis.Redis(connection_pool=_pool)
huey = RedisHuey("gifts", results=False, connection_pool=_pool)


@huey.task()
def gift(job: int, fields: Mapping[str, str]) -> None:
    _redis.rpush(PAGES, published(job, post(fields)))


class _Jobs:
    def enqueue(self, job: int) -> None:
        gift(job, payload(job))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        for job in jobs:  # there is no quicker way in
            gift(job, payload(job))


make = _Jobs

if __name__ == "__main__":
    # Tasks are known by the name of their module, which is not __main__ for who enqueues.
    from benchmarks.peers import huey_greenlets

    huey_greenlets.huey.create_consumer(
        workers=in_flight(), worker_type="greenlet", periodic=False
    ).run()
    sys.exit(0)
