"""One run of one setup: its figures, proven by its pages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.bare_call import bare_ms
from benchmarks.driver import Driver
from benchmarks.fleet import Fleet
from benchmarks.proof import prove
from benchmarks.server import Server
from benchmarks.setups import BUILD, Setup
from benchmarks.stand_in import StandIn

__all__ = ["Shape", "idle", "throughput"]

#: Seconds between two looks at what is published.
LOOK_S: Final = 0.005
#: Seconds without another call after which workers count as warm, and most seconds until then.
SETTLED_S: Final = 1.0
WARM_S: Final = 30.0
#: Seconds without progress after which a run has failed.
STUCK_S: Final = 30.0
#: Fewest calls before the hold.
WARM_UP_MIN: Final = 32
#: Largest number of jobs enqueued one by one.
SINGLES: Final = 500
#: Gap between two jobs of the idle measurement.
GAP_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of a run.

    Attributes:
        latency_ms: of the API.
        processes: worker processes.
        in_flight: calls in flight of each process.
    """

    latency_ms: int
    processes: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class _Started:
    api: StandIn
    driver: Driver
    fleet: Fleet


@dataclass(frozen=True, slots=True)
class _Spent:
    """What had been done and spent at one moment: pages published, CPU seconds by whom."""

    at_s: float
    pages: int
    workers_s: float
    redis_s: float
    api_s: float


def _spent(server: Server, setup: Setup, at: _Started) -> _Spent:
    return _Spent(
        at_s=time.perf_counter(),
        pages=setup.published(server.client),
        workers_s=at.fleet.cpu_s(),
        redis_s=server.cpu_s(),
        api_s=at.api.look()["cpu_s"],
    )


@contextmanager
def _started(
    server: Server, setup: Setup, shape: Shape, *, warm_up: int | None = None
) -> Iterator[_Started]:
    """Empty the server, start the API and the driver, and make the fleet ready to start."""
    server.client.flushall()
    with StandIn(shape.latency_ms, warm_up=warm_up) as api:
        env = setup.env(server.url(0), api.url, shape.in_flight)
        fleet = Fleet(
            setup.command_lines(shape.processes, shape.in_flight),
            env=env,
            log=BUILD / "bench-logs" / f"{setup.module}.log",
        )
        with Driver(setup.python, f"benchmarks.peers.{setup.module}", env) as driver:
            yield _Started(api, driver, fleet)


def throughput(server: Server, setup: Setup, shape: Shape, *, jobs: int) -> dict[str, Any]:
    """Run a queue that is full already until every page is published.

    The API answers a few calls, so that workers are warm and at full concurrency. Then
    it holds its answers until the workers have as many calls in flight as they take. Neither
    their start nor the filling of the queue is measured. The clock runs from there until so
    many more pages are published. As many jobs are in flight at its end as at its start, so what
    began before the clock makes up for what ends after it.

    Args:
        server: Redis.
        setup: which.
        shape: how it is run.
        jobs: how many, those before and after the clock not counted.

    Returns:
        The figures, with the shape.

    Raises:
        WrongPagesError: pages are lost, doubled or mixed up.
        RuntimeError: a worker died, or the run came to a stop.
    """
    at_once = shape.processes * shape.in_flight
    # More than there will be in flight: our workers take one call more for each good answer.
    warm_up = min(jobs, max(WARM_UP_MIN, at_once * 5 // 4))
    with _started(server, setup, shape, warm_up=warm_up) as at:
        singles, total = min(SINGLES, jobs // 4), warm_up + jobs + at_once
        redis_s = server.cpu_s()
        filled = at.driver.fill(total, singles=singles)
        fill_redis_s = server.cpu_s() - redis_s
        with at.fleet as fleet:
            warm = _warm(at, at_once)
            before = _spent(server, setup, at)
            at.api.release()
            _await(server, setup, at, before.pages + jobs)
            after = _spent(server, setup, at)
            fleet.look()
            _await(server, setup, at, total)
        prove(range(1, total + 1), at.api.pages(), at.driver.pages())
    done, wall_s = after.pages - before.pages, after.at_s - before.at_s
    return asdict(shape) | {
        "setup": setup.name,
        "jobs": done,
        "jobs_per_s": done / wall_s,
        "worker_cpu_s_per_1000": (after.workers_s - before.workers_s) / done * 1000,
        "redis_cpu_s_per_1000": (after.redis_s - before.redis_s) / done * 1000,
        "api_cpu_share": (after.api_s - before.api_s) / wall_s,
        "in_flight_seen": warm,
        "peak_mib": fleet.peak_mib,
        "enqueue_one_per_s": singles / filled["one_s"],
        "enqueue_one_ms": sorted(filled["one_ms"])[singles // 2],
        "enqueue_many_per_s": (total - singles) / filled["batch_s"],
        "enqueue_redis_cpu_s_per_1000": fill_redis_s / total * 1000,
    }


def idle(server: Server, setup: Setup, shape: Shape, *, jobs: int) -> dict[str, Any]:
    """Send single jobs to idle workers and take the time to each page, and that of a bare call.

    Args:
        server: Redis.
        setup: which.
        shape: how it is run.
        jobs: how many; the first tenth warms up and is not counted.

    Raises:
        WrongPagesError: pages are lost, doubled or mixed up.
    """
    with _started(server, setup, shape) as at, at.fleet as fleet:
        found = at.driver.idle(jobs, gap_s=GAP_S)
        fleet.check()
        prove(range(1, jobs + 1), at.api.pages(), at.driver.pages())
        api_ms = bare_ms(at.api.url, gap_s=GAP_S)
    ordered = sorted(found[jobs // 10 :])
    return asdict(shape) | {
        "setup": setup.name,
        "jobs": jobs,
        "idle_p50_ms": ordered[len(ordered) // 2],
        "idle_p99_ms": ordered[int(len(ordered) * 0.99)],
        "idle_api_ms": api_ms,
    }


def _warm(at: _Started, wanted: int) -> int:
    """Wait until the workers have all calls in flight that they take; give their number."""
    ends_at = time.monotonic() + WARM_S
    most, since = 0, time.monotonic()
    while time.monotonic() < ends_at:
        at.fleet.check()
        found = at.api.look()["in_flight"]
        if found >= wanted:
            return int(found)
        if found > most:
            most, since = found, time.monotonic()
        elif most and time.monotonic() - since > SETTLED_S:
            return most
        time.sleep(0.02)
    if not most:
        raise RuntimeError(f"no call within {WARM_S} s; see {at.fleet.log}")
    return most


def _await(server: Server, setup: Setup, at: _Started, jobs: int) -> None:
    """Return once so many pages are published."""
    done, since = 0, time.monotonic()
    while done < jobs:
        time.sleep(LOOK_S)
        found = setup.published(server.client)
        if found > done:
            done, since = found, time.monotonic()
        elif time.monotonic() - since > STUCK_S:
            at.fleet.check()
            raise RuntimeError(
                f"{setup.name}: {done} of {jobs} pages, and none for {STUCK_S} s; "
                f"see {at.fleet.log}"
            )
