"""Redis is killed, absent, stalled, full or emptied while jobs run, fail and wait."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable

import pytest
import redis
from rig.figures import Counts
from rig.invariants import PREFIX
from rig.producing import GIFT, produce
from rig.server import RedisServer
from rig.waiting import until
from rig.world import World

from worker.errors import QueueFullError

SEED = 6
#: Log lines a second and process that an outage may cost.
LINES_PER_S = 2


def _produce_on(world: World, n: int, **options: object) -> threading.Thread:
    """Produce in a thread; a fault may hold it up, and it goes on."""
    keys = [f"job-{number}" for number in range(n)]
    producer = world.producer()
    thread = threading.Thread(
        target=produce, args=(producer, world.log, keys), kwargs={"every_s": 0.005, **options}
    )
    thread.start()
    return thread


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_killed_server_keeps_what_it_accepted(world: World, figures: Counts, fsync: str) -> None:
    """T6: SIGKILL and restart of Redis: nothing accepted is lost, workers go on within 5 s."""
    rounds, n = (30, 2_000) if world.full else (3, 240)
    world.server.config_set(appendfsync=fsync)
    world.server.config["appendfsync"] = fsync
    world.api.admin.set(latency_ms=50)
    fleet = world.started()
    rng = random.Random(SEED)
    resumes_s: list[float] = []
    for number in range(rounds):
        keys = [f"round-{number}-{place}" for place in range(n // rounds)]
        thread = threading.Thread(
            target=produce,
            args=(world.producer(), world.log, keys),
            kwargs={"every_s": 0.005, "payloads": ("gift", "gift", "rejected")},
        )
        thread.start()
        time.sleep(rng.uniform(0.1, 0.5))
        world.server.kill()
        time.sleep(rng.uniform(0.1, 0.5))
        world.server.start()
        back_at = time.time()
        until(lambda at=back_at: world.requests_since(at), timeout_s=20, what="the next call")
        resumes_s.append(world.requests_since(back_at)[0]["at_ms"] / 1000 - back_at)
        thread.join(60)
        world.wait(timeout_s=60)
    assert not fleet.deaths
    world.judge(
        figures,
        "T6",
        f"AOF {fsync}",
        may_fail=True,
        rounds=rounds,
        seed=SEED,
        resume_max_s=round(max(resumes_s), 2),
    )
    assert max(resumes_s) <= 5


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "outage_s", [5, *(pytest.param(s, marks=pytest.mark.faults) for s in (8, 40, 300))]
)
def test_absent_server_loses_nothing(world: World, figures: Counts, outage_s: int) -> None:
    """T7: jobs that run, fail and wait while Redis is unreachable end once it is back."""
    world.api.admin.set(latency_ms=1_500)
    fleet = world.started(concurrency=32)
    world.produce(20, prefix="delayed", options={"delay_s": 3})
    world.api.admin.add_fault("error", status=503, every=3, times=10)
    world.produce(30, prefix="running")
    until(lambda: world.api.admin.counts()["in_flight"] >= 20, what="calls in flight")
    world.server.kill()
    time.sleep(outage_s)
    noise = _complaints(fleet.output()) / outage_s / len(fleet.members)
    world.server.start()
    back_at = time.time()
    world.wait(timeout_s=60)
    drained_s = time.time() - back_at
    assert not fleet.deaths
    world.judge(
        figures,
        "T7",
        f"outage {outage_s} s",
        drained_s=round(drained_s, 1),
        log_lines_per_s=round(noise, 2),
    )
    assert noise <= LINES_PER_S


def _complaints(output: str) -> int:
    return sum('"level":"info"' not in line for line in output.splitlines())


def _pause(server: RedisServer, seconds: float) -> None:
    server.pause()
    time.sleep(seconds)
    server.resume()


def _busy(server: RedisServer, seconds: float) -> None:
    server.config_set(busy_reply_threshold=100)
    with server.client(socket_timeout=seconds + 5) as client, server.client() as killer:
        spinner = threading.Thread(target=_spin, args=(client,))
        spinner.start()
        time.sleep(seconds)
        killer.execute_command("SCRIPT KILL")
        spinner.join(10)


def _spin(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="killed"):
        client.eval("while true do end", 0)


@pytest.mark.parametrize(("case", "stall"), [("stalled", _pause), ("BUSY", _busy)])
def test_stalled_server_is_waited_for(
    world: World, figures: Counts, case: str, stall: Callable[[RedisServer, float], None]
) -> None:
    """T10: a server that stalls or is busy is away; calls go on within 5 s after."""
    seconds = 10.0 if world.full else 5.5  # workers wait 5 s for an answer
    world.api.admin.set(latency_ms=100)
    fleet = world.started()
    thread = _produce_on(world, 200)
    until(lambda: len(world.log.rows) >= 20, what="jobs")
    stall(world.server, seconds)
    back_at = time.time()
    until(lambda: world.requests_since(back_at), timeout_s=20, what="the next call")
    resume_s = world.requests_since(back_at)[0]["at_ms"] / 1000 - back_at
    thread.join(60)
    world.wait(timeout_s=60)
    assert not fleet.deaths
    world.judge(figures, "T10", case, stalled_s=seconds, resume_s=round(resume_s, 2))
    assert resume_s <= 5


def _fill(world: World) -> None:
    world.server.config_set(maxmemory=1, maxmemory_policy="noeviction")


def _empty(world: World) -> None:
    world.server.config_set(maxmemory=0)


def _break_disk(world: World) -> None:
    world.server.config_set(save="3600 1", appendonly="no")
    shutil.rmtree(world.server.data_dir)
    world.client.bgsave()
    until(
        lambda: world.client.info("persistence")["rdb_last_bgsave_status"] == "err",
        what="a failed save",
    )


def _mend_disk(world: World) -> None:
    world.server.data_dir.mkdir()
    world.server.config_set(dir=str(world.server.data_dir))
    world.client.bgsave()
    until(
        lambda: world.client.info("persistence")["rdb_last_bgsave_status"] == "ok", what="a save"
    )


@pytest.mark.parametrize(
    ("row", "case", "spoil", "mend"),
    [("T11", "OOM", _fill, _empty), ("T34", "MISCONF", _break_disk, _mend_disk)],
    ids=["OOM", "MISCONF"],
)
def test_full_server_refuses_and_loses_nothing(
    *,
    world: World,
    figures: Counts,
    row: str,
    case: str,
    spoil: Callable[[World], None],
    mend: Callable[[World], None],
) -> None:
    """T11, T34: no memory or no disk: a typed refusal, then all goes on without a restart."""
    n = 2_000 if world.full else 150
    world.api.admin.set(latency_ms=300)
    fleet = world.started(concurrency=8)
    world.api.admin.add_fault("error", status=503, every=3, times=5)
    world.produce(n)
    until(lambda: world.api.admin.counts()["executed"] >= 10, what="jobs under way")
    spoil(world)
    with pytest.raises(QueueFullError):
        world.producer().enqueue("gift_checkout", GIFT, key="refused")
    time.sleep(1)
    mend(world)
    freed_at, published = time.time(), world.published()
    world.produce(1, prefix="after")
    until(lambda: world.published() > published, timeout_s=20, what="the next ending")
    resume_s = time.time() - freed_at
    world.wait(timeout_s=120)
    assert not fleet.deaths
    world.judge(figures, row, case, resume_s=round(resume_s, 2))
    assert resume_s <= 10


def test_flushed_scripts_are_not_noticed(world: World, figures: Counts) -> None:
    """T13: SCRIPT FLUSH again and again in mid-run is not noticed."""
    world.api.admin.set(latency_ms=20)
    fleet = world.started()
    thread = _produce_on(world, 200)
    while thread.is_alive():
        world.client.script_flush()
        time.sleep(0.05)
    world.wait(timeout_s=30)
    world.judge(figures, "T13", "SCRIPT FLUSH")
    assert not fleet.deaths
    assert "NOSCRIPT" not in fleet.output()


def test_emptied_server_is_no_crash_loop(world: World, figures: Counts) -> None:
    """T13: FLUSHALL in mid-run loses what it deletes; workers go on with what comes after."""
    world.api.admin.set(latency_ms=2_000)
    fleet = world.started()
    world.produce(60, prefix="gone")
    until(lambda: world.api.admin.counts()["in_flight"] >= 10, what="calls in flight")
    world.client.flushall()
    flushed_at = time.time()
    world.api.admin.set(latency_ms=50)
    gone = world.log.job_ids()
    world.log.rows.clear()
    world.produce(40, prefix="after")
    world.wait(timeout_s=30)
    until(lambda: world.api.admin.counts()["in_flight"] == 0, what="the end of the old calls")
    time.sleep(0.5)
    kept = [f"{PREFIX}{word}:{job_id}" for job_id in gone for word in ("job", "out")]
    assert world.client.exists(*kept) == 0
    assert not fleet.deaths
    world.judge(figures, "T13", "FLUSHALL", calls_after=len(world.requests_since(flushed_at)))
