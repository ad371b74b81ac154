"""Waiting for results: many on one connection, woken at once, and made good for what is lost."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from rig.producing import GIFT
from rig.server import RedisServer
from rig.stopwatch import Stopwatch
from rig.waiting import until

from worker import AsyncProducer, AsyncResultReader, Producer, ResultReader, Settings
from worker.engine import waiters
from worker.errors import (
    BrokerUnavailableError,
    JobFailedError,
    JobHeldError,
    ResultExpiredError,
    ResultMissingError,
    ResultTimeoutError,
)

Gift = Callable[..., Any]


def connections(client: redis.Redis) -> int:
    """Connections to the server, the asking one left out."""
    rows: Any = client.client_list()
    return len(rows) - 1


def subscribed(client: redis.Redis) -> int:
    """Channels that somebody listens on."""
    channels: Any = client.pubsub_channels("*done:*")
    return len(channels)


def has_read(client: redis.Redis) -> bool:
    """Say whether an outcome was looked for: only readers do."""
    stats: Any = client.info("commandstats")
    return "cmdstat_get" in stats


def specs(n: int) -> list[dict[str, Any]]:
    """So many gifts."""
    return [{"kind": "gift_checkout", "payload": GIFT, "site": "acme-test"}] * n


# -- many waiters


@pytest.mark.anyio
async def test_thousand_waiters_share_a_connection(
    settings: Settings, client: redis.Redis, hand: Any
) -> None:
    """A thousand tasks wait on one subscription and a few readers, and all are woken."""
    async with AsyncProducer(settings) as producer:
        handles = await producer.enqueue_many(specs(1000))
        before = connections(client)
        waits = [asyncio.create_task(one.result(timeout=30)) for one in handles]
        while subscribed(client) < 1000:
            await asyncio.sleep(0.02)
        assert connections(client) - before <= 20
        assert not any(one.done() for one in waits)
        assert len(await asyncio.to_thread(hand.serve)) == 1000
        results = await asyncio.gather(*waits)
    assert {one.job_id for one in results} == {one.id for one in handles}


def test_hundred_threads_share_a_connection(
    producer: Producer, client: redis.Redis, hand: Any
) -> None:
    """Threads that wait share one loop, one subscription and a few readers."""
    handles = producer.enqueue_many(specs(100))
    before = connections(client)
    with ThreadPoolExecutor(100) as pool:
        waits = [pool.submit(one.result, 30) for one in handles]
        until(lambda: subscribed(client) == 100, what="all subscriptions")
        assert connections(client) - before <= 20
        hand.serve()
        assert {one.result().job_id for one in waits} == {one.id for one in handles}
    until(lambda: subscribed(client) == 0, what="the end of the subscriptions")


def test_many_waiters_of_one_job(gift: Gift, hand: Any, client: redis.Redis) -> None:
    """Everybody who waits for the same job gets its result."""
    job = gift()
    with ThreadPoolExecutor(20) as pool:
        waits = [pool.submit(job.result, 30) for _ in range(20)]
        until(lambda: subscribed(client) == 1, what="the subscription")
        hand.serve()
        assert {one.result().hosted_page.id for one in waits} == {f"hp_{job.id}"}


def test_one_waiter_that_gives_up_leaves_the_others(gift: Gift, hand: Any) -> None:
    """A waiter's timeout does not end the wait of another one for the same job."""
    job = gift()
    with ThreadPoolExecutor(2) as pool:
        patient = pool.submit(job.result, 30)
        with pytest.raises(ResultTimeoutError):
            job.result(timeout=0.1)
        hand.serve()
        assert patient.result().job_id == job.id


# -- how soon


def test_waiter_is_woken_at_once(gift: Gift, hand: Any, client: redis.Redis) -> None:
    """From the ending to the waiter it takes a moment, not the fall-back's second."""
    with ThreadPoolExecutor(1) as pool:
        waits = []
        for _ in range(5):
            job = gift()
            waiting = pool.submit(lambda job=job: (job.result(10), time.monotonic())[1])
            until(lambda: subscribed(client) == 1, what="the subscription")
            hand.serve()
            ended = time.monotonic()
            waits.append(waiting.result() - ended)
            until(lambda: subscribed(client) == 0, what="the end of the subscription")
    assert sorted(waits)[2] < 0.1


def test_waiter_is_given_what_was_published(
    gift: Gift, hand: Any, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome comes with the waking: nothing is read once more, and it is what is stored."""
    reads = []
    read = waiters.read_records_async

    async def counted(*args: Any) -> Any:
        found = await read(*args)
        reads.append(args)
        return found

    monkeypatch.setattr(waiters, "FALL_BACK_S", 30)
    monkeypatch.setattr(waiters, "read_records_async", counted)
    job = gift()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 30)
        until(lambda: reads, what="the waiter's first read")
        hand.serve()
        result = waiting.result()
    assert len(reads) == 1
    assert result == job._reader.get(job.id)
    assert (result.key, result.attempts, result.state) == (job.key, 1, "succeeded")


def test_waiter_reads_after_a_bare_word(gift: Gift, hand: Any, client: redis.Redis) -> None:
    """A publication without the outcome, as of an older worker, has the record read at once."""
    job = gift()
    channel = f"{{largesse:0}}:done:{job.id}"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 30)
        until(lambda: has_read(client), what="the waiter's first read")
        client.hset(f"{{largesse:0}}:job:{job.id}", "state", "held")
        started = Stopwatch()
        client.publish(channel, "held")
        with pytest.raises(JobHeldError):
            waiting.result()
        assert started.own_s < 0.4


def test_result_that_is_there_is_given_at_once(gift: Gift, hand: Any) -> None:
    """Waiting for what has ended returns it."""
    job = gift()
    hand.serve()
    assert job.result(timeout=5).hosted_page.id == f"hp_{job.id}"


def test_lost_publication_delays_by_a_second(gift: Gift, hand: Any, client: redis.Redis) -> None:
    """When the subscription's connection dies with the news, the fall-back read has it."""
    job = gift()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 30)
        until(lambda: subscribed(client) == 1, what="the subscription")
        pipe = client.pipeline(transaction=False)
        (lease,) = hand.fetch()
        pipe.client_kill_filter(_type="pubsub")
        pipe.execute()
        ended = Stopwatch()
        hand.end(lease)
        waiting.result()
        assert ended.own_s < 1.5


def test_waiters_listen_again_after_a_lost_connection(
    gift: Gift, hand: Any, client: redis.Redis
) -> None:
    """A killed subscription is made anew, so that the next ending wakes at once."""
    jobs = [gift(), gift()]
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(job.result, 30) for job in jobs]
        until(lambda: subscribed(client) == 2, what="both subscriptions")
        client.client_kill_filter(_type="pubsub")
        until(lambda: subscribed(client) == 2, what="both subscriptions again")
        hand.serve()
        assert [one.result().job_id for one in waits] == [job.id for job in jobs]


@pytest.mark.anyio
async def test_idle_waiters_do_nothing(settings: Settings, hand: Any) -> None:
    """Once nobody waits, no timer goes round: an app's loop is left alone."""
    async with AsyncProducer(settings) as producer:
        job = await producer.gift_checkout(GIFT, site="acme-test")
        hand.serve()
        await job.result(timeout=5)
        loop = asyncio.get_running_loop()
        timers = 0
        call_at = loop.call_at

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal timers
            timers += 1
            return call_at(*args, **kwargs)

        loop.call_at = counted  # type: ignore[method-assign]
        try:
            await asyncio.sleep(0.4)
        finally:
            loop.call_at = call_at  # type: ignore[method-assign]
        assert timers < 10


# -- what one may find


@pytest.mark.parametrize("before", [True, False])
def test_wait_tells_of_a_held_job(
    gift: Gift, hand: Any, client: redis.Redis, before: bool
) -> None:
    """A job set aside for a person is told, whether it was before the wait or comes while."""
    job = gift()
    (lease,) = hand.fetch()
    if before:
        hand.queue.bury(lease, state="held")
        with pytest.raises(JobHeldError):
            job.result(timeout=5)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 10)
        until(lambda: subscribed(client) == 1, what="the subscription")
        hand.queue.bury(lease, state="held")
        with pytest.raises(JobHeldError):
            waiting.result()


@pytest.mark.parametrize("state", ["failed", "expired", "cancelled"])
def test_wait_tells_of_an_end_without_a_page(gift: Gift, hand: Any, state: str) -> None:
    """The error carries the result, and with it the reason."""
    job = gift()
    hand.end(*hand.fetch(), state=state)
    with pytest.raises(JobFailedError) as raised:
        job.result(timeout=5)
    assert raised.value.state == state
    assert raised.value.failure.reason == "no"


def test_wait_never_gives_an_expired_page(gift: Gift, hand: Any) -> None:
    """A page past its expiry is not handed out: not by wait, get, get_many or follow."""
    job = gift()
    hand.end(*hand.fetch(), expires_at=int(time.time()) - 1)
    with pytest.raises(ResultExpiredError):
        job.result(timeout=5)
    reader = job._reader
    followed = next(reader.follow("group", timeout=1))
    for result in (reader.get(job.id), reader.get_many([job.id])[job.id], followed):
        assert result.is_expired
        assert result.hosted_page is None
        assert "pay.example" not in f"{result!r} {result.as_json()}"


def test_wait_for_nobody(producer: Producer) -> None:
    """An unknown id is told at once, not waited for."""
    begun = Stopwatch()
    with pytest.raises(ResultMissingError):
        producer.job("0" * 32).result(timeout=10)
    with pytest.raises(ResultMissingError):
        producer.results.get("0" * 32)
    assert begun.own_s < 2


def test_wait_ends_when_the_job_vanishes(gift: Gift, client: redis.Redis) -> None:
    """A job whose record goes while somebody waits, as with a lost server, is missing."""
    job = gift()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 10)
        until(lambda: subscribed(client) == 1, what="the subscription")
        client.flushdb()
        begun = Stopwatch()
        with pytest.raises(ResultMissingError):
            waiting.result()
        assert begun.own_s < 2


def test_wait_is_not_ended_by_a_neighbours_broken_record(
    gift: Gift, hand: Any, client: redis.Redis
) -> None:
    """A record that cannot be read fails its own waiter and nobody else."""
    broken, sound = gift(), gift()
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(job.result, 10) for job in (broken, sound))
        until(lambda: subscribed(client) == 2, what="the subscriptions")
        client.hset(hand.queue.key(f"job:{broken.id}"), "state", "unheard-of")
        with pytest.raises(ValueError, match="unheard-of"):
            first.result()
        hand.serve()
        assert second.result().job_id == sound.id


def test_wait_gives_up_in_time(gift: Gift) -> None:
    """A timeout holds to the tenth of a second, and the job goes on."""
    job = gift()
    for timeout in (0, 0.05, 0.3):
        begun = Stopwatch()
        with pytest.raises(ResultTimeoutError):
            job.result(timeout=timeout)
        assert begun.own_s < timeout + 0.5
    assert job.state() == "queued"


# -- Redis unreachable


def test_wait_outlasts_an_outage(
    redis_server: RedisServer, make_hand: Callable[[str], Any]
) -> None:
    """A wait that has begun goes on while Redis is unreachable, and ends when it is back."""
    with Producer(Settings(redis_url=redis_server.url)) as producer:
        job = producer.gift_checkout(GIFT, site="acme-test")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(job.result, 60)
            with redis_server.client() as client:
                until(lambda: has_read(client), what="the first read")
            time.sleep(0.1)
            redis_server.kill()
            time.sleep(1)
            assert not waiting.done()
            redis_server.start()
            hand = make_hand(redis_server.url)
            hand.serve()
            ended = Stopwatch()
            assert waiting.result().job_id == job.id
            assert ended.own_s < 2


def test_wait_that_begins_in_an_outage_says_so(redis_server: RedisServer) -> None:
    """Who asks while Redis is unreachable is told within the producer's second."""
    with Producer(Settings(redis_url=redis_server.url)) as producer:
        job = producer.gift_checkout(GIFT, site="acme-test")
        redis_server.kill()
        begun = Stopwatch()
        with pytest.raises(BrokerUnavailableError):
            job.result(timeout=30)
        assert begun.own_s < 1.5


# -- forks and loops


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_reader_survives_a_fork(gift: Gift, hand: Any, client: redis.Redis) -> None:
    """A reader made before a fork, and used before it, waits in parent and child alike."""
    done = gift()
    hand.serve()
    done.result(timeout=5)
    job = gift()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child says what it got, and leaves without pytest's own ending
        try:
            os.write(write, job.result(timeout=20).hosted_page.id.encode())
        finally:
            os._exit(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 20)
        until(lambda: client.pubsub_numsub(hand.queue.key(f"done:{job.id}"))[0][1] == 2,
              what="parent and child")  # fmt: skip
        hand.serve()
        assert waiting.result().job_id == job.id
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == f"hp_{job.id}".encode()


def test_reader_closes_with_waiters(settings: Settings, gift: Gift, producer: Producer) -> None:
    """The last one that closes leaves no thread and no connection behind."""
    job = gift()
    threads = threading.active_count()
    reader = ResultReader(settings)
    with pytest.raises(ResultTimeoutError):
        reader.wait(job.id, timeout=0.05)
    reader.close()
    producer.close()
    until(lambda: threading.active_count() <= threads, what="the end of the thread")


@pytest.mark.anyio
async def test_async_reader_is_cancelled_cleanly(settings: Settings, client: redis.Redis) -> None:
    """A cancelled wait takes its subscription along."""
    async with AsyncProducer(settings) as producer, AsyncResultReader(settings) as reader:
        job = await producer.gift_checkout(GIFT, site="acme-test")
        task = asyncio.create_task(reader.wait(job.id))
        while not subscribed(client):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while subscribed(client):
            await asyncio.sleep(0.01)


def test_reader_closed_at_once_leaves_nothing(settings: Settings, gift: Gift) -> None:
    """A reader that is closed while a wait gives up opens no connection any more."""
    job = gift()
    for _ in range(20):
        reader = ResultReader(settings)
        with pytest.raises(ResultTimeoutError):
            reader.wait(job.id, timeout=0.03)
        reader.close()
    gc.collect()  # an open connection would warn here, and a warning is an error
