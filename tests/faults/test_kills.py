"""Workers are killed at random, all at once, asked to stop, or frozen."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rig.figures import Counts, percentile
from rig.processes import Processes, descendants, kill_pid
from rig.stopwatch import Stopwatch
from rig.waiting import until
from rig.world import World

SEED = 20


@contextmanager
def _storm(supervisor: int, *, pause_s: tuple[float, float], seed: int) -> Iterator[list[int]]:
    """SIGKILL one child of a supervisor after the other, chosen at random; gives the pids."""
    rng = random.Random(seed)
    killed: list[int] = []
    over = threading.Event()

    def kill_on() -> None:
        while not over.wait(rng.uniform(*pause_s)):
            if children := descendants(supervisor):
                killed.append(rng.choice(children))
                kill_pid(killed[-1])

    thread = threading.Thread(target=kill_on)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("call_ms", [100, pytest.param(400, marks=pytest.mark.faults)])
def test_storm_of_kills_loses_nothing(
    world: World, figures: Counts, spawn: Processes, call_ms: int
) -> None:
    """T2: `largesse worker` under random SIGKILLs; at least 60 % of the undisturbed throughput."""
    n, size = (20_000, 4) if world.full else (800, 3)
    pause_s = (0.5, 3.0) if world.full else (2.0, 4.0)
    world.api.admin.set(latency_ms=call_ms)
    words = ["python", "-m", "worker.cli", "worker", "-p", str(size), "--concurrency", "16"]
    worker = spawn(words, env=world.env())
    calm = n // 4
    began = time.monotonic()
    world.produce_many(calm, prefix="calm")
    world.wait(timeout_s=600)
    calm_rate = calm / (time.monotonic() - began)
    world.produce_many(n)
    began = time.monotonic()
    with _storm(worker.pid, pause_s=pause_s, seed=SEED) as killed:
        until(lambda: world.published() >= calm + n * 0.98, timeout_s=1200, what="the storm")
        rate = n * 0.98 / (time.monotonic() - began)
    world.wait(timeout_s=120)
    share = rate / calm_rate
    assert worker.running
    # A job whose worker was killed time after time by chance passes for poison: it ends as failed,
    # with its reason, and is not lost. Workers die anyway here, so that takes six deaths.
    buried = world.verdict().states.get("failed", 0)
    world.judge(
        figures,
        "T2",
        "storm" if call_ms == 100 else f"storm, calls of {call_ms} ms",
        kills=len(killed),
        seed=SEED,
        throughput_share=round(share, 2),
        buried_as_poison=buried,
        may_fail=True,
    )
    assert buried <= n * (0.0001 if world.full else 0.01)
    assert share >= (0.6 if world.full else 0.2)


def test_cold_start_after_all_workers_were_killed(world: World, figures: Counts) -> None:
    """T3: with a backlog the first job starts within 2 s, what was in hand within its lease."""
    n = 10_000 if world.full else 400
    world.api.admin.set(latency_ms=300)
    fleet = world.started(concurrency=32)
    world.produce_many(n)
    until(lambda: world.published() >= 40, what="jobs under way")
    fault_at = fleet.kill_all()
    until(lambda: world.api.admin.counts()["in_flight"] == 0, what="the end of the calls")
    world.api.admin.set(latency_ms=20)
    started_at = time.time()
    world.fleet(concurrency=32).start()
    until(lambda: world.requests_since(started_at), what="the first job")
    first_ms = world.requests_since(started_at)[0]["at_ms"] - started_at * 1000
    world.wait(timeout_s=300)
    world.judge(figures, "T3", "cold start", first_job_ms=round(first_ms))
    verdict = world.verdict(fault_at=fault_at)
    # Beside other test programs the interpreter alone may take as long to start.
    assert first_ms <= (2_000 if world.full else 10_000)
    assert len(verdict.recoveries_ms) > 0


def test_stopping_under_load_gives_back_at_once(world: World, figures: Counts) -> None:
    """T4: SIGTERM with calls in flight: exit 0 within the grace, the rest starts again at once."""
    rounds, grace_s = (50, 25.0) if world.full else (2, 1.5)
    n = 200 if world.full else 40
    world.api.admin.add_fault("latency", min_ms=500, max_ms=3_000, seed=SEED)
    waits_ms: list[float] = []
    exits_s: list[float] = []
    fleet = world.started(concurrency=n, grace_s=grace_s, size=1)
    for number in range(rounds):
        world.produce(n, prefix=f"round-{number}")
        until(lambda: world.api.admin.counts()["in_flight"] >= n // 2, what="calls in flight")
        following = world.started(concurrency=n, grace_s=grace_s, size=1)
        stopped_at = time.time()
        codes = fleet.stop(timeout_s=grace_s + 5)
        exits_s.append(time.time() - stopped_at)
        assert codes == [0]
        left_at = time.time()
        waits_ms += [
            one["at_ms"] - left_at * 1000
            for one in world.requests_since(left_at - 0.2)
            if one["replayed"] or not one["executed"]
        ]
        fleet = following
        world.fleets = [fleet]
    world.api.admin.clear_faults()
    world.wait(timeout_s=120)
    worst_ms = max(0.0, percentile(waits_ms, 0.99)) if waits_ms else 0.0
    world.judge(
        figures,
        "T4",
        "stop under load",
        rounds=rounds,
        exit_max_s=round(max(exits_s), 2),
        restart_p99_ms=round(worst_ms),
    )
    assert max(exits_s) <= grace_s + 1.5
    assert worst_ms <= 2_000


def test_second_stop_ends_at_once(world: World, figures: Counts) -> None:
    """T4: a second SIGTERM ends the worker within a second; its jobs are not lost."""
    fleet = world.started(size=1)
    world.produce(3, prefix="first")  # a site that has answered may use all slots
    world.wait()
    world.api.admin.set(latency_ms=3_000)
    world.produce(10)
    until(lambda: world.api.admin.counts()["in_flight"] >= 5, what="calls in flight")
    worker = fleet.members[0]
    fleet.supervise_no_more()
    worker.terminate()
    time.sleep(0.3)
    worker.terminate()
    watch = Stopwatch()
    worker.wait(20)
    took_s = watch.own_s
    world.api.admin.set(latency_ms=10)
    world.fleet().start()
    world.wait(timeout_s=30)
    world.judge(figures, "T4", "second SIGTERM", exit_s=round(took_s, 2))
    assert took_s <= 1


def test_frozen_worker_publishes_nothing_twice(world: World, figures: Counts) -> None:
    """T5: a worker frozen past its lease wakes up as a zombie; its endings are refused."""
    rounds, together = (10, 5) if world.full else (1, 1)
    frozen_s = 90.0 if world.full else world.lease_ms / 1000 + 1.5
    world.api.admin.set(latency_ms=400)
    fleet = world.started(concurrency=16, size=together + 1)
    for number in range(rounds):
        world.produce(20 * together, prefix=f"round-{number}", every_s=0.01)
        for member in fleet.members[:together]:
            member.pause()
        time.sleep(frozen_s)
        for member in fleet.members[:together]:
            member.resume()
        world.wait(timeout_s=60)
    time.sleep(1)  # the zombies' own endings arrive
    world.judge(figures, "T5", "frozen", frozen=rounds * together, frozen_s=frozen_s)
    refused = fleet.output().count("lease")
    assert refused > 0
    assert not fleet.deaths
