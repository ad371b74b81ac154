"""A worker process whose one actor does as its message says, and notes each run in a file.

    python -m rig.probe --broker stock --url redis://127.0.0.1:6379/0 --folder DIR --threads 4

The notes go past Redis on purpose: what ran is known even when the broker has lost it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.worker import Worker

from rig.brokers import make_broker

QUEUE = "probe"
ACTOR = "work"


def note(folder: Path, what: str, job: str) -> None:
    """Append one line to the run log; a line is written whole or not at all."""
    line = json.dumps({"what": what, "job": job, "pid": os.getpid(), "at": time.time()}) + "\n"
    handle = os.open(folder / "runs.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def allocate(mib: int) -> None:
    """Take memory and touch it; where it cannot be had, end as the kernel would have us end."""
    try:
        taken = [b"x" * (1 << 20) for _ in range(mib)]
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError(f"{len(taken)} MiB did not end this worker")


def register(broker: dramatiq.Broker, folder: Path, **options: Any) -> dramatiq.Actor[..., Any]:
    """Bind the actor to a broker.

    Args:
        broker: either kind.
        folder: holds the run log and the flags that actors wait for.
        options: options of the actor, such as `max_retries`.
    """

    def work(job: str, mode: str = "plain", ms: int = 0) -> str:
        first = not (folder / f"{job}.ran").exists()
        (folder / f"{job}.ran").touch()
        note(folder, "start", job)
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if "wait" in mode:
            while not (folder / "go").exists():
                time.sleep(0.02)
        if "fail" in mode and first:
            raise ValueError("the first run fails")
        time.sleep(ms / 1000)
        if mode == "kill-later":
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "segfault-later":
            ctypes.string_at(0)
        if mode == "allocate-later":
            allocate(2 * 1024)
        note(folder, "end", job)
        return job

    return dramatiq.actor(work, actor_name=ACTOR, queue_name=QUEUE, broker=broker, **options)


def main() -> int:
    """Run until SIGTERM; exit code 0."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", choices=["stock", "ours"], required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--lease-ms", type=int, default=15_000)
    parser.add_argument("--heartbeat-ms", type=int, default=60_000)
    parser.add_argument("--maintenance", type=int, default=1_000)
    parser.add_argument("--retries", type=int)
    parser.add_argument("--socket-timeout-s", type=float)
    parser.add_argument("--results-url")
    parser.add_argument("--address-mib", type=int)
    args = parser.parse_args()
    if args.address_mib:
        resource.setrlimit(resource.RLIMIT_AS, (args.address_mib << 20, args.address_mib << 20))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    broker = make_broker(
        args.broker,
        args.url,
        lease_ms=args.lease_ms,
        heartbeat_ms=args.heartbeat_ms,
        maintenance=args.maintenance,
        retries=args.retries,
        socket_timeout_s=args.socket_timeout_s,
        results_url=args.results_url,
    )
    stored = {"store_results": True} if args.results_url else {}
    register(broker, args.folder, max_retries=5, min_backoff=100, max_backoff=200, **stored)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    broker.emit_after("process_boot")
    worker = Worker(broker, worker_threads=args.threads)
    worker.start()
    (args.folder / f"{os.getpid()}.ready").touch()
    ended.wait()
    worker.stop(5_000)
    broker.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
