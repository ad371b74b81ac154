"""What is measured, one function a group of figures; each runs one round of one setup."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import dramatiq
from dramatiq import Message
from dramatiq.broker import Broker
from dramatiq.brokers.redis import RedisBroker

from benchmarks.engine_setups import (
    JOB,
    NOOP,
    PAYLOAD,
    QUEUE,
    SETUPS,
    STAMP,
    Notes,
    Setup,
    declare,
    make_broker,
    settings_of,
)
from benchmarks.engine_worker import WorkerProcess
from benchmarks.figures import Board, percentile
from benchmarks.server import Server
from worker.client.producer import AsyncProducer, Producer
from worker.engine.broker import EngineBroker
from worker.engine.enqueue import entry_of
from worker.jobs.job import Job

__all__ = ["depth", "enqueue", "idle", "throughput", "waking"]

MS: Final = 1e6  # nanoseconds
US: Final = 1e-6  # seconds
#: Seconds between two looks at a queue that drains.
LOOK_S: Final = 0.05
#: Seconds that a job of the waking measurement takes, so that its waiter is there before.
HOLD_S: Final = 0.03
FETCH: Final = 64


def _messages(actor: str, count: int) -> Iterator[Message[Any]]:
    kwargs: dict[str, Any] = {"payload": PAYLOAD, "options": {}} if actor == JOB else {}
    for _ in range(count):
        yield Message(queue_name=QUEUE, actor_name=actor, args=(), kwargs=kwargs, options={})


def _opened(setup: Setup, server: Server, *, results: bool = False) -> Broker:
    server.clear(setup.database)
    broker = make_broker(setup, server.url(setup.database), results=results)
    declare(setup, broker, Notes(), hold_s=0)
    return broker


def _fill(broker: Broker, actor: str, count: int) -> None:
    """Enqueue as fast as the broker can: in batches, or by the stock broker's wire protocol."""
    if isinstance(broker, EngineBroker):
        entries = (entry_of(one, broker.keyspace) for one in _messages(actor, count))
        while batch := list(itertools.islice(entries, 5000)):
            broker.take_in(batch)
        return
    assert isinstance(broker, RedisBroker)
    messages = _messages(actor, count)
    while batch := list(itertools.islice(messages, 5000)):
        pipe = broker.client.pipeline(transaction=False)
        key = f"dramatiq:{QUEUE}"
        for one in batch:
            known = one.copy(options={"redis_message_id": one.message_id})
            pipe.hset(f"{key}.msgs", known.message_id, known.encode())
            pipe.rpush(key, known.message_id)
        pipe.execute()


def _left(broker: Broker) -> int:
    if isinstance(broker, EngineBroker):
        return sum(broker.depth(QUEUE))
    return int(broker.client.hlen(f"dramatiq:{QUEUE}.msgs"))


def _drain(broker: Broker, limit_s: float = 300) -> None:
    ends_at = time.monotonic() + limit_s
    while _left(broker):
        if time.monotonic() > ends_at:
            raise TimeoutError(f"{_left(broker)} jobs are left after {limit_s} s")
        time.sleep(LOOK_S)


def idle(board: Board, server: Server, *, samples: int, pause_s: float, watch_s: float) -> None:
    """Measure idle workers, all setups side by side: commands a second, and jobs that come singly.

    Args:
        board: where figures go.
        server: the server.
        samples: jobs of each setup.
        pause_s: seconds between two jobs; each setup is idle for as many times as there are
            setups.
        watch_s: seconds for which commands are counted.
    """
    brokers = {setup: _opened(setup, server) for setup in SETUPS}
    workers = {setup: WorkerProcess(setup, server.url(setup.database)) for setup in SETUPS}
    try:
        for worker in workers.values():
            worker.__enter__()
        for broker in brokers.values():
            broker.get_actor(STAMP).send(time.monotonic_ns())
        time.sleep(2)
        for worker in workers.values():
            worker.report()
        sent = server.commands(watch_s)
        for setup in SETUPS:
            board.note("idle commands/s", setup.name, sent[setup.database] / watch_s)
        for _ in range(samples):
            for broker in brokers.values():
                time.sleep(pause_s * random.uniform(0.5, 1.5))
                broker.get_actor(STAMP).send(time.monotonic_ns())
        time.sleep(1.5)
        for setup, worker in workers.items():
            ages = worker.report()["ages_ns"]
            if len(ages) != samples:
                raise RuntimeError(f"{setup.name}: {len(ages)} of {samples} jobs ran")
            board.note("idle enqueue to start p50, ms", setup.name, percentile(ages, 0.5) / MS)
            board.note("idle enqueue to start p99, ms", setup.name, percentile(ages, 0.99) / MS)
    finally:
        for worker in workers.values():
            worker.__exit__(None, None, None)
        for broker in brokers.values():
            broker.close()


def throughput(board: Board, server: Server, setup: Setup, *, jobs: int, actor: str) -> None:
    """Measure one worker process on a queue that is full already: rate, CPU, bytes.

    Args:
        board: where figures go.
        server: the server.
        setup: which.
        jobs: how many.
        actor: `NOOP` without a result, `JOB` with a payload and a published page.
    """
    with_page = actor == JOB
    broker = _opened(setup, server, results=with_page)
    empty = server.memory()
    cpu_s = server.cpu_s()
    if with_page and setup.is_ours:
        with Producer(settings_of(server.url(setup.database))) as producer:
            for start in range(0, jobs, 5000):
                size = min(5000, jobs - start)
                producer.enqueue_many([{"kind": JOB, "payload": PAYLOAD}] * size)
    else:
        _fill(broker, actor, jobs)
    kind = "jobs with a page" if with_page else "no-op jobs"
    board.note(f"{kind}: Redis CPU us, enqueue", setup.name, (server.cpu_s() - cpu_s) / jobs / US)
    if with_page:
        board.note("bytes per queued job", setup.name, (server.memory() - empty) / jobs,
                   keys=server.bytes_of_keys(setup.database) / jobs)  # fmt: skip
    cpu_s = server.cpu_s()
    with WorkerProcess(setup, server.url(setup.database), results=with_page) as worker:
        _drain(broker)
        found = worker.report()
    if found["count"] != jobs:
        raise RuntimeError(f"{setup.name}: {found['count']} of {jobs} jobs ran")
    board.note(f"{kind}/s", setup.name, (jobs - 1) / found["wall_s"])
    board.note(f"{kind}: worker CPU us", setup.name, found["cpu_s"] / jobs / US)
    board.note(f"{kind}: Redis CPU us, run", setup.name, (server.cpu_s() - cpu_s) / jobs / US)
    if with_page:
        board.note("bytes per result", setup.name, (server.memory() - empty) / jobs,
                   keys=server.bytes_of_keys(setup.database) / jobs)  # fmt: skip
    broker.close()
    server.clear(setup.database)


def waking(board: Board, server: Server, setup: Setup, *, samples: int) -> None:
    """Measure from the end of a job to its woken waiter, threads and asyncio.

    Args:
        board: where figures go.
        server: the server.
        setup: which; the stock broker keeps results as lists that a reader blocks on.
        samples: jobs.
    """
    broker = _opened(setup, server, results=True)
    url = server.url(setup.database)
    with WorkerProcess(setup, url, hold_s=HOLD_S, results=True):
        if setup.is_ours:
            with Producer(settings_of(url)) as producer:
                ages = [_woken(lambda: producer.enqueue(JOB, PAYLOAD)) for _ in range(samples)]
            _note_ages(board, "waiter woken, threads", setup, ages)
            _note_ages(board, "waiter woken, asyncio", setup, asyncio.run(_async(url, samples)))
        else:
            actor = broker.get_actor(JOB)
            ages = []
            for _ in range(samples):
                message = actor.send(payload=PAYLOAD, options={})
                page: Any = message.get_result(
                    backend=broker.get_results_backend(), block=True, timeout=5000
                )
                ages.append(time.monotonic_ns() - int(page["id"]))
            _note_ages(board, "waiter woken, threads", setup, ages)
    broker.close()


def _woken(send: Callable[[], Any]) -> int:
    result = send().result(timeout=5)
    return time.monotonic_ns() - int(result.hosted_page.id)


async def _async(url: str, samples: int) -> list[int]:
    ages = []
    async with AsyncProducer(settings_of(url)) as producer:
        for _ in range(samples):
            handle = await producer.enqueue(JOB, PAYLOAD)
            result = await handle.result(timeout=5)
            assert result.hosted_page is not None
            ages.append(time.monotonic_ns() - int(result.hosted_page.id))
    return ages


def _note_ages(board: Board, figure: str, setup: Setup, ages: Sequence[int]) -> None:
    warm = ages[len(ages) // 10 :]  # the first ones open connections
    board.note(f"{figure} p50, ms", setup.name, percentile(warm, 0.5) / MS)
    board.note(f"{figure} p99, ms", setup.name, percentile(warm, 0.99) / MS)


def enqueue(board: Board, server: Server, setup: Setup, *, singles: int, many: int) -> None:
    """Measure taking in: one by one and in batches, with and without validation.

    Args:
        board: where figures go.
        server: the server.
        setup: which.
        singles: jobs sent one by one.
        many: jobs of the batches.
    """
    broker = _opened(setup, server)
    actor = broker.get_actor(JOB)

    def one() -> object:
        return actor.send(payload=PAYLOAD, options={})

    _one_by_one(board, "enqueue one by one, unchecked", setup, one, singles)
    if not isinstance(broker, EngineBroker):
        messages = list(_messages(JOB, singles))
        took_s = _timed(lambda: dramatiq.group(messages, broker=broker).run())
        board.note("enqueue in batches, unchecked, jobs/s", setup.name, singles / took_s)
        took_s = _timed(lambda: _fill(broker, JOB, many))
        board.note("enqueue by hand (wire protocol), jobs/s", setup.name, many / took_s)
    else:
        took_s = _timed(lambda: _fill(broker, JOB, many))
        board.note("enqueue in batches, unchecked, jobs/s", setup.name, many / took_s)
        _checked(board, server, setup, singles=singles, many=many)
    broker.close()
    server.clear(setup.database)


def _checked(board: Board, server: Server, setup: Setup, *, singles: int, many: int) -> None:
    server.clear(setup.database)
    settings = settings_of(server.url(setup.database))
    specs = [{"kind": JOB, "payload": PAYLOAD} for _ in range(many)]
    with Producer(settings) as producer:
        _one_by_one(
            board, "enqueue one by one, validated", setup,
            lambda: producer.enqueue(JOB, PAYLOAD), singles,
        )  # fmt: skip
        took_s = _timed(lambda: producer.enqueue_many(specs))
        board.note("enqueue in batches, validated, jobs/s", setup.name, many / took_s)
        jobs: list[Job] = []
        took_s = _timed(lambda: jobs.extend(Job.prepare(settings, JOB, PAYLOAD) for _ in specs))
        board.note("validation alone, us a job", setup.name, took_s / many / US)
        took_s = _timed(lambda: producer.enqueue_jobs(jobs))
        board.note("enqueue in batches, validated before, jobs/s", setup.name, many / took_s)


def _one_by_one(
    board: Board, figure: str, setup: Setup, send: Callable[[], object], count: int
) -> None:
    for _ in range(20):
        send()
    took = [_timed(send) for _ in range(count)]
    board.note(f"{figure}, jobs/s", setup.name, count / sum(took))
    board.note(f"{figure}, p50 ms", setup.name, percentile(took, 0.5) * 1000)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def depth(
    board: Board, server: Server, setup: Setup, *, depths: Sequence[int], tries: int
) -> None:
    """Measure a fetch of 64 jobs at growing depths of the queue.

    Args:
        board: where figures go.
        server: the server.
        setup: which.
        depths: jobs in the queue, growing.
        tries: fetches at each depth; what they took is enqueued anew.
    """
    broker = _opened(setup, server)
    there = 0
    for wanted in depths:
        _fill(broker, NOOP, wanted - there)
        took = []
        for number in range(tries):
            if isinstance(broker, EngineBroker):
                args = broker.options.fetch_arguments(QUEUE, "benchmark", FETCH)
                started = time.perf_counter()
                reply = broker.scripts.run("fetch", 0, args)
                took.append(time.perf_counter() - started)
                got = len(reply) - 2
                endings = [part for one in reply[2:] for part in (one[0], one[2], 0)]
                broker.scripts.run("release", 0, endings)
            else:
                started = time.perf_counter()
                reply = broker.do_fetch(QUEUE, FETCH)
                took.append(time.perf_counter() - started)
                got = len(reply)
                ids = [Message.decode(one).options["redis_message_id"] for one in reply]
                broker.do_requeue(QUEUE, *ids)
            if got != FETCH:
                raise RuntimeError(f"{setup.name}: fetch {number} at {wanted} gave {got} jobs")
        there = wanted
        board.note(f"fetch of 64 at depth {wanted:,}, ms", setup.name,
                   percentile(took, 0.5) * 1000, p99=percentile(took, 0.99) * 1000)  # fmt: skip
    broker.close()
    server.clear(setup.database)
