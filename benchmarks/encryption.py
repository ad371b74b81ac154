"""What encryption at rest costs, with and without in turns, in one run.

    python -m benchmarks.encryption --rounds 5 --jobs 4000

Enqueues are made one by one, in turns of 250, and in batches of 250, on the same server with AOF.
Workers run a backlog against the stand-in of `largesse bench`, which answers at once: nothing
dilutes the cost. The machine's other work changes from round to round, so ratios are of one round
each, and the median of the rounds is told. CPU is that of the thread that enqueues, or of the
workers; it is what another program cannot take away.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker import Producer, Settings
from worker.bench.measure import Plan, measure
from worker.demo.embedded import EmbeddedBroker

PAYLOAD = {
    "customer_id": "customer-1042",
    "email": "somebody@shop.example",
    "first_name": "Some",
    "last_name": "Body",
    "custom": {"plan": "pro", "seats": 12, "since": "2024-01-31"},
    "request_context": {
        "timezone": "Europe/Berlin",
        "url": "https://shop.example/account/cancel?step=2",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        "locale": "de-DE",
    },
}
#: Enqueues of one turn, and those at its beginning that are not timed: an app does one or the
#: other, so neither is to pay for the caches that the other one filled.
BLOCK = 250
WARM_UP = 50
NAMES = ("plain", "encrypted")


def enqueues(count: int) -> dict[str, dict[str, Any]]:
    """Enqueue one by one and in batches, in turns; microseconds of each job."""
    key = base64.b64encode(os.urandom(32)).decode()
    found: dict[str, dict[str, list[float]]] = {
        measure: {name: [] for name in NAMES}
        for measure in ("enqueue_p50_us", "enqueue_cpu_us", "batch_cpu_us")
    }
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder) / "broker", append_only=True)
        url = broker.start().url
        producers = {
            "plain": Producer(Settings(redis_url=url)),
            "encrypted": Producer(Settings(redis_url=url, encryption_keys=f"bench:{key}")),
        }
        for first in range(0, count, BLOCK):
            for name in NAMES if first // BLOCK % 2 else reversed(NAMES):
                wall_us, cpu_us = _one_by_one(producers[name], f"{name}-{first}")
                found["enqueue_p50_us"][name] += wall_us
                found["enqueue_cpu_us"][name].append(cpu_us)
                found["batch_cpu_us"][name].append(_in_a_batch(producers[name], f"{name}-{first}"))
        for producer in producers.values():
            producer.close()
        broker.stop()
    return {measure: _compared(times) for measure, times in found.items()}


def _compared(times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    medians = {name: round(statistics.median(times[name]), 1) for name in NAMES}
    return {**medians, "ratio": round(medians["encrypted"] / medians["plain"], 3)}


def _one_by_one(producer: Producer, prefix: str) -> tuple[list[float], float]:
    """Give the microseconds of each enqueue of one turn, and their CPU on average."""
    times = []
    cpu = 0.0
    for number in range(BLOCK):
        if number == WARM_UP:
            cpu = time.thread_time()
        begun = time.perf_counter()
        producer.personalized_offer(PAYLOAD, key=f"{prefix}-{number}", site="acme-test")
        times.append((time.perf_counter() - begun) * 1e6)
    return times[WARM_UP:], (time.thread_time() - cpu) * 1e6 / (BLOCK - WARM_UP)


def _in_a_batch(producer: Producer, prefix: str) -> float:
    """Give the CPU microseconds of each job of a batch."""
    specs = [
        {"kind": "personalized_offer", "payload": PAYLOAD, "key": f"{prefix}-batch-{number}",
         "site": "acme-test"}
        for number in range(BLOCK)
    ]  # fmt: skip
    begun = time.thread_time()
    producer.enqueue_many(specs)
    return (time.thread_time() - begun) * 1e6 / BLOCK


def backlogs(jobs: int, place: int) -> dict[str, Any]:
    """Let workers run a backlog with and without; CPU microseconds a job."""
    found: dict[str, float] = {}
    for name in NAMES if place % 2 else tuple(reversed(NAMES)):
        plan = Plan(
            jobs=jobs, processes=1, concurrency=64, latency_ms=0, redis_url=None, timeout_s=300,
            encrypted=name == "encrypted",
        )  # fmt: skip
        report = measure(plan, lambda *_: None)
        assert report.proof.holds
        assert report.workers_cpu_s is not None
        found[name] = round(report.workers_cpu_s * 1000, 1)
    return {**found, "ratio": round(found["encrypted"] / found["plain"], 3)}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=4_000)
    parser.add_argument("--enqueues", type=int, default=3_000)
    given = parser.parse_args()
    rounds = [
        {**enqueues(given.enqueues), "worker_cpu_us": backlogs(given.jobs, place)}
        for place in range(given.rounds)
    ]
    medians = {
        measure: {
            name: statistics.median(one[measure][name] for one in rounds)
            for name in (*NAMES, "ratio")
        }
        for measure in rounds[0]
    }
    print(json.dumps({"medians": medians, "load": os.getloadavg()[0], "rounds": rounds}, indent=2))


if __name__ == "__main__":
    main()
