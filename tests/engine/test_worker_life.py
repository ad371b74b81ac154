"""The life of worker processes: stopping, dying, waiting for Redis, staying idle, many shards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from rig.command import clean
from rig.processes import Process, descendants
from rig.producing import GIFT
from rig.sandbox import API_KEY, SandboxServer
from rig.server import RedisServer
from rig.stopwatch import Stopwatch
from rig.system import System
from rig.waiting import until

from worker import Producer, Settings
from worker.engine.keys import Keyspace


def start(system: System, *, processes: int = 1, grace_s: float = 5, **env: str) -> Process:
    """Start `largesse worker` and wait until each process listens for jobs."""
    words = ["python", "-m", "worker.cli", "worker", "-p", str(processes), "-t", "16"]
    words += ["--grace", str(grace_s)]
    fleet = system.spawn(words, env=clean({**system.environ, **env}), name="worker")
    with system.redis() as client:
        until(lambda: blocked(client) >= processes, timeout_s=25, what="idle workers")
    return fleet


def blocked(client: redis.Redis) -> int:
    """Connections that wait at a bell."""
    info: Any = client.info("clients")
    return int(info["blocked_clients"])


def is_alive(pid: int) -> bool:
    """True while a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


# -- stopping


def test_sigterm_lets_running_jobs_end(system: System) -> None:
    """Jobs under way at SIGTERM get their grace and end; those in the line stay there."""
    system.admin.set(latency_ms=800)
    fleet = start(system)
    producer = system.producer()
    running = [producer.gift_checkout(GIFT) for _ in range(5)]
    until(lambda: system.admin.counts()["in_flight"] == 5, what="five calls")
    fleet.terminate()
    time.sleep(0.2)  # the signal has to pass through the supervisor
    waiting = producer.gift_checkout(GIFT)
    assert fleet.wait(5) == 0
    assert {job.state() for job in running} == {"succeeded"}
    assert waiting.state() == "queued"
    assert system.admin.counts()["requests"] == 5


def test_sigterm_releases_what_does_not_end_in_time(system: System) -> None:
    """After the grace the rest goes back to the line at once: unsure, and without its lease."""
    system.admin.set(latency_ms=30_000)
    fleet = start(system, grace_s=0.5)
    jobs = [system.producer().gift_checkout(GIFT) for _ in range(3)]
    until(lambda: system.admin.counts()["in_flight"] == 3, what="three calls")
    begun = Stopwatch()
    fleet.terminate()
    assert fleet.wait(5) == 0
    assert begun.own_s < 3
    with system.redis() as client:
        for job in jobs:
            record: Any = client.hgetall(f"{{largesse:0}}:job:{job.id}")
            assert record[b"state"] == b"queued"
            assert b"worker" not in record
            assert b"unsure_since" in record
            assert record[b"deliveries"] == b"0"
        assert client.zcard("{largesse:0}:q:chargebee:leases") == 0
        assert client.hget("{largesse:0}:site:acme-test", "in_flight") == b"0"


def test_second_sigterm_ends_at_once(system: System) -> None:
    """A second SIGTERM does not wait for the grace."""
    system.admin.set(latency_ms=30_000)
    fleet = start(system, grace_s=60)
    job = system.producer().gift_checkout(GIFT)
    until(lambda: system.admin.counts()["in_flight"] == 1, what="the call")
    family = descendants(fleet.pid)
    fleet.terminate()
    time.sleep(0.3)
    assert fleet.running
    begun = Stopwatch()
    fleet.terminate()
    fleet.wait(5)
    assert begun.own_s < 1.2
    assert not any(is_alive(pid) for pid in family)
    assert job.state() in {"queued", "running"}


def test_idle_fleet_stops_at_once(system: System) -> None:
    """With nothing to do the grace is not waited for."""
    fleet = start(system, processes=2, grace_s=25)
    begun = Stopwatch()
    fleet.terminate()
    assert fleet.wait(5) == 0
    assert begun.own_s < 1.5


# -- dying


def test_dead_process_is_replaced_while_the_others_go_on(system: System) -> None:
    """One killed process does not stop its neighbours, and there are two again soon."""
    fleet = start(system, processes=2)
    first, second = descendants(fleet.pid)
    os.kill(first, signal.SIGKILL)
    jobs = [system.producer().gift_checkout(GIFT) for _ in range(5)]
    assert all(job.result(timeout=25).hosted_page for job in jobs)
    family = until(
        lambda: [pid for pid in descendants(fleet.pid) if pid != first and is_alive(pid)][1:],
        what="the new process",
    )
    assert second not in family
    assert is_alive(second)


def test_processes_end_when_their_supervisor_is_killed(system: System) -> None:
    """A supervisor that dies takes its processes along: none works on unseen."""
    fleet = start(system, processes=2)
    family = descendants(fleet.pid)
    assert len(family) == 2
    os.kill(fleet.pid, signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in family), timeout_s=8, what="their end")


def test_wrong_settings_end_the_fleet_without_a_loop(system: System) -> None:
    """A fleet whose settings are wrong ends with 3 at once and says why, once."""
    words = ["python", "-m", "worker.cli", "worker", "-p", "2"]
    env = clean({**system.environ, "LARGESSE_WINDOW_MINUTES": "many"})
    fleet = system.spawn(words, env=env, name="worker")
    assert fleet.wait(10) == 3
    assert "LARGESSE_WINDOW_MINUTES" in fleet.output()
    assert fleet.output().count("LARGESSE_WINDOW_MINUTES") <= 2


# -- Redis


def test_idle_fleet_hardly_asks(system: System) -> None:
    """An idle process makes at most 3 commands a second."""
    processes, seconds = 2, 4.0
    start(system, processes=processes)
    with system.redis() as client:
        before, begun = commands(client), time.monotonic()
        time.sleep(seconds)
        after, took = commands(client), time.monotonic() - begun
    spent = {name: after[name] - before.get(name, 0) for name in after}
    assert sum(spent.values()) / took / processes <= 3, spent


def commands(client: redis.Redis) -> dict[str, int]:
    """Commands that clients sent so far; what only scripts send is no trip of its own."""
    stats: Any = client.info("commandstats")
    sent = {"evalsha", "eval", "blpop", "get", "set", "ping", "subscribe", "publish", "xadd"}
    return {name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in sent}


@pytest.fixture
def own_system(
    redis_server: RedisServer, sandbox_server: SandboxServer, spawn: Any, tmp_path: Any
) -> Iterator[System]:
    """A system on a server of the test's own."""
    folder = tmp_path / "own"
    folder.mkdir()
    made = System(redis_server.url, sandbox_server, spawn, folder)
    yield made
    made.close()


def test_fleet_outlasts_an_outage_quietly(own_system: System, redis_server: RedisServer) -> None:
    """In an outage of Redis a fleet lives on, logs at most 2 lines a second, then resumes."""
    fleet = start(own_system, processes=2)
    family = descendants(fleet.pid)
    job = own_system.producer().gift_checkout(GIFT)
    assert job.result(timeout=25).hosted_page
    before = fleet.output().count("\n")
    redis_server.kill()
    begun = time.monotonic()
    time.sleep(4)
    lines = fleet.output().count("\n") - before
    assert lines <= 2 * 2 * (time.monotonic() - begun), fleet.output()[-2000:]
    redis_server.start()
    back = Stopwatch()
    producer = own_system.producer()
    assert producer.gift_checkout(GIFT).result(timeout=25).hosted_page
    assert back.own_s < 6
    assert descendants(fleet.pid) == family


def test_fleet_started_before_redis_works_once_it_is_there(
    own_system: System, redis_server: RedisServer
) -> None:
    """The order of starting does not matter."""
    redis_server.stop()
    words = ["python", "-m", "worker.cli", "worker", "-p", "1"]
    fleet = own_system.spawn(words, env=clean(own_system.environ), name="worker")
    until(lambda: descendants(fleet.pid), what="the process")
    time.sleep(1)
    redis_server.start()
    job = own_system.producer().gift_checkout(GIFT)
    assert job.result(timeout=25).hosted_page
    assert fleet.running


# -- shards


def test_shards_are_all_served(system: System, redis_url: str, tmp_path: Any) -> None:
    """With four shards the jobs of many sites run, each on its site's shard."""
    names = [f"shop-{number}" for number in range(12)]
    sites = "".join(
        f'[sites.{name}]\napi_key = "env:KEY"\napi_url = "{system.sandbox.url}"\n'
        for name in names
    )
    (tmp_path / "sites.toml").write_text(sites)
    environ = {
        "LARGESSE_REDIS_URL": redis_url,
        "LARGESSE_SITES": str(tmp_path / "sites.toml"),
        "LARGESSE_SHARDS": "4",
        "KEY": API_KEY,
    }
    words = ["python", "-m", "worker.cli", "worker", "-p", "1", "-t", "8"]
    system.spawn(words, env=clean(environ), name="worker")
    keys = Keyspace(shards=4)
    with Producer(Settings.from_env(environ)) as producer, system.redis() as client:
        specs = [{"kind": "gift_checkout", "payload": GIFT, "site": name} for name in names * 3]
        jobs = producer.enqueue_many(specs)
        for job in jobs:
            assert job.result(timeout=20).hosted_page
            shard = keys.shard_of_site(job.site or "")
            assert client.exists(f"{{largesse:{shard}}}:job:{job.id}")
        assert sum(client.xlen(keys.stream(shard)) for shard in range(4)) == len(jobs)
        followed = {result.job_id for result in producer.results.follow("all", timeout=1)}
        assert followed == {job.id for job in jobs}
    assert len({keys.shard_of_site(name) for name in names}) == 4
