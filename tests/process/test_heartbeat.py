"""Worker processes tell that they are there, and how deep the queue is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from rig.processes import descendants, kill_pid
from rig.queue import Queue
from rig.system import System
from rig.waiting import until

from worker import Producer, Settings
from worker.engine.connection import PRODUCER, connect
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.errors import ResultTimeoutError
from worker.metrics.gauge_minutes import read_gauge_minutes, record_depth
from worker.operator import OperatorClient
from worker.operator.worker_state import read_workers
from worker.process import heartbeat
from worker.process.heartbeat import Heartbeat, read_heartbeats

KEYS = Keyspace()
FACTS = {
    "version": "1.2.3", "concurrency": 8, "running": 2, "silence_ms": 40, "ready": True,
    "why": "ready",
}  # fmt: skip
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """An empty database."""
    made = connect(redis_url, PRODUCER)
    yield made
    made.close()


def told(client: redis.Redis, name: str = "host-1:12:cafe", **facts: Any) -> Heartbeat:
    """Let a process tell once."""
    one = Heartbeat(client, KEYS, name, lambda: {**FACTS, **facts})
    one.beat()
    return one


def test_heartbeat_is_read_back(client: redis.Redis) -> None:
    """What a process says of itself arrives whole, with the time of Redis."""
    told(client)
    (seen,) = read_heartbeats(client, KEYS)
    assert (seen.worker, seen.version, seen.concurrency) == ("host-1:12:cafe", "1.2.3", 8)
    assert (seen.running, seen.silence_ms, seen.ready, seen.why) == (2, 40, True, "ready")
    assert 0 <= redis_now_ms(client) - seen.seen_ms < 5_000
    assert 0 <= seen.seen_ms - seen.started_ms < 5_000


def test_heartbeat_ends_with_its_process(client: redis.Redis) -> None:
    """Who takes leave is listed no more, and nothing stays behind."""
    one = told(client)
    told(client, "host-2:7:beef")
    one.leave()
    assert [seen.worker for seen in read_heartbeats(client, KEYS)] == ["host-2:7:beef"]


def test_heartbeat_of_the_lost_goes_by_age(client: redis.Redis) -> None:
    """Every key has an age, and the names of the long lost are swept up by the others."""
    told(client)
    for key in client.keys("*"):  # type: ignore[union-attr]
        assert 0 < client.ttl(key) <= heartbeat.KEEP_S  # type: ignore[operator]
    client.zadd("{largesse:0}:workers", {"old": 1})
    told(client, "host-2:7:beef")
    assert client.zscore("{largesse:0}:workers", "old") is None


def test_heartbeat_keys_are_documented(client: redis.Redis) -> None:
    """docs/redis_keys.md has each key with its type, and each field of the words."""
    text = (DOCS / "redis_keys.md").read_text("utf-8").split("## Keys of watching")[1]
    table = dict(re.findall(r"^\| `([a-z:<>]+)` \| ([a-z ]+) \|", text, re.MULTILINE)[:3])
    told(client)
    Queue(client).add("waits")
    assert record_depth(client, KEYS, redis_now_ms(client))
    seen = {}
    for raw in client.keys("*"):  # type: ignore[union-attr]
        name = re.sub(r":\d+$", ":<minute>", raw.decode().removeprefix("{largesse:0}:"))
        name = re.sub(r"^worker:.*", "worker:<id>", name)
        seen[name] = client.type(raw).decode().replace("zset", "sorted set")  # type: ignore[union-attr]
    assert table.items() <= seen.items()
    assert len(table) == 3
    for field in (*FACTS, "started_ms"):
        assert f"`{field}`" in text


def test_heartbeat_without_redis_is_no_error(free_port: int) -> None:
    """A word that Redis does not take is dropped."""
    away = redis.Redis(port=free_port, retry=None)
    told(away).leave()
    away.close()


def test_worker_states(client: redis.Redis) -> None:
    """Idle, busy, stuck, stopping, lost: told by its word, its age and its leases."""
    queue = Queue(client)
    queue.add("a")
    queue.take("a", worker="busy:1:a:calls")
    told(client, "busy:1:a")
    told(client, "idle:1:a")
    told(client, "stuck:1:a", ready=False, why="nothing heard from Redis for 60 s")
    told(client, "stopping:1:a", ready=False, why="stopping")
    told(client, "lost:1:a")
    now_ms = redis_now_ms(client)
    client.zadd("{largesse:0}:workers", {"lost:1:a": now_ms - 60_000})
    queue.add("b")
    queue.take("b", worker="silent:1:a:calls")
    for one in read_workers(client, KEYS):
        assert one.worker.startswith(one.state(now_ms))
    assert len(read_workers(client, KEYS)) == 6


def test_depth_is_recorded_once_a_minute(client: redis.Redis) -> None:
    """The first of a minute writes it, without zeros, for two hours and a bit."""
    queue = Queue(client)
    queue.configure("acme", cap=5)
    queue.add("a", "b", "c")
    queue.take("a")
    queue.bury(queue.take("b"))
    now_ms = redis_now_ms(client)
    assert record_depth(client, KEYS, now_ms)
    assert not record_depth(client, KEYS, now_ms)
    (depth,) = read_gauge_minutes(client, KEYS, 2)
    assert (depth.total("waiting"), depth.total("waiting", "acme")) == (1, 1)
    assert (depth.total("in_flight", "acme"), depth.total("dead"), depth.total("held")) == (
        1,
        1,
        0,
    )
    assert depth.total("waiting", "globex") == 0
    assert 0 <= depth.total("oldest_ms") < 60_000
    (key,) = client.keys("*gauges:*")  # type: ignore[misc]
    assert 7_000 < client.ttl(key) <= 7_500  # type: ignore[operator]


def test_depths_leave_out_what_was_not_recorded(client: redis.Redis) -> None:
    """Gaps are no zeros, and no question goes beyond two hours."""
    minute = redis_now_ms(client) // 60_000
    for age in (3, 90, 200):
        client.hset(f"{{largesse:0}}:gauges:{minute - age}", "acme|waiting", age)
    assert [one.total("waiting") for one in read_gauge_minutes(client, KEYS, 60)] == [3]
    assert [one.total("waiting") for one in read_gauge_minutes(client, KEYS, 500)] == [90, 3]


def test_fleet_is_listed_while_it_is_idle(system: System) -> None:
    """Processes that hold nothing are there; one that is killed is lost; the end takes leave."""
    fleet = system.worker(processes=2)
    with system.redis() as client:
        until(lambda: len(read_heartbeats(client, KEYS)) == 2, timeout_s=20)
        now_ms = redis_now_ms(client)
        found = read_workers(client, KEYS)
        assert {one.state(now_ms) for one in found} == {"idle"}
        pids = {int(one.worker.split(":")[1]) for one in found}
        assert pids == set(descendants(fleet.pid))
        assert read_gauge_minutes(client, KEYS, 2)
        assert fleet.output().count('"processes":2') == 2
        fleet.terminate()
        assert fleet.wait() == 0
        assert read_heartbeats(client, KEYS) == []


def test_killed_worker_stays_as_lost(system: System) -> None:
    """Nobody takes leave for one that was killed: its last word stays, and grows old."""
    fleet = system.worker(processes=1)
    with system.redis() as client:
        until(lambda: len(read_heartbeats(client, KEYS)) == 1, timeout_s=20)
        (before,) = read_heartbeats(client, KEYS)
        (pid,) = descendants(fleet.pid)
        kill_pid(pid)
        until(lambda: len(read_heartbeats(client, KEYS)) == 2, timeout_s=20)
        (lost,) = [one for one in read_heartbeats(client, KEYS) if one.worker == before.worker]
        assert lost.worker.split(":")[1] == str(pid)
        assert not lost.is_lost(lost.seen_ms + 20_000)
        assert lost.is_lost(lost.seen_ms + 20_001)


def test_heartbeat_is_by_the_clock_of_the_queue(client: redis.Redis, redis_url: str) -> None:
    """After a step back of Redis time a living worker is not taken for lost."""
    ahead_ms = 600_000
    at = redis_now_ms(client)
    clock = {"at": at + ahead_ms, "ahead": ahead_ms, "stepped_at": at}
    client.hset(f"{KEYS.prefix(0)}time", mapping=clock)
    told(client, running=0)
    with Producer(Settings(redis_url=redis_url)) as producer:
        job = producer.gift_checkout({}, site="acme-test")
        with pytest.raises(ResultTimeoutError) as caught:
            job.result(timeout=0.05)
    assert caught.value.reason == "no living worker has a key for site acme-test"
    with OperatorClient(Settings(redis_url=redis_url)) as operator:
        (worker,) = operator.workers()
        assert worker.state(operator.now_ms()) == "idle"
        assert ahead_ms - 5_000 < operator.now_ms() - redis_now_ms(client) <= ahead_ms
