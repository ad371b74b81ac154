"""The same job again: sent twice, handed out twice, by many producers, by skewed clocks."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rig.figures import Counts
from rig.fleet import Fleet
from rig.invariants import PREFIX
from rig.processes import ROOT
from rig.producing import GIFT
from rig.waiting import until
from rig.world import World

from worker import Producer
from worker.errors import JobConflictError

SKEW = ROOT / "tests" / "support" / "skew"


def test_repeated_enqueues_make_one_job(world: World, figures: Counts) -> None:
    """T23: every job is sent two to five times, at once and one after the other."""
    n = 2_000 if world.full else 150
    world.api.admin.set(latency_ms=20)
    world.started()
    producer = world.producer()

    def send(number: int) -> list[str]:
        times = 2 + number % 4
        return [
            producer.enqueue("gift_checkout", GIFT, key=f"job-{number}").id for _ in range(times)
        ]

    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(send, [*range(n), *range(n)]))
    assert all(len(set(ids)) == 1 for ids in sent)
    world.log.note_many([{"key": "", "job_id": ids[0]} for ids in sent])
    assert len(world.log.job_ids()) == n
    world.wait(timeout_s=120)
    world.judge(figures, "T23", "sent 4 to 10 times")
    assert world.published() == n


def test_lapsed_leases_under_living_workers_end_once(world: World, figures: Counts) -> None:
    """T23: two workers run the same job at once, again and again: one outcome, one page."""
    n = 400 if world.full else 60
    world.api.admin.set(latency_ms=1_000, concurrent_duplicate="wait")
    fleet = world.started(env=world.env(LARGESSE_MAX_DELIVERIES=100), size=3, concurrency=8)
    world.produce(n)
    leases = "{largesse:0}:q:chargebee:leases"

    def replayed() -> int:
        return sum(one["replayed"] for one in world.api.admin.requests())

    def let_lapse() -> bool:
        for job_id in world.client.zrange(leases, 0, -1):
            world.client.zadd(leases, {job_id: 1}, xx=True)
        return replayed() > n / 20

    until(let_lapse, every_s=0.25, timeout_s=60, what="calls of two workers for one job")
    world.wait(timeout_s=120)
    world.judge(figures, "T23", "two workers, one lease", calls_replayed=replayed())
    assert not fleet.deaths


def test_one_key_from_many_producers_is_one_job(world: World, figures: Counts) -> None:
    """T24: the same keys from many producers at once: one page a key, equal results."""
    producers, keys = (50, 1_000) if world.full else (20, 50)
    world.started()
    start = threading.Barrier(producers)

    def send(number: int) -> list[str]:
        with Producer.from_env(world.env()) as producer:
            start.wait()
            jobs = [
                producer.enqueue("gift_checkout", GIFT, key=f"key-{key}") for key in range(keys)
            ]
            return [job.id for job in jobs]

    with ThreadPoolExecutor(producers) as pool:
        sent = list(pool.map(send, range(producers)))
    assert all(ids == sent[0] for ids in sent)
    world.log.note_many([{"key": "", "job_id": job_id} for job_id in sent[0]])
    world.wait(timeout_s=120)
    assert world.api.admin.counts()["pages"] == keys
    other = {"subscription_items": [{"item_price_id": "other-USD-monthly"}]}
    with pytest.raises(JobConflictError):
        world.producer().enqueue("gift_checkout", other, key="key-1")
    world.judge(figures, "T24", f"{producers} producers", keys=keys)


@pytest.mark.parametrize(
    "skew", ["jumps", *(pytest.param(s, marks=pytest.mark.faults) for s in ("600", "-600"))]
)
def test_skewed_clocks_change_nothing(world: World, figures: Counts, skew: str) -> None:
    """T25: workers whose clocks are ten minutes off, or jump: leases and delays keep time."""
    path = os.pathsep.join((str(SKEW), str(ROOT), str(ROOT / "tests" / "support")))
    skewed = world.env(LARGESSE_TEST_SKEW_S=skew, PYTHONPATH=path)
    world.api.admin.set(latency_ms=int(world.lease_ms * 1.5))
    fleet = world.started(env=skewed, size=1)
    other = world.started(size=1)
    began = time.time()
    world.produce(20, prefix="long")
    world.produce(10, prefix="delayed", options={"delay_s": 2})
    world.produce(10, prefix="late", options={"deadline_s": 600})
    world.wait(timeout_s=60)
    verdict = world.judge(figures, "T25", f"skew {skew}")
    assert verdict.states == {"succeeded": 40}
    assert not fleet.deaths
    assert not other.deaths
    # Long calls outlast the lease: renewed in time, none is handed out a second time.
    requests = world.api.admin.requests()
    assert len(requests) == 40
    delayed = [one["at_ms"] for one in requests if one["at_ms"] > (began + 1.9) * 1000]
    assert len(delayed) >= 10


def _is_there(world: World, fleet: Fleet) -> bool:
    workers = world.client.zrange(f"{PREFIX}workers", 0, -1)
    return bool(fleet.pids() & {int(name.split(":")[1]) for name in workers})


def test_rolling_restart_under_load_loses_nothing(world: World, figures: Counts) -> None:
    """T31: workers of both kinds side by side, replaced one after the other under load."""
    n = 5_000 if world.full else 300
    world.api.admin.set(latency_ms=100)
    fleets = [world.started(size=1, grace_s=5), world.started(size=1, threads=True)]
    world.produce_many(n)
    rounds = 0
    while world.published() < n * 0.9:
        threads = rounds % 2 == 1
        fleets.append(world.fleet(size=1, grace_s=5, threads=threads).start())
        oldest = fleets.pop(0)
        until(lambda fleet=oldest: _is_there(world, fleet), what="the heartbeat of a worker")
        codes = oldest.stop(timeout_s=30)
        assert codes == [0]
        rounds += 1
    world.wait(timeout_s=60)
    world.judge(figures, "T31", "rolling restart, loop and threads", restarts=rounds)
    assert rounds >= 2
