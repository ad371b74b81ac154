"""Event loops that come and go, producers that are dropped or closed: nothing breaks or leaks."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from rig.producing import GIFT
from rig.waiting import until

from worker import AsyncProducer, Producer, Settings

Gift = Callable[..., Any]


async def _enqueue_and_wait(producer: AsyncProducer, hand: Any) -> str:
    job = await producer.gift_checkout(GIFT, site="acme-test")
    waiting = asyncio.create_task(job.result(timeout=10))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(hand.serve)
    return str((await waiting).state)


def test_async_producer_works_on_every_loop(settings: Settings, hand: Any) -> None:
    """Three runs, a thread, a loop per test and async_to_sync use one producer, without a word."""
    producer = AsyncProducer(settings)
    for _ in range(3):
        assert asyncio.run(_enqueue_and_wait(producer, hand)) == "succeeded"
    with ThreadPoolExecutor(1) as pool:
        state = pool.submit(lambda: asyncio.run(_enqueue_and_wait(producer, hand))).result()
    assert state == "succeeded"
    for _ in range(2):  # as pytest plugins do it
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(_enqueue_and_wait(producer, hand)) == "succeeded"
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    assert async_to_sync(_enqueue_and_wait)(producer, hand) == "succeeded"
    asyncio.run(producer.aclose())
    gc.collect()  # a connection or a task that was left would warn here


# Python itself hides these by default.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loop_that_is_only_closed_leaves_no_word(
    settings: Settings, hand: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A loop that ends without its last steps leaves no socket and no task's word."""
    producer = AsyncProducer(settings)
    gc.collect()
    descriptors = _descriptors()
    for _ in range(3):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(_enqueue_and_wait(producer, hand)) == "succeeded"
        loop.close()
        del loop
    assert asyncio.run(_enqueue_and_wait(producer, hand)) == "succeeded"
    asyncio.run(producer.aclose())
    gc.collect()
    assert _descriptors() <= descriptors + 1  # the one of the hand that serves
    assert not caplog.records


def test_loop_that_ends_in_a_wait_leaves_the_producer_whole(settings: Settings, hand: Any) -> None:
    """A loop that is closed while a job is waited for takes nothing else along."""
    producer = AsyncProducer(settings)

    async def give_up() -> None:
        job = await producer.gift_checkout(GIFT, site="acme-test")
        await asyncio.wait_for(job.result(), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    hand.serve()
    assert asyncio.run(_enqueue_and_wait(producer, hand)) == "succeeded"
    asyncio.run(producer.aclose())


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.filterwarnings("ignore:a Producer was dropped:ResourceWarning")
def test_dropped_producers_leave_nothing(settings: Settings, hand: Any) -> None:
    """A producer for each request, none closed: one thread and one pool, and none in the end."""
    gc.collect()
    threads, descriptors = threading.active_count(), _descriptors()
    kept = []
    for _ in range(60):
        producer = Producer(settings)
        job = producer.gift_checkout(GIFT, site="acme-test")
        hand.serve()
        assert job.result(timeout=10).state == "succeeded"
        kept.append(producer)
    assert threading.active_count() <= threads + 1
    assert _descriptors() <= descriptors + 10
    kept.clear()
    del producer, job
    gc.collect()
    until(lambda: threading.active_count() <= threads, what="the end of the thread")
    until(lambda: _descriptors() <= descriptors + 1, what="the end of the connections")


def test_dropped_producer_warns(settings: Settings) -> None:
    """Python's own warning tells of a producer that nobody closed; a closed one is silent."""
    producers = [Producer(settings)]
    producers[0].gift_checkout(GIFT, site="acme-test")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        producers.clear()
        # A thread that is just done with it may be the last to hold it.
        until(lambda: gc.collect() >= 0 and told, what="the warning")
    assert [one.category for one in told] == [ResourceWarning]
    assert "a Producer was dropped without close()" in str(told[0].message)
    with Producer(settings) as closed:
        closed.gift_checkout(GIFT, site="acme-test")
    del closed
    gc.collect()


def test_producer_can_be_used_after_close(
    settings: Settings, client: redis.Redis, hand: Any
) -> None:
    """A later call opens the connections anew, and the next close gives them back."""
    producer = Producer(settings)
    for _ in range(2):
        job = producer.gift_checkout(GIFT, site="acme-test")
        hand.serve()
        assert job.result(timeout=10).state == "succeeded"
        producer.close()
    rows: Any = client.client_list
    until(lambda: len(rows()) == 1, what="the end of the connections")


def test_exit_prints_nothing(redis_url: str) -> None:
    """A process that ends with open producers, in a wait even, ends at once and in silence."""
    code = f"""
import asyncio, threading
from worker import AsyncProducer, Producer, Settings
settings = Settings(redis_url={redis_url!r})
producer, other = Producer(settings), AsyncProducer(settings)
job = producer.gift_checkout({{}}, site="acme-test")
threading.Thread(target=lambda: job.result(), daemon=True).start()
asyncio.run(other.results.get(job.id))
try:
    job.result(timeout=0.1)
except Exception as error:
    assert type(error).__name__ == "ResultTimeoutError", error
"""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    # In this mode asyncio tells of each step that a busy machine made slow.
    told = re.sub(r"(?m)^Executing <.* took [\d.]+ seconds\n", "", ended.stderr)
    assert (ended.returncode, ended.stdout, told) == (0, "", "")
