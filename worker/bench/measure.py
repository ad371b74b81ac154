"""The measurement: enqueue, work off a backlog, wait for single jobs, look at all pages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.bench.report import Proof, Report
from worker.bench.stage import SITE, Stage
from worker.bench.usage import cpu_s, peak_bytes
from worker.client.producer import Producer
from worker.engine.redis_errors import speaking_to_redis
from worker.errors import WorkerError
from worker.operator import OperatorClient
from worker.settings import Settings

__all__ = ["BenchError", "Plan", "measure"]

#: Jobs that are enqueued one by one; the rest goes in batches.
SINGLE_MAX: Final = 1_000
#: Jobs of a batch.
BATCH: Final = 500
#: Single jobs whose way is timed, and seconds that they may take all in all.
IDLE_JOBS: Final = 200
IDLE_S: Final = 10.0
#: Seconds that one of them may take.
ONE_S: Final = 10.0

_PAYLOAD: Final = {
    "subscription_items": [{"item_price_id": "basic-USD-monthly", "quantity": 1}],
    "gifter": {"customer_id": "bench-customer"},
}
_LOOK_S: Final = 0.02

#: What is done, how far it has come, and of how many.
Tell = Callable[[str, int, int], None]


class BenchError(WorkerError):
    """A measurement that did not come to its end.

    Args:
        problem: what happened, and what to do.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured.

    Attributes:
        jobs: jobs of the backlog.
        processes: worker processes.
        concurrency: jobs that one process runs at the same time.
        latency_ms: time from a call of the API to its answer.
        redis_url: a Redis to measure on; None for an embedded broker.
        timeout_s: seconds after which the backlog is given up.
        encrypted: whether what is private is encrypted in Redis.
    """

    jobs: int
    processes: int
    concurrency: int
    latency_ms: float
    redis_url: str | None
    timeout_s: float
    encrypted: bool = False


def measure(plan: Plan, tell: Tell) -> Report:
    """Measure; what was started is ended, whatever happens.

    Args:
        plan: what to measure.
        tell: is told how far it has come.

    Raises:
        BenchError: the backlog did not end in time.
        ChildError: a process ended by itself.
        BrokerUnavailableError: Redis is unreachable.
        SettingsError: there is no embedded broker here.
    """
    started = time.monotonic()
    with Stage(
        redis_url=plan.redis_url, latency_ms=plan.latency_ms, jobs=plan.jobs,
        encrypted=plan.encrypted,
    ) as stage:  # fmt: skip
        settings = Settings.from_env(stage.environ)
        with Producer(settings) as producer, OperatorClient(settings) as operator:
            # Paused until the workers are there: their start is not measured.
            operator.pause(SITE, reason="the measurement has not begun")
            single = min(SINGLE_MAX, max(1, plan.jobs // 10))
            enqueue_per_s, ids = _enqueue_singly(producer, single, tell)
            many_per_s, more = _enqueue_batches(producer, single, plan.jobs, tell)
            tell("starting workers", 0, plan.processes)
            pids = stage.start_workers(processes=plan.processes, concurrency=plan.concurrency)
            before = _used(stage, pids)
            begun = time.monotonic()
            operator.resume(SITE)
            _await_endings(stage, plan, tell)
            worked_s = time.monotonic() - begun
            after = _used(stage, pids)
            idle_ids, idle_ms = _wait_singly(producer, tell)
            facts = _facts(stage)
            return Report(
                server=facts["server"],
                cores=os.cpu_count() or 1,
                jobs=plan.jobs,
                processes=plan.processes,
                concurrency=plan.concurrency,
                latency_ms=plan.latency_ms,
                encrypted=plan.encrypted,
                jobs_per_s=plan.jobs / worked_s,
                enqueue_per_s=enqueue_per_s,
                enqueue_many_per_s=many_per_s,
                idle_ms=idle_ms,
                workers_cpu_s=_for_1000(plan, before, after, "workers"),
                broker_cpu_s=_for_1000(plan, before, after, "broker") or 0.0,
                api_cpu_s=_for_1000(plan, before, after, "api") or 0.0,
                workers_peak_bytes=peak_bytes(pids),
                broker_peak_bytes=facts["peak"] if plan.redis_url is None else None,
                proof=_prove(stage, producer, [*ids, *more, *idle_ids]),
                took_s=time.monotonic() - started,
            )


def _enqueue_singly(producer: Producer, count: int, tell: Tell) -> tuple[float, list[str]]:
    begun = time.monotonic()
    ids = []
    for number in range(count):
        ids.append(producer.gift_checkout(_PAYLOAD, key=f"bench-{number}").id)
        if not number % 50:
            tell("enqueueing one by one", number, count)
    return count / (time.monotonic() - begun), ids


def _enqueue_batches(
    producer: Producer, start: int, stop: int, tell: Tell
) -> tuple[float, list[str]]:
    begun = time.monotonic()
    ids: list[str] = []
    for first in range(start, stop, BATCH):
        specs = [
            {"kind": "gift_checkout", "payload": _PAYLOAD, "key": f"bench-{number}"}
            for number in range(first, min(stop, first + BATCH))
        ]
        ids += [job.id for job in producer.enqueue_many(specs)]
        tell("enqueueing in batches", len(ids), stop - start)
    return len(ids) / (time.monotonic() - begun), ids


def _await_endings(stage: Stage, plan: Plan, tell: Tell) -> None:
    deadline = time.monotonic() + plan.timeout_s
    while True:
        with speaking_to_redis():
            ended = int(stage.client.xlen(stage.keyspace.stream(0)))
        tell("working", ended, plan.jobs)
        if ended >= plan.jobs:
            return
        stage.check()
        if time.monotonic() > deadline:
            raise BenchError(
                f"{ended} of {plan.jobs} jobs ended in {plan.timeout_s:g} s. "
                "Measure fewer with --jobs, or give it longer with --timeout."
            )
        time.sleep(_LOOK_S)


def _wait_singly(producer: Producer, tell: Tell) -> tuple[list[str], list[float]]:
    """Time single jobs on an idle fleet, each after the one before; the first warms up."""
    ids: list[str] = []
    times: list[float] = []
    deadline = time.monotonic() + IDLE_S
    for number in range(IDLE_JOBS + 1):
        begun = time.monotonic()
        job = producer.gift_checkout(_PAYLOAD, key=f"bench-idle-{number}")
        job.result(timeout=ONE_S)
        ids.append(job.id)
        if number:
            times.append((time.monotonic() - begun) * 1000)
        tell("waiting for single jobs", number, IDLE_JOBS)
        if time.monotonic() > deadline:
            break
    return ids, times


def _prove(stage: Stage, producer: Producer, ids: Sequence[str]) -> Proof:
    pages: list[str] = []
    for first in range(0, len(ids), BATCH):
        found = producer.results.get_many(ids[first : first + BATCH])
        pages += [
            one.hosted_page.id
            for one in found.values()
            if one is not None and one.state == "succeeded" and one.hosted_page is not None
        ]
    counts = stage.api_counts()
    return Proof(
        jobs=len(ids), succeeded=len(pages), different=len(set(pages)),
        made=counts["pages"], calls=counts["calls"],
    )  # fmt: skip


def _used(stage: Stage, pids: Sequence[int]) -> dict[str, float | None]:
    """Give the CPU seconds used so far."""
    with speaking_to_redis():
        info: dict[str, Any] = stage.client.info("cpu")
    broker = float(info["used_cpu_sys"]) + float(info["used_cpu_user"])
    return {"workers": cpu_s(pids), "broker": broker, "api": stage.api_counts()["cpu_s"]}


def _for_1000(
    plan: Plan, before: dict[str, float | None], after: dict[str, float | None], name: str
) -> float | None:
    first, last = before[name], after[name]
    return None if first is None or last is None else (last - first) / plan.jobs * 1000


def _facts(stage: Stage) -> dict[str, Any]:
    with speaking_to_redis():
        info: dict[str, Any] = stage.client.info()
    valkey = info.get("valkey_version")
    return {
        "server": f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version')}",
        "peak": int(info["used_memory_peak"]),
    }
