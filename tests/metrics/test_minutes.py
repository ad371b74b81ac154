"""The minutes in Redis: written by several processes, read as points, bounded in age."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from worker.engine.connection import PRODUCER, connect
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.errors import BrokerUnavailableError
from worker.metrics import flusher, minutes
from worker.metrics.counts import BOUNDS_S, Counts
from worker.metrics.flusher import Flusher
from worker.metrics.minutes import Point, merge, minute_key, read_minutes

DOCS = Path(__file__).parents[2] / "docs"
KEYS = Keyspace("largesse", 3)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """An empty database."""
    made = connect(redis_url, PRODUCER)
    yield made
    made.close()


def counts() -> Counts:
    """Counts of two sites and two kinds."""
    return Counts(sites=["acme", "beta"], kinds=["gift_checkout", "personalized_offer"])


def work(counted: Counts, site: str = "acme", *, jobs: int = 1, ms: int = 40) -> None:
    """Count jobs that were throttled once and then succeeded."""
    for _ in range(jobs):
        counted.attempted(site, "gift_checkout", "snoozed")
        counted.called(
            site, "gift_checkout", outcome="throttled", code="api_request_limit_exceeded",
            replayed=False, duration_ms=ms,
        )  # fmt: skip
        counted.attempted(site, "gift_checkout", "succeeded")
        counted.called(
            site, "gift_checkout", outcome="succeeded", code=None, replayed=True, duration_ms=ms
        )
        counted.ended(
            site, "gift_checkout", outcome="succeeded", error_class="", duration_ms=10 * ms
        )


def test_series_add_up_over_processes_and_flushes(client: redis.Redis) -> None:
    """Two processes, one of which flushes twice, make one point with all of it."""
    one, two = counts(), counts()
    first, second = Flusher(client, KEYS, one), Flusher(client, KEYS, two)
    work(one, jobs=2)
    work(two)
    first.flush()
    second.flush()
    work(one)
    first.flush()
    first.flush()
    found = merge(read_minutes(client, KEYS))
    assert found is not None
    assert (found.site, found.kind, found.outcomes) == ("acme", "gift_checkout", {"succeeded": 4})
    assert (found.jobs, found.attempts, found.retries) == (4, 8, 4)
    assert (found.calls, found.throttled, found.replayed) == (8, 4, 4)
    assert found.api.count == 8
    assert found.api.sum_s == pytest.approx(0.32)
    assert found.api.buckets[BOUNDS_S.index(0.05)] == 8
    assert found.total_latency.count == 4
    assert found.total_latency.quantile_s(0.5) == pytest.approx(0.4)


def test_series_keep_sites_apart(client: redis.Redis) -> None:
    """A point for each site and minute, oldest first, each on its own shard."""
    counted = counts()
    work(counted)
    work(counted, "beta", jobs=3)
    Flusher(client, KEYS, counted).flush()
    points = read_minutes(client, KEYS, minutes=1) or read_minutes(client, KEYS, minutes=2)
    assert [(one.site, one.jobs) for one in points] == [("acme", 1), ("beta", 3)]
    assert KEYS.shard_of_site("acme") != KEYS.shard_of_site("beta")
    total = merge(points)
    assert total is not None
    assert (total.site, total.kind, total.jobs) == ("*", "gift_checkout", 4)


def test_series_minutes_are_of_redis_time(client: redis.Redis) -> None:
    """A machine whose clock is a day behind writes into the same minute as all others."""
    counted = counts()
    work(counted)
    before = redis_now_ms(client) // 60_000
    Flusher(client, KEYS, counted, clock=lambda: 1_000_000.0).flush()
    (point,) = read_minutes(client, KEYS, minutes=2)
    assert point.minute_ms // 60_000 in {before, before + 1}


def test_series_read_only_the_minutes_asked_for(client: redis.Redis) -> None:
    """An older minute comes with a wider question, and never beyond two hours."""
    now = redis_now_ms(client) // 60_000
    for age in (5, 100, 150):
        client.hset(minute_key(KEYS, 0, now - age), "acme|gift_checkout|jobs:failed", age)
    assert read_minutes(client, KEYS, minutes=3) == []
    assert [one.jobs for one in read_minutes(client, KEYS, minutes=60)] == [5]
    assert [one.jobs for one in read_minutes(client, KEYS, minutes=10_000)] == [100, 5]


def test_series_of_nothing(client: redis.Redis) -> None:
    """A quiet process writes no key, and nothing is no point."""
    Flusher(client, KEYS, counts()).flush()
    assert client.dbsize() == 0
    assert merge(read_minutes(client, KEYS)) is None


def test_series_are_bounded_and_mortal(client: redis.Redis) -> None:
    """A key of its documented name and type, few fields, an age of two hours and a bit."""
    counted = counts()
    work(counted)
    Flusher(client, KEYS, counted).flush()
    (key,) = client.keys("*")  # type: ignore[misc]
    name, kind = re.findall(
        r"^\| `(counts:<minute>)` \| (\w+) \|",
        (DOCS / "redis_keys.md").read_text("utf-8"),
        re.MULTILINE,
    )[0]
    assert re.fullmatch(r"\{largesse:\d\}:" + name.replace("<minute>", r"\d+"), key.decode())
    assert client.type(key).decode() == kind  # type: ignore[union-attr]
    assert 7_200 <= client.ttl(key) <= flusher.KEEP_S  # type: ignore[operator]
    assert client.hlen(key) < 20  # type: ignore[operator]


def test_series_fields_are_documented(client: redis.Redis) -> None:
    """docs/metrics.md lists each name of a minute, and no other."""
    counted = counts()
    work(counted)
    Flusher(client, KEYS, counted).flush()
    (key,) = client.keys("*")  # type: ignore[misc]
    names = {raw.decode().split("|")[2] for raw in client.hkeys(key)}  # type: ignore[union-attr]
    shapes = {
        re.sub(
            r"^(api|total_latency):\d+$",
            r"\1:<bucket>",
            re.sub(r"^jobs:.*", "jobs:<outcome>", name),
        )
        for name in names
    }
    section = (DOCS / "metrics.md").read_text("utf-8").split("## The last two hours")[1]
    assert shapes == set(re.findall(r"^\| `([a-z_:<>]+)` \|", section, re.MULTILINE))


def test_flush_that_redis_does_not_take_loses_figures_alone(
    free_port: int,
) -> None:
    """In an outage of Redis the counts of these seconds are lost, and counted as lost."""
    client = connect(f"redis://127.0.0.1:{free_port}/0", PRODUCER)
    counted = counts()
    flushing = Flusher(client, KEYS, counted)
    work(counted)
    flushing.flush()
    assert counted.snapshot().counts["minute_flushes_lost_total",] == 1
    assert counted.snapshot().counts["jobs_total", "acme", "gift_checkout", "succeeded", ""] == 1
    with pytest.raises(BrokerUnavailableError):
        read_minutes(client, KEYS)
    client.close()


def test_flusher_flushes_at_its_end(client: redis.Redis) -> None:
    """What was counted since the last time is not lost with an orderly end."""
    counted = counts()
    flushing = Flusher(client, KEYS, counted)
    flushing.start()
    work(counted)
    flushing.stop()
    assert [one.jobs for one in read_minutes(client, KEYS)] == [1]


@pytest.mark.parametrize(("second", "pause_s"), [(0, 5.0), (54, 5.0), (58, 1.8), (59.9, 0.1)])
def test_flusher_wakes_before_a_minute_ends(
    client: redis.Redis, second: float, pause_s: float
) -> None:
    """So that figures land in the minute in which they were counted."""
    flushing = Flusher(client, KEYS, counts(), clock=lambda: 6_000_000 + second)
    assert flushing._pause_s() == pytest.approx(pause_s)


def test_points_add_up() -> None:
    """Sums keep the earliest minute and mark what they mix."""
    one = Point(minute_ms=60_000, site="a", kind="k", outcomes={"failed": 1}, attempts=2)
    two = Point(minute_ms=120_000, site="b", kind="k", outcomes={"failed": 2, "held": 1})
    total = one + two
    assert (total.minute_ms, total.site, total.kind) == (60_000, "*", "k")
    assert total.outcomes == {"failed": 3, "held": 1}
    assert minutes.merge([]) is None
