"""What encryption at rest costs, with and without in turns, in one run.

    python -m benchmarks.encryption --rounds 5 --jobs 4000

Enqueues are timed one by one, in turns of 250, on the same server with AOF. Workers run a backlog
against the stand-in of `largesse bench`, which answers at once: nothing dilutes the cost. The
machine's other work changes from round to round, so ratios are of one round each, and the median
of the rounds is told.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import tempfile
import time
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


def enqueues(count: int) -> dict[str, Any]:
    """Time single enqueues, in turns; p50 in microseconds."""
    key = base64.b64encode(os.urandom(32)).decode()
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder) / "broker", append_only=True)
        url = broker.start().url
        producers = {
            "plain": Producer(Settings(redis_url=url)),
            "encrypted": Producer(Settings(redis_url=url, encryption_keys=f"bench:{key}")),
        }
        for first in range(0, count, BLOCK):
            for name in NAMES if first // BLOCK % 2 else reversed(NAMES):
                block = _timed(producers[name], f"{name}-{first}")
                times[name] += block[WARM_UP:]
        for producer in producers.values():
            producer.close()
        broker.stop()
    p50 = {name: round(statistics.median(times[name]), 1) for name in NAMES}
    return {"p50_us": p50, "ratio": round(p50["encrypted"] / p50["plain"], 3)}


def _timed(producer: Producer, prefix: str) -> list[float]:
    """Give the microseconds of each enqueue of one turn."""
    times = []
    for number in range(BLOCK):
        begun = time.perf_counter()
        producer.personalized_offer(PAYLOAD, key=f"{prefix}-{number}", site="acme-test")
        times.append((time.perf_counter() - begun) * 1e6)
    return times


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
    return {"cpu_us_per_job": found, "ratio": round(found["encrypted"] / found["plain"], 3)}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=4_000)
    parser.add_argument("--enqueues", type=int, default=3_000)
    given = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {"enqueue": [], "worker": []}
    for place in range(given.rounds):
        rounds["enqueue"].append(enqueues(given.enqueues))
        rounds["worker"].append(backlogs(given.jobs, place))
    medians = {
        name: statistics.median(one["ratio"] for one in found) for name, found in rounds.items()
    }
    print(json.dumps({"ratio": medians, "load": os.getloadavg()[0], "rounds": rounds}, indent=2))


if __name__ == "__main__":
    main()
