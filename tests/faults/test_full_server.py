"""Redis has no memory or no disk left for a while: jobs that end or fail meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.figures import Counts
from rig.namespaces import missing
from rig.producing import GIFT, produce
from rig.sandbox import SandboxServer
from rig.server import RedisServer
from rig.small_disk import fill, small_disk
from rig.stage import Stage
from rig.waiting import until
from rig.world import World

from worker.errors import BrokerError, BrokerUnavailableError, QueueFullError


def test_job_that_ends_on_a_full_server_runs_once(
    stage: Stage, redis_server: RedisServer, figures: Counts
) -> None:
    """D6: a stock acknowledgement that was refused is not repeated, so the job runs again."""
    options = {"heartbeat_ms": 1_000, "maintenance": 1_000_000, "lease_ms": 2_000}
    worker = stage.worker(**options)
    stage.send("fine", "wait")
    stage.send("failing", "wait+fail")
    stage.wait_runs(["fine", "failing"])
    redis_server.config_set(maxmemory=1, maxmemory_policy="noeviction")
    stage.go()
    stage.wait_ended(["fine"])
    until(lambda: "unhandled exception" in worker.output(), what="the failure")
    time.sleep(2)
    redis_server.config_set(maxmemory=0)
    freed = time.monotonic()
    if stage.kind == "stock":
        time.sleep(6)  # longer than the 5 s between two attempts to acknowledge
        assert stage.open_messages() == 2
        assert (stage.runs("fine"), stage.runs("failing"), stage.dead_letters()) == (1, 1, 0)
        worker.end(grace_s=0)
        stage.worker(**options)
        until(lambda: stage.runs("fine") == 2, timeout_s=20, what="the second run")
        figures.note("D6", stage.kind, stuck_until_restart=2, runs_of_a_job_that_succeeded=2)
        return
    until(lambda: stage.open_messages() == 0, what="the endings")
    took_s = time.monotonic() - freed
    assert took_s < 10
    assert (stage.runs("fine"), stage.runs("failing")) == (1, 2)
    figures.note(
        "D6",
        stage.kind,
        stuck_until_restart=0,
        runs_of_a_job_that_succeeded=1,
        settled_s=round(took_s, 2),
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    if reason := missing("mount"):
        pytest.skip(f"{reason}: the forms of T34 with a full disk need it")
    with small_disk(tmp_path / "disk", mib=64) as folder:
        yield folder


@pytest.fixture
def on_disk(
    disk: Path, tmp_path: Path, sandbox_server: SandboxServer, full: bool
) -> Iterator[World]:
    """A world whose server keeps its append-only file on that disk."""
    server = RedisServer(disk / "redis", config={"appendonly": "yes"})
    made = World(tmp_path / "world", server.start(), sandbox_server, full=full)
    yield made
    made.close()
    server.stop()


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_full_disk_refuses_and_loses_nothing(
    on_disk: World, disk: Path, figures: Counts, fsync: str
) -> None:
    """T34: no room for the append-only file: a typed refusal, and no worker is started anew.

    With `always` a server that cannot write ends itself, and whoever watches it starts it again.
    """
    world = on_disk
    n = 1_000 if world.full else 100
    world.server.config["appendfsync"] = fsync
    world.server.config_set(appendfsync=fsync)
    world.api.admin.set(latency_ms=300)
    fleet = world.started(concurrency=8)
    world.produce(n // 2, prefix="before")
    until(lambda: world.api.admin.counts()["executed"] >= 10, what="jobs under way")
    filler = fill(disk)
    refused = until(lambda: _refusal(world), timeout_s=20, what="a refusal")
    assert isinstance(refused, QueueFullError if fsync == "everysec" else BrokerUnavailableError)
    keys = [f"during-{number}" for number in range(n // 2)]
    producing = threading.Thread(target=produce, args=(world.producer(), world.log, keys))
    producing.start()
    time.sleep(1)
    filler.unlink()
    if fsync == "always":
        assert not world.server.running
        world.server.start()
    freed_at = time.time()
    until(lambda: world.requests_since(freed_at), timeout_s=20, what="the next call")
    resume_s = world.requests_since(freed_at)[0]["at_ms"] / 1000 - freed_at
    producing.join(60)
    world.wait(timeout_s=120)
    assert not fleet.deaths
    world.judge(
        figures,
        "T34",
        f"AOF {fsync}, disk full",
        resume_s=round(resume_s, 2),
        refused_with=type(refused).__name__,
    )
    assert resume_s <= 10


def _refusal(world: World) -> BrokerError | None:
    """Enqueue under a key of its own until the queue refuses; what was taken is noted."""
    key = f"probe-{len(world.log.rows)}"
    try:
        job = world.producer().enqueue("gift_checkout", GIFT, key=key)
    except BrokerError as error:
        return error
    world.log.note(key=key, job_id=job.id)
    return None
