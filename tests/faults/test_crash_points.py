"""T1: a worker or a producer is killed with SIGKILL at each named point of a job's life."""

from __future__ import annotations

import signal
import time

import pytest
from rig.figures import Counts
from rig.processes import Processes
from rig.producing import AcceptedLog
from rig.proxy import ChaosProxy
from rig.waiting import until
from rig.world import World

#: Crash points that every job passes.
ON_THE_WAY = (
    "after_fetch",
    "before_send",
    "after_parse",
    "before_finish",
    "after_finish",
)


def _size(world: World) -> int:
    return 200 if world.full else 40


@pytest.mark.parametrize("point", ON_THE_WAY)
def test_worker_killed_on_the_way_loses_nothing(world: World, figures: Counts, point: str) -> None:
    """T1: what the killed worker held comes back within the lease and 5 s, once."""
    world.api.admin.set(latency_ms=150)
    # Endings travel together: a worker may need one call for all of its own.
    count = 1 if point in ("before_finish", "after_finish") else 3
    fleet = world.started(crash_at=f"{point}:{count}")
    world.produce(_size(world), payloads=("gift", "gift", "gift", "offer"), every_s=0.005)
    death = fleet.wait_death()
    assert death.code == -signal.SIGKILL
    world.wait(timeout_s=60)
    world.judge(figures, "T1", point, fault_at=death.at)


@pytest.mark.parametrize("point", ["in_retry", "while_delayed"])
def test_worker_killed_around_a_retry_loses_nothing(
    world: World, figures: Counts, point: str
) -> None:
    """T1: a retry is either scheduled or the attempt is handed out again."""
    # Never ten in a row: then the site would be tripped, and probed now and then.
    world.api.admin.add_fault("error", status=503, every=3, times=_size(world) // 4)
    fleet = world.started(crash_at=point)
    world.produce(_size(world), every_s=0.005)
    death = fleet.wait_death()
    world.wait(timeout_s=90)
    world.judge(figures, "T1", point, fault_at=death.at)


def test_worker_killed_while_burying_loses_nothing(world: World, figures: Counts) -> None:
    """T1: a job that the API rejects ends as one dead letter."""
    fleet = world.started(crash_at="in_bury")
    # Two workers take turns: of every second job, one of them might never get any.
    world.produce(_size(world), payloads=("gift", "gift", "rejected"), every_s=0.005)
    death = fleet.wait_death()
    world.wait(timeout_s=60)
    rejected = sum(row["payload"] == "rejected" for row in world.log.rows)
    assert int(world.client.zcard("{largesse:0}:dead")) == rejected
    world.judge(figures, "T1", "in_bury", fault_at=death.at, may_fail=True)


def test_worker_killed_while_draining_loses_nothing(world: World, figures: Counts) -> None:
    """T1: what a stopping worker did not give back comes back by its lease."""
    env = world.env(LARGESSE_CRASH_AT="in_drain:1")
    dying = world.fleet(env=env, size=1, grace_s=0.2).start(supervised=False)
    # Of a site that has never answered a worker gives back what it may not call yet: in_drain too.
    world.produce(3, prefix="first")
    world.wait()
    world.api.admin.set(latency_ms=1_500)
    world.produce(_size(world))
    until(lambda: world.api.admin.counts()["in_flight"] >= 5, what="calls in flight")
    dying.members[0].terminate()
    assert dying.members[0].wait(20) == -signal.SIGKILL
    fault_at = time.time()
    world.api.admin.set(latency_ms=30)
    world.fleet().start()
    world.wait(timeout_s=60)
    world.judge(figures, "T1", "in_drain", fault_at=fault_at)


def test_worker_killed_after_the_page_was_made_loses_nothing(
    world: World, figures: Counts
) -> None:
    """T1: the API has made the page and the worker dies before a byte of the answer."""
    n = _size(world)
    world.api.admin.add_fault("stall", at="start", execute=True, times=8)
    fleet = world.started()
    world.produce(n, every_s=0.005)
    until(lambda: world.api.admin.counts()["executed"] == n, timeout_s=30, what="all pages")
    fault_at = fleet.kill(0)
    fleet.kill(1)
    world.wait(timeout_s=90)
    assert world.api.admin.counts()["replayed"] >= 8
    world.judge(figures, "T1", "after_commit_before_reply", fault_at=fault_at)


def test_worker_killed_in_mid_request_loses_nothing(world: World, figures: Counts) -> None:
    """T1: the API has got half of the request when the worker dies."""
    with ChaosProxy(world.api.port) as line:
        fleet = world.started(env=world.env(api_port=line.port))
        world.produce(4)
        world.wait(timeout_s=20)
        line.set(stall_up_after=100)
        # Few enough that the calls of the other worker, cut as well, do not trip the site.
        world.produce(12, prefix="cut", every_s=0.005)
        # On a busy machine the bulkhead has seen the stall before the last of them.
        until(lambda: world.running() >= 8, what="requests under way")
        fault_at = fleet.kill(0)
        line.cut()
        line.heal()
        world.produce(_size(world) - 16, prefix="after", every_s=0.005)
        world.wait(timeout_s=60)
    world.judge(figures, "T1", "mid_request", fault_at=fault_at)


def test_worker_killed_in_mid_reply_loses_nothing(world: World, figures: Counts) -> None:
    """T1: half of the answer has come when the worker dies."""
    n = _size(world)
    world.api.admin.add_fault("drip", bytes=20, every_ms=300, times=n // 2)
    fleet = world.started()
    world.produce(n, every_s=0.005)
    until(lambda: world.api.admin.counts()["executed"] == n, timeout_s=30, what="all pages")
    fault_at = fleet.kill(0)
    world.api.admin.clear_faults()
    world.wait(timeout_s=60)
    world.judge(figures, "T1", "mid_reply", fault_at=fault_at)


@pytest.mark.parametrize("point", ["producer_before_enqueue", "producer_after_enqueue"])
def test_producer_killed_around_an_enqueue_doubles_nothing(
    world: World, figures: Counts, spawn: Processes, point: str
) -> None:
    """T1: a producer that starts again sends the same keys again, and each is one job."""
    n = _size(world)
    words = ["python", "-m", "rig.producing", "--log", str(world.log.path)]
    words += ["--prefix", "order", "--n", str(n)]
    world.started()
    first = spawn(words, env={**world.env(), "LARGESSE_CRASH_AT": f"{point}:{n // 2}"})
    assert first.wait(60) == -signal.SIGKILL
    fault_at = time.time()
    assert spawn(words, env=world.env()).wait(60) == 0
    world.log = AcceptedLog(world.log.path)
    assert len(world.log.job_ids()) == n
    world.wait(timeout_s=60)
    assert world.published() == n
    world.judge(figures, "T1", point, fault_at=fault_at)
