"""Redis stalls, or an answer is lost on the wire: commands that the client sends again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rig.figures import Counts
from rig.proxy import ChaosProxy
from rig.server import RedisServer
from rig.stage import Stage
from rig.waiting import until

JOBS = ["a", "b", "c", "d", "e"]


def test_enqueue_in_a_stall_makes_one_job(
    stage: Stage, redis_server: RedisServer, figures: Counts
) -> None:
    """F5: the stock enqueue is sent again after a time-out, and the job runs twice."""
    stage.send("warm")
    redis_server.pause()
    failures: list[Exception] = []

    def send() -> None:
        try:
            stage.send("once")
        except Exception as error:  # noqa: BLE001 - either outcome is fine, doubling is not
            failures.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(5.5)  # redis-py's socket time-out is 5 s
    redis_server.resume()
    sender.join(20)
    assert not sender.is_alive()
    stage.worker()
    stage.wait_ended(["warm"])
    until(lambda: stage.open_messages() == 0, what="endings")
    time.sleep(0.5)
    figures.note("F5", stage.kind, runs_of_one_send=stage.runs("once"))
    if stage.kind == "stock":
        assert not failures
        assert stage.runs("once") == 2
        return
    assert stage.runs("once") == 1 or (stage.runs("once") == 0 and failures)


def test_jobs_of_a_lost_fetch_reply_run(
    make_stage: Callable[..., Stage],
    redis_server: RedisServer,
    proxy: ChaosProxy,
    figures: Counts,
) -> None:
    """F6: the stock broker counts the jobs of a reply that never came as taken, for ever."""
    stage = make_stage(redis_server, worker_port=proxy.port)
    worker = stage.worker(socket_timeout_s=0.5, lease_ms=2_000)
    worker.pause()  # so that one fetch finds all the jobs
    proxy.set(drop_down_at=b'"actor_name"')  # a reply that carries a message
    for job in JOBS:
        stage.send(job)
    worker.resume()
    if stage.kind == "stock":
        until(lambda: stage.waiting() == 0, what="the fetch")
    else:
        until(lambda: stage.taken() > 0, what="the fetch")
    proxy.heal()
    stage.send("later")
    stage.wait_ended(["later"])
    assert worker.running
    if stage.kind == "stock":
        time.sleep(2)
        assert stage.ended() == {"later"}
        assert (stage.open_messages(), stage.waiting()) == (len(JOBS), 0)
        figures.note("F6", stage.kind, stranded=len(JOBS), n=len(JOBS))
        return
    stage.wait_ended(JOBS)
    figures.note("F6", stage.kind, stranded=0, n=len(JOBS))


def test_ending_that_timed_out_is_sent_again(
    make_stage: Callable[..., Stage],
    redis_server: RedisServer,
    proxy: ChaosProxy,
    figures: Counts,
) -> None:
    """D8: to the stock broker a redis.TimeoutError is no lost connection: it gives up."""
    stage = make_stage(redis_server, worker_port=proxy.port)
    options = {"lease_ms": 4_000, "heartbeat_ms": 1_000, "maintenance": 1_000_000}
    worker = stage.worker(retries=0, socket_timeout_s=0.3, **options)
    stage.send("a", "wait")
    stage.wait_runs(["a"])
    proxy.set(drop_up=True)
    stage.go()
    stage.wait_ended(["a"])
    time.sleep(1)
    proxy.heal()
    if stage.kind == "stock":
        assert "TimeoutError" in worker.output() or "Timeout reading" in worker.output()
        time.sleep(6)  # longer than the 5 s between two attempts to acknowledge
        assert (stage.open_messages(), stage.waiting()) == (1, 0)
        worker.end(grace_s=0)
        stage.worker(**options)
        until(lambda: stage.runs("a") == 2, what="the second run")
        figures.note("D8", stage.kind, runs_of_a_job_that_succeeded=2)
        return
    until(lambda: stage.open_messages() == 0, what="the ending")
    figures.note("D8", stage.kind, runs_of_a_job_that_succeeded=stage.runs("a"))
    assert stage.runs("a") == 1
