"""Redis has no memory left for a while: jobs that end or fail meanwhile."""

from __future__ import annotations

import time

from rig.figures import Figures
from rig.server import RedisServer
from rig.stage import Stage
from rig.waiting import until


def test_job_that_ends_on_a_full_server_runs_once(
    stage: Stage, redis_server: RedisServer, figures: Figures
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
