"""RQ at its leanest: workers that run jobs in themselves, forked from one that has loaded all.

A worker has one call in flight, so there are as many as calls in flight are wanted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from types import FrameType

import redis
from rq import Queue, SimpleWorker

from benchmarks.peers.clients import post
from benchmarks.work import PAGES, in_flight, payload, published, redis_url

__all__ = ["make"]

_redis = redis.Redis.from_url(redis_url())


def gift(job: int, fields: Mapping[str, str]) -> None:
    _redis.rpush(PAGES, published(job, post(fields)))


class _Jobs:
    def __init__(self) -> None:
        self._queue = Queue("gifts", connection=_redis)

    def enqueue(self, job: int) -> None:
        self._queue.enqueue(_TASK, job, payload(job), result_ttl=0)

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        self._queue.enqueue_many(
            [Queue.prepare_data(_TASK, (job, payload(job)), result_ttl=0) for job in jobs]
        )


_TASK = f"benchmarks.peers.{os.path.basename(__file__).removesuffix('.py')}.gift"  # noqa: PTH119
make = _Jobs


def _work(workers: int) -> None:
    pids = []
    for _ in range(workers):
        pid = os.fork()
        if not pid:
            connection = redis.Redis.from_url(redis_url())
            worker = SimpleWorker([Queue("gifts", connection=connection)], connection=connection)
            worker.work(logging_level="WARNING")
            os._exit(0)
        pids.append(pid)

    def stop(number: int, _: FrameType | None) -> None:
        for pid in pids:
            os.kill(pid, number)

    signal.signal(signal.SIGTERM, stop)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    import benchmarks.peers.rq_simple  # noqa: F401 - loaded once, before the fork

    _work(in_flight())
    sys.exit(0)
