"""Those who wait for results: how soon they learn of them, many at once, and over a dead line."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest
import redis
from rig.figures import Counts, percentile
from rig.proxy import ChaosProxy
from rig.queue import Lease, Queue
from rig.waiting import until
from rig.world import World

from worker import AsyncProducer
from worker.engine.endings import Finish

QUEUE = "chargebee"


def test_waiters_learn_of_results_at_once(world: World, figures: Counts) -> None:
    """T33: many threads that wait for a worker's results have them within 100 ms."""
    n = 1_000 if world.full else 200
    world.api.admin.set(latency_ms=20)
    producer = world.producer()
    world.produce_many(n)
    woken: dict[str, float] = {}

    def wait(job_id: str) -> None:
        producer.results.wait(job_id, timeout=120)
        woken[job_id] = time.time()

    threads = [threading.Thread(target=wait, args=(job_id,)) for job_id in world.log.job_ids()]
    for thread in threads:
        thread.start()
    world.started(size=1, concurrency=8)
    for thread in threads:
        thread.join(120)
    assert len(woken) == n
    verdict = world.verdict()
    assert verdict.broken() == {}
    ended = {
        job_id: int(world.client.hget(f"{{largesse:0}}:job:{job_id}", "finished_at") or 0)
        for job_id in woken
    }
    waits = sorted((at * 1000 - ended[job_id]) for job_id, at in woken.items())
    p50, p99 = waits[n // 2], waits[int(n * 0.99)]
    world.judge(figures, "T33", "waiters", woken_p50_ms=round(p50), woken_p99_ms=round(p99))
    assert p50 <= 100
    assert p99 <= (100 if world.full else 500)
    assert waits[-1] <= 2_000


def test_waiters_outlive_a_lost_message(world: World, figures: Counts) -> None:
    """T33: the line of the waiters is cut or goes dead: the result comes by reading, in time."""
    with ChaosProxy(world.server.port) as line:
        producer = world.producer(redis_port=line.port)
        world.produce(10)
        woken: list[float] = []

        def wait(job_id: str) -> None:
            producer.results.wait(job_id, timeout=60)
            woken.append(time.time())

        threads = [threading.Thread(target=wait, args=(job_id,)) for job_id in world.log.job_ids()]
        for thread in threads:
            thread.start()
        until(lambda: len(world.client.pubsub_channels()) == 10, what="the subscriptions")
        time.sleep(0.5)
        line.half_open()
        world.started(size=1)
        world.wait(timeout_s=30)
        ended_at = time.time()
        for thread in threads:
            thread.join(60)
    late_s = max(woken) - ended_at
    world.judge(figures, "T33", "dead line", latest_s=round(late_s, 2))
    assert len(woken) == 10
    assert late_s <= 3


@pytest.fixture
def hand(world: World) -> Queue:
    """The scripts, by hand: a worker that ends all its jobs in one call."""
    return Queue(redis.Redis(port=world.server.port))


def _take_all(hand: Queue, n: int) -> list[Lease]:
    leases: list[Lease] = []
    while len(leases) < n:
        leases += hand.fetch(100, queue=QUEUE).leases
    return leases


def _end_all(hand: Queue, leases: list[Lease]) -> None:
    pairs = [(one, Finish(outcome=_outcome(one), ttl_ms=60_000, state="failed")) for one in leases]
    assert hand.end_all(pairs) == [1] * len(leases)


def _outcome(lease: Lease) -> str:
    error = {"class": "rejected", "reason": "no", "retryable": True}
    return json.dumps(
        {"job_id": lease.id, "kind": "gift_checkout", "site": lease.site, "state": "failed",
         "error": error, "attempts": 1}
    )  # fmt: skip


def _wait_in_tasks(world: World, ids: list[str], end_all: Callable[[], None]) -> dict[str, float]:
    woken: dict[str, float] = {}

    async def wait(producer: AsyncProducer, job_id: str) -> None:
        await producer.results.wait(job_id, timeout=60)
        woken[job_id] = time.time()

    async def run() -> None:
        async with AsyncProducer.from_env(world.env()) as producer:
            waits = [asyncio.create_task(wait(producer, job_id)) for job_id in ids]
            while len(world.client.pubsub_channels()) < len(ids):
                await asyncio.sleep(0.05)
            await asyncio.sleep(1)
            await asyncio.to_thread(end_all)
            await asyncio.gather(*waits)

    asyncio.run(run())
    return woken


def _wait_in_threads(
    world: World, ids: list[str], end_all: Callable[[], None]
) -> dict[str, float]:
    woken: dict[str, float] = {}
    producer = world.producer()

    def wait(job_id: str) -> None:
        producer.results.wait(job_id, timeout=60)
        woken[job_id] = time.time()

    threads = [threading.Thread(target=wait, args=(job_id,)) for job_id in ids]
    for thread in threads:
        thread.start()
    until(lambda: len(world.client.pubsub_channels()) == len(ids), what="the subscriptions")
    time.sleep(1)
    end_all()
    for thread in threads:
        thread.join(60)
    return woken


def _threads_alone_ms(n: int) -> float:
    """Milliseconds in which the interpreter wakes so many threads that wait for nothing else."""
    bells: list[Future[None]] = [Future() for _ in range(n)]
    threads = [threading.Thread(target=bell.result) for bell in bells]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    for bell in bells:
        bell.set_result(None)
    for thread in threads:
        thread.join()
    return (time.monotonic() - began) * 1000


@pytest.mark.parametrize("kind", ["tasks", pytest.param("threads", marks=pytest.mark.faults)])
def test_waiters_of_one_moment_are_woken_together(
    world: World, hand: Queue, figures: Counts, kind: str
) -> None:
    """T33: jobs that end in one call: tasks within 100 ms, threads as fast as threads wake."""
    n = 1_000 if world.full else 200
    world.produce_many(n)
    leases = _take_all(hand, n)
    alone_ms = _threads_alone_ms(n) if kind == "threads" else 0.0
    wait = _wait_in_threads if kind == "threads" else _wait_in_tasks
    woken = wait(world, [one.id for one in leases], lambda: _end_all(hand, leases))
    hand.client.close()
    assert len(woken) == n
    (ended_ms,) = {
        int(world.client.hget(f"{{largesse:0}}:job:{job_id}", "finished_at") or 0)
        for job_id in woken
    }
    waits = [at * 1000 - ended_ms for at in woken.values()]
    measured = {
        "woken_p50_ms": round(percentile(waits, 0.5)),
        "woken_p99_ms": round(percentile(waits, 0.99)),
    }
    if kind == "threads":
        measured["threads_alone_ms"] = round(alone_ms)
    world.judge(figures, "T33", f"all at once, {kind}", may_fail=True, **measured)
    assert percentile(waits, 0.99) <= (100 + 2 * alone_ms if world.full else 1_000)
