"""A wait without an outcome says where the job is and what it waits for."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from rig.producing import GIFT

from worker import AsyncProducer, Producer, Settings
from worker.errors import ResultTimeoutError

Gift = Callable[..., Any]
SITE = "{largesse:0}:site:acme-test"


@pytest.fixture
def alive(client: redis.Redis) -> None:
    """A worker process that was heard just now."""
    client.zadd("{largesse:0}:workers", {"w": time.time() * 1000})


def _timed_out(job: Any) -> ResultTimeoutError:
    with pytest.raises(ResultTimeoutError) as caught:
        job.result(timeout=0.05)
    error = caught.value
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    return error


def test_time_out_says_that_no_worker_is_alive(gift: Gift) -> None:
    """State, place in the line and the reason."""
    gift()
    error = _timed_out(gift())
    assert (error.state, error.place, error.reason) == ("queued", 1, "no worker is alive")
    assert "No worker is alive. The job goes on" in str(error)


@pytest.mark.usefixtures("alive")
def test_time_out_says_what_holds_the_site_back(
    producer: Producer, gift: Gift, client: redis.Redis
) -> None:
    """The rate, a throttled site, a tripped one, and one that a person paused."""
    gift()
    job = gift()
    assert _timed_out(job).reason == "no living worker has a key for site acme-test"
    said = f"{time.time() * 1000:.0f} w"
    client.hset("{largesse:0}:config:acme-test", "key 1f0c2a9e", said)
    assert _timed_out(job).reason == ""
    client.hset(SITE, "interval_ms", 6000)
    assert _timed_out(job).reason == "1 job is before it, at 10 a minute"
    client.hset(SITE, "throttled_until", time.time() * 1000 + 30_000)
    assert _timed_out(job).reason.startswith("the API throttles site acme-test for ")
    client.hset(SITE, mapping={"tripped": "failing", "probe_at": time.time() * 1000 + 15_000})
    assert "site acme-test is tripped (failing): next probe in" in _timed_out(job).reason
    client.hset(SITE, "paused", "price change")
    assert "site acme-test is paused by a person (price change)" in _timed_out(job).reason


@pytest.mark.usefixtures("alive")
def test_time_out_says_since_when_a_job_runs_or_when_it_is_due(gift: Gift, hand: Any) -> None:
    """A running job and a delayed one."""
    running = gift()
    hand.fetch()
    assert _timed_out(running).reason == "running for 0 s"
    delayed = _timed_out(gift(delay_s=60))
    assert (delayed.state, delayed.place) == ("delayed", None)
    assert delayed.reason.startswith("due in ")


def test_async_time_out_says_it_too(settings: Settings) -> None:
    """The same for asyncio."""

    async def ask() -> str:
        async with AsyncProducer(settings) as producer:
            job = await producer.gift_checkout(GIFT, site="acme-test")
            with pytest.raises(ResultTimeoutError) as caught:
                await job.result(timeout=0.05)
            return caught.value.reason

    assert asyncio.run(ask()) == "no worker is alive"
