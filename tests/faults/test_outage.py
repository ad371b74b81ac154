"""Redis goes away and comes back: what it did to jobs that ran, failed or waited meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis
from rig.figures import Counts
from rig.server import RedisServer
from rig.stage import Stage
from rig.waiting import until

JOBS = ["a", "b", "c", "d", "e"]


def test_job_that_fails_in_an_outage_is_retried_after_it(
    stage: Stage, redis_server: RedisServer, figures: Counts
) -> None:
    """D1, F3: the stock broker swallows the failed retry, then deletes the job."""
    worker = stage.worker(threads=len(JOBS))
    for job in JOBS:
        stage.send(job, "wait+fail")
    stage.wait_runs(JOBS)
    redis_server.kill()
    stage.go()
    until(lambda: worker.output().count("unhandled exception") >= len(JOBS), what="failures")
    if stage.kind == "stock":
        swallowed = "Unexpected failure in after_process_message"
        until(lambda: worker.output().count(swallowed) >= len(JOBS), what="swallowed retries")
    else:
        time.sleep(1.5)
    redis_server.start()
    if stage.kind == "stock":
        until(lambda: stage.open_messages() == 0, what="acknowledgements")
        assert [stage.runs(job) for job in JOBS] == [1] * len(JOBS)
        assert (stage.ended(), stage.dead_letters()) == (set(), 0)
        figures.note("D1", stage.kind, lost=len(JOBS), n=len(JOBS))
        return
    stage.wait_ended(JOBS)
    until(lambda: stage.open_messages() == 0, what="endings")
    assert [stage.runs(job) for job in JOBS] == [2] * len(JOBS)
    figures.note("D1", stage.kind, lost=0, n=len(JOBS))


def test_delayed_jobs_outlive_an_outage(
    stage: Stage, redis_server: RedisServer, figures: Counts
) -> None:
    """D2, F1: the stock worker forgets the delayed jobs it holds, and keeps them from others."""
    worker = stage.worker(retries=0)
    due = time.monotonic() + 4
    for job in JOBS:
        stage.send(job, delay=4_000)
    if stage.kind == "stock":
        with redis_server.client() as client:
            until(lambda: client.llen("dramatiq:probe.DQ") == 0, what="the delay prefetch")
    redis_server.kill()
    if stage.kind == "stock":
        lost = "encountered a connection error"
        until(lambda: worker.output().count(lost) >= 2, what="the lost connections")
    else:
        time.sleep(1)
    redis_server.start()
    assert time.monotonic() < due, "the outage took too long to show anything"
    stage.send("new")
    stage.wait_ended(["new"])
    if stage.kind == "stock":
        time.sleep(max(0.0, due - time.monotonic()) + 2.5)
        assert worker.running
        assert stage.ended() == {"new"}
        assert (stage.open_messages(), stage.waiting()) == (len(JOBS), 0)
        figures.note("D2", stage.kind, stranded=len(JOBS), n=len(JOBS))
        return
    stage.wait_ended(JOBS)
    late = max(row["at"] for row in stage.notes("start")) - (time.time() - time.monotonic()) - due
    assert late < 2
    figures.note("D2", stage.kind, stranded=0, n=len(JOBS), late_s=round(late, 2))


def test_jobs_that_fall_due_in_an_outage_run_after_it(
    stage: Stage, redis_server: RedisServer, figures: Counts
) -> None:
    """F2: the stock worker's thread for delayed jobs dies, and nothing looks wrong."""
    worker = stage.worker(retries=0)
    jobs = [f"due-{number}" for number in range(60)]
    for number, job in enumerate(jobs):
        stage.send(job, delay=2_000 + 50 * number)
    stage.wait_runs(jobs[:1])
    redis_server.kill()
    time.sleep(2.5)
    redis_server.start()
    if stage.kind == "stock":
        time.sleep(4)  # its consumers are back 3 s after the error
    stage.send("new", delay=200)
    stage.send("now")
    stage.wait_ended(["now"])
    if stage.kind == "stock":
        assert worker.running
        assert "Exception in thread" in worker.output()
        time.sleep(2)
        ended = stage.ended()
        assert "new" not in ended
        stranded = len(set(jobs) - ended)
        assert stranded > 0
        figures.note("F2", stage.kind, stranded=stranded, n=len(jobs))
        return
    stage.wait_ended([*jobs, "new"])
    figures.note("F2", stage.kind, stranded=0, n=len(jobs))


def test_enqueue_in_an_outage_fails_fast(
    stage: Stage, redis_server: RedisServer, figures: Counts
) -> None:
    """D11: the stock producer blocks for about 4 s in a web request before it raises."""
    redis_server.stop()
    began = time.monotonic()
    if stage.kind == "stock":
        with pytest.raises(redis.ConnectionError):
            stage.send("a")
        took_s = time.monotonic() - began
        assert took_s > 2.5
    else:
        from worker.errors import BrokerUnavailableError

        with pytest.raises(BrokerUnavailableError):
            stage.send("a")
        took_s = time.monotonic() - began
        assert took_s < 1
    figures.note("D11", stage.kind, raised_after_s=round(took_s, 2))


@pytest.mark.parametrize("kind", ["stock"])
def test_result_is_lost_with_its_store(
    make_stage: Callable[..., Stage],
    redis_server: RedisServer,
    redis_server_factory: Callable[..., RedisServer],
    figures: Counts,
) -> None:
    """D7: stock results fail in silence while the job is acknowledged."""
    store = redis_server_factory()
    stage = make_stage(redis_server)
    worker = stage.worker(results_url=store.url)
    stage.send("a", "wait")
    stage.wait_runs(["a"])
    store.kill()
    stage.go()
    until(lambda: stage.open_messages() == 0, what="the acknowledgement")
    assert "Unexpected failure in after_process_message" in worker.output()
    store.start()
    time.sleep(0.5)
    with store.client() as client:
        assert client.dbsize() == 0
    assert (stage.runs("a"), stage.dead_letters()) == (1, 0)
    figures.note("D7", "stock", results_missing=1, n=1)
