"""How soon a job is picked up: when nothing runs, behind long delays, with many threads."""

from __future__ import annotations

import time
from collections.abc import Callable

from rig.figures import Counts, percentile
from rig.proxy import ChaosProxy
from rig.server import RedisServer
from rig.stage import Stage
from rig.waiting import until


def test_idle_worker_picks_a_job_up_at_once(stage: Stage, figures: Counts) -> None:
    """D9: an idle stock worker polls, with waits of up to a second."""
    stage.worker()
    stage.send("warm")
    stage.wait_ended(["warm"])
    sent: dict[str, float] = {}
    for number in range(5):
        # The stock poll waits a second at most.
        time.sleep(1.1 if stage.kind == "stock" else 0.4)
        sent[f"job-{number}"] = time.time()
        stage.send(f"job-{number}")
        stage.wait_ended([f"job-{number}"])
    waits_ms = [
        (row["at"] - sent[row["job"]]) * 1000 for row in stage.notes("start") if row["job"] in sent
    ]
    p50, worst = percentile(waits_ms, 0.5), max(waits_ms)
    figures.note("D9", stage.kind, p50_ms=round(p50, 1), max_ms=round(worst, 1), n=len(waits_ms))
    if stage.kind == "stock":
        assert worst > 100
        return
    assert p50 < 50


def test_short_delay_does_not_wait_behind_long_ones(stage: Stage, figures: Counts) -> None:
    """D10: a stock worker holds so many delayed jobs; behind them a short delay never ends."""
    for number in range(10):
        stage.send(f"long-{number}", delay=600_000)
    stage.send("short", delay=300)
    stage.worker(env={"dramatiq_delay_queue_prefetch": "10"})
    stage.send("now")
    stage.wait_ended(["now"])
    if stage.kind == "stock":
        time.sleep(3)
        assert stage.runs("short") == 0
        figures.note("D10", stage.kind, short_delay_ran=0)
        return
    stage.wait_ended(["short"], timeout_s=3)
    figures.note("D10", stage.kind, short_delay_ran=1)


def test_many_threads_end_their_jobs(
    make_stage: Callable[..., Stage],
    redis_server: RedisServer,
    proxy: ChaosProxy,
    figures: Counts,
) -> None:
    """F7: redis-py's pool of 100 is too small for 128 stock threads: endings wait 5 s each."""
    proxy.set(latency_ms=40)  # the round trip of a network: endings overlap
    stage = make_stage(redis_server, worker_port=proxy.port)
    jobs = [f"job-{number}" for number in range(128)]
    for job in jobs:
        stage.send(job, "wait")
    worker = stage.worker(threads=128)
    stage.wait_runs(jobs)
    stage.go()
    stage.wait_ended(jobs)
    refused = "Too many connections"
    if stage.kind == "stock":
        until(lambda: refused in worker.output(), what="a full pool")
        figures.note("F7", stage.kind, endings_refused=worker.output().count(refused))
        return
    until(lambda: stage.open_messages() == 0, what="the endings")
    assert refused not in worker.output()
    figures.note("F7", stage.kind, endings_refused=0)
