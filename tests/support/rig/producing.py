"""A producer that notes what was accepted, as a program of its own or inside a test.

    python -m rig.producing --log FILE --prefix order --n 200

Started again with the same log it goes on where it stopped: what was accepted and not noted is
sent again under its key.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from worker import Producer
from worker.errors import BrokerError

GIFT = {"subscription_items": [{"item_price_id": "basic-USD-monthly", "quantity": 1}]}
OFFER = {
    "customer_id": "customer-1",
    "request_context": {
        "timezone": "Europe/Berlin",
        "url": "https://shop.example/offers",
        "user_agent": "Mozilla/5.0",
        "locale": "en-US",
    },
}
#: Rejected by the API, whatever is done: ends as a dead letter.
REJECTED = {"subscription_items": [{"item_price_id": "missing_plan", "quantity": 1}]}

PAYLOADS = {"gift": GIFT, "offer": OFFER, "rejected": REJECTED}
#: Seconds for which a job that Redis did not take is tried again.
PATIENCE_S = 600.0


class AcceptedLog:
    """What the queue has accepted, one JSON object a line, on disk before the next job.

    Args:
        path: the file; its rows are kept when it exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def note(self, **row: Any) -> None:
        """Append one accepted job."""
        self.note_many([row])

    def note_many(self, rows: list[dict[str, Any]]) -> None:
        """Append accepted jobs."""
        self.rows += rows
        with self.path.open("a") as sink:
            sink.writelines(json.dumps(row) + "\n" for row in rows)
            sink.flush()
            os.fsync(sink.fileno())

    def job_ids(self) -> list[str]:
        """Ids of all accepted jobs, in order, each once."""
        return list(dict.fromkeys(str(row["job_id"]) for row in self.rows))


def produce(
    producer: Producer,
    log: AcceptedLog,
    keys: Iterable[str],
    *,
    payloads: tuple[str, ...] = ("gift",),
    every_s: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> list[float]:
    """Enqueue one job per key, again and again until Redis takes it, and note it.

    Args:
        producer: where to.
        log: takes the accepted ones.
        keys: keys of the jobs.
        payloads: names of `PAYLOADS`, taken in turn.
        every_s: seconds between two jobs.
        options: options of all jobs.

    Returns:
        Seconds of each call that was refused.
    """
    refused_s: list[float] = []
    for number, key in enumerate(keys):
        name = payloads[number % len(payloads)]
        kind = "personalized_offer" if name == "offer" else "gift_checkout"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            began = time.monotonic()
            try:
                job = producer.enqueue(kind, PAYLOADS[name], key=key, options=options)
                break
            except BrokerError:
                refused_s.append(time.monotonic() - began)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        log.note(key=key, job_id=job.id, payload=name, at=time.time())
        if every_s:
            time.sleep(every_s)
    return refused_s


def main() -> int:
    """Produce what the log has not and print the seconds of refusals; 0 when all is accepted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--every-s", type=float, default=0.0)
    parser.add_argument("--payloads", default="gift")
    args = parser.parse_args()
    log = AcceptedLog(args.log)
    done = {row["key"] for row in log.rows}
    keys = [f"{args.prefix}-{number}" for number in range(args.n)]
    with Producer.from_env() as producer:
        refused_s = produce(
            producer,
            log,
            [key for key in keys if key not in done],
            payloads=tuple(args.payloads.split(",")),
            every_s=args.every_s,
        )
    print(json.dumps(refused_s))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
