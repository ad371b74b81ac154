"""T39: the clock of Redis steps while jobs run: none waits for it, and none is run twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.figures import Counts
from rig.proxy import ChaosProxy
from rig.sandbox import SandboxServer
from rig.server import RedisServer
from rig.stepping import LIBRARY, SteppingClock
from rig.stopwatch import Stopwatch
from rig.tenants import Tenants
from rig.waiting import until
from rig.world import World

pytestmark = pytest.mark.skipif(
    LIBRARY is None, reason="libfaketime is missing: apt-get install faketime"
)

#: Calls a minute of the site, and jobs: at this rate they take twelve seconds.
RATE, JOBS = 600, 120
#: Seconds beyond these until all are answered. A step of ten minutes stalled the site for as long.
SPARE_S = 30


@pytest.fixture
def clock(tmp_path: Path) -> SteppingClock:
    """The clock of the server."""
    return SteppingClock(tmp_path / "clock")


@pytest.fixture
def stepping(
    tmp_path: Path, clock: SteppingClock, sandbox_server: SandboxServer, full: bool
) -> Iterator[World]:
    """A world whose server has a clock of its own."""
    server = RedisServer(tmp_path / "data", config={"appendonly": "yes"}, env=clock.env).start()
    made = World(tmp_path / "world", server, sandbox_server, full=full)
    try:
        yield made
    finally:
        made.close()
        server.stop()


def _rated(world: World, **options: str) -> Tenants:
    tenants = Tenants(world, {"shop": {"rate_per_minute": RATE}})
    world.started(env={**tenants.env(), "LARGESSE_LEASE_MS": "15000", **options}, concurrency=16)
    return tenants


@pytest.mark.timeout(180)
@pytest.mark.parametrize("step_s", [-600, 600])
def test_step_of_the_clock_delays_no_job(
    stepping: World, clock: SteppingClock, figures: Counts, step_s: int
) -> None:
    """T39: ten minutes back or forward in mid-run: the rate goes on, and no lease is lost."""
    world = stepping
    tenants = _rated(world)
    world.api.admin.set(latency_ms=3_000)  # so that jobs are under way in the moment of the step
    tenants.produce("shop", JOBS)
    until(lambda: world.running() >= 10, what="jobs under way")
    world.api.admin.set(latency_ms=200)
    clock.step(step_s)
    watch = Stopwatch()
    world.wait(timeout_s=JOBS * 60 / RATE + SPARE_S)
    took_s = watch.own_s
    calls = world.api.admin.requests()
    logged = world.fleets[0].output().count('"broker.clock_stepped"')
    world.judge(
        figures, "T39", f"clock steps by {step_s} s", drained_s=round(took_s, 1),
        calls=len(calls), calls_replayed=sum(one["replayed"] for one in calls), logged=logged,
    )  # fmt: skip
    assert len(calls) == JOBS
    until(lambda: '"broker.clock_stepped"' in world.fleets[0].output(), what="a line in the log")


@pytest.mark.timeout(180)
def test_failover_to_a_server_that_is_behind_delays_no_job(
    stepping: World, tmp_path: Path, figures: Counts
) -> None:
    """T39: the new primary's clock is a minute behind: the rate goes on."""
    world = stepping
    behind = SteppingClock(tmp_path / "behind", ahead_s=-60)
    config = {"replicaof": f"127.0.0.1 {world.server.port}"}
    replica = RedisServer(tmp_path / "replica", config=config, env=behind.env).start()
    try:
        with ChaosProxy(world.server.port) as line:
            tenants = _rated(world, LARGESSE_REDIS_URL=f"redis://127.0.0.1:{line.port}/0")
            tenants.produce("shop", JOBS)
            until(lambda: world.published() >= JOBS // 4, what="a part of the jobs")
            with replica.client() as promoted:
                until(
                    lambda: promoted.info("replication")["master_link_status"] == "up",
                    what="the replica",
                )
                assert world.client.execute_command("WAIT", 1, 5_000) == 1
                world.server.kill()
                promoted.replicaof("NO", "ONE")
            line.retarget(replica.port)
            line.cut()
            world.server = replica
            world.client.close()
            world.client = replica.client()
            watch = Stopwatch()
            world.wait(timeout_s=JOBS * 60 / RATE + SPARE_S)
            took_s = watch.own_s
            world.judge(figures, "T39", "failover, 60 s behind", drained_s=round(took_s, 1))
    finally:
        for fleet in world.fleets:
            fleet.end()
        replica.stop()
