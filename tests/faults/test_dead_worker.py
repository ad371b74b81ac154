"""A worker dies or goes quiet: when its jobs come back, and how often they run."""

from __future__ import annotations

import signal
import time

from rig.figures import Counts
from rig.stage import Stage
from rig.waiting import until

LEASE_MS = 2_000


def test_jobs_of_a_killed_worker_come_back_in_time(stage: Stage, figures: Counts) -> None:
    """D4: on the stock broker a heartbeat must lapse, then each command has a chance of 0.1 %."""
    options = {"lease_ms": LEASE_MS, "heartbeat_ms": LEASE_MS}
    waits = []
    for attempt in range(3):
        job = f"job-{attempt}"
        first = stage.worker(**options)
        stage.send(job, "wait")
        stage.wait_runs([job])
        first.kill()
        killed = time.monotonic()
        second = stage.worker(**options)
        bound_s = LEASE_MS / 1000 + 5
        while stage.runs(job) < 2 and time.monotonic() - killed < bound_s:
            time.sleep(0.05)
        second.end(grace_s=0)
        waits.append(time.monotonic() - killed if stage.runs(job) > 1 else None)
        if stage.kind == "stock" and waits[-1] is None:
            break  # one in about a hundred comes back in time, by luck
    if stage.kind == "stock":
        assert waits[-1] is None
        figures.note("D4", stage.kind, back_within_7_s=0, n=1)
        return
    assert None not in waits
    worst = max(wait for wait in waits if wait is not None)
    figures.note("D4", stage.kind, back_within_7_s=len(waits), n=len(waits), max_s=round(worst, 2))


def test_job_that_kills_its_worker_is_set_aside(stage: Stage, figures: Counts) -> None:
    """D5: the stock broker counts no deliveries: such a job kills worker after worker."""
    stage.send("deadly", "kill")
    deaths = 0
    options = {"lease_ms": 1_000, "heartbeat_ms": 500, "maintenance": 1_000_000}
    worker = stage.worker(wait=False, **options)
    enough = 5
    began = time.monotonic()
    while deaths < enough and time.monotonic() - began < 20:
        if worker.running:
            if stage.dead_letters():
                break
            time.sleep(0.05)
            continue
        assert worker.returncode == -signal.SIGKILL
        deaths += 1
        if deaths < enough:
            worker = stage.worker(wait=False, **options)
    figures.note("D5", stage.kind, workers_killed=deaths)
    if stage.kind == "stock":
        assert (deaths, stage.dead_letters()) == (enough, 0)
        return
    assert (deaths, stage.dead_letters()) == (3, 1)
    stage.send("good")
    stage.wait_ended(["good"])


def test_live_job_is_not_run_elsewhere(stage: Stage, figures: Counts) -> None:
    """F8: a stock worker with full prefetches sends no heartbeat, so its live job runs twice."""
    full = {"dramatiq_queue_prefetch": "1", "dramatiq_delay_queue_prefetch": "1"}
    stage.send("far", delay=600_000)
    stage.send("long", ms=4_000)
    options = {"lease_ms": 1_000, "heartbeat_ms": 1_000, "maintenance": 1_000_000, "threads": 1}
    stage.worker(env=full, **options)
    stage.wait_runs(["long"])
    stage.worker(env=full, **options)
    stage.wait_ended(["long"])
    until(lambda: stage.runs("long") > 1 or stage.kind == "ours", what="a second run")
    time.sleep(0.5)
    figures.note("F8", stage.kind, runs=stage.runs("long"))
    if stage.kind == "stock":
        assert stage.runs("long") > 1
    else:
        assert stage.runs("long") == 1
