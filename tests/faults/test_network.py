"""The network between the parts is cut, slow or lossy."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from rig.figures import Counts
from rig.producing import GIFT
from rig.proxy import ChaosProxy
from rig.stopwatch import Stopwatch
from rig.world import World

from worker.errors import BrokerUnavailableError

SEED = 9


@pytest.fixture
def api_line(world: World) -> Iterator[ChaosProxy]:
    """A proxy between workers and the API."""
    with ChaosProxy(world.api.port, seed=SEED) as line:
        yield line


@pytest.mark.parametrize(
    "way",
    [
        *("refuse", "stall_down", "drop_down", "slow"),
        *(pytest.param(w, marks=pytest.mark.faults) for w in ("stall_up", "drop_up")),
    ],
)
def test_producer_cut_off_fails_fast(
    world: World, proxy: ChaosProxy, figures: Counts, way: str
) -> None:
    """T9: a producer that Redis does not hear, or that hears nothing, is told within a second."""
    producer = world.producer(redis_port=proxy.port)
    job = producer.enqueue("gift_checkout", GIFT, key="before")
    world.log.note(key="before", job_id=job.id)
    if way == "slow":  # each wait is within its bound, all together are not
        proxy.set(latency_ms=400)
    else:
        proxy.set(**{way: True})
    if way in ("refuse", "slow"):
        proxy.cut()
    watch = Stopwatch()
    with pytest.raises(BrokerUnavailableError):
        producer.enqueue("gift_checkout", GIFT, key="during")
    took_s = watch.own_s
    proxy.heal()
    again = producer.enqueue("gift_checkout", GIFT, key="during")
    world.log.note(key="during", job_id=again.id)
    world.started(size=1)
    world.wait(timeout_s=30)
    world.judge(figures, "T9", f"producer, {way}", raised_after_s=round(took_s, 2))
    assert world.published() == 2
    assert took_s <= 1.1


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "way",
    [
        *("stall_down", "lossy"),
        *(
            pytest.param(w, marks=pytest.mark.faults)
            for w in ("stall_up", "drop_down", "half_open")
        ),
    ],
)
def test_workers_cut_off_from_redis_lose_nothing(
    world: World, proxy: ChaosProxy, figures: Counts, way: str
) -> None:
    """T9: a partition between workers and Redis, each way, or a bad line."""
    # Nothing comes for longer than a worker waits for an answer, 5 s.
    seconds = 300.0 if world.full else 3.0 if way == "lossy" else 6.0
    world.api.admin.set(latency_ms=100)
    fleet = world.started(env=world.env(redis_port=proxy.port))
    world.produce(60, prefix="before", every_s=0.005)
    if way == "lossy":
        proxy.set(latency_ms=20, jitter_ms=500, loss=0.3)
    elif way == "half_open":
        proxy.half_open()
    else:
        proxy.set(**{way: True})
    world.produce(60, prefix="during", every_s=0.01)
    time.sleep(seconds)
    proxy.heal()
    world.wait(timeout_s=60)
    assert not fleet.deaths
    world.judge(figures, "T9", f"workers, {way}", seconds=seconds, seed=SEED)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "way",
    [
        "lossy",
        *(
            pytest.param(w, marks=pytest.mark.faults)
            for w in ("refuse", "stall_down", "drop_down")
        ),
    ],
)
def test_workers_cut_off_from_the_api_lose_nothing(
    world: World, api_line: ChaosProxy, figures: Counts, way: str
) -> None:
    """T9: a partition between workers and the API: retried with the same key, one page a job."""
    seconds = 300.0 if world.full else 4.0
    n = 60
    env = world.env(api_port=api_line.port, LARGESSE_ATTEMPT_TIMEOUT_S=2)
    fleet = world.started(env=env)
    world.produce(n // 2, prefix="before", every_s=0.005)
    if way == "lossy":
        api_line.set(jitter_ms=500, loss=0.3)
    else:
        api_line.set(**{way: True})
        api_line.cut()
    world.produce(n // 2, prefix="during", every_s=0.005)
    time.sleep(seconds)
    api_line.heal()
    api_line.cut()
    world.wait(timeout_s=120)
    assert not fleet.deaths
    replayed = world.api.admin.counts()["replayed"]
    world.judge(figures, "T9", f"API, {way}", seconds=seconds, seed=SEED, replayed=replayed)
