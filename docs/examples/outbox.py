"""A transactional outbox on SQLite: an order and its job are written together, or neither is.

`python outbox.py shop.db order 1042 basic-USD-monthly` writes an order. `python outbox.py shop.db
relay` enqueues new rows and writes down outcomes: run it every few seconds.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from typing import Any

from schemas import validate
from worker import Producer

TABLES = """
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    key TEXT PRIMARY KEY, payload TEXT NOT NULL, job_id TEXT, state TEXT, page_url TEXT
);
"""
ENDED = {"succeeded", "failed", "expired", "cancelled"}


def open_shop(path: str) -> sqlite3.Connection:
    """Open the database of the shop."""
    db = sqlite3.connect(path)
    db.executescript(TABLES)
    return db


def order(db: sqlite3.Connection, order_id: str, item: str) -> None:
    """Write an order and the job that belongs to it, in one transaction; Redis is not asked."""
    payload: dict[str, Any] = {"subscription_items": [{"item_price_id": item}]}
    validate("gift_checkout", payload)  # here the user can still see the error
    with db:
        db.execute("INSERT INTO orders VALUES (?, ?)", (order_id, item))
        db.execute(
            "INSERT INTO outbox (key, payload) VALUES (?, ?)",
            (f"order-{order_id}", json.dumps(payload)),
        )


def send(db: sqlite3.Connection, producer: Producer) -> int:
    """Enqueue the rows that have no job yet.

    When it dies before the rows are marked, the next run enqueues them again under the same keys.
    The keys are known then, and no job is made twice. Two relays at once do no harm.
    """
    rows = db.execute("SELECT key, payload FROM outbox WHERE job_id IS NULL LIMIT 500").fetchall()
    jobs = producer.enqueue_many(
        {"kind": "gift_checkout", "key": key, "payload": json.loads(payload)}
        for key, payload in rows
    )
    with db:
        db.executemany(
            "UPDATE outbox SET job_id = ? WHERE key = ?", [(job.id, job.key) for job in jobs]
        )
    return len(jobs)


def collect(db: sqlite3.Connection, producer: Producer) -> int:
    """Write down the outcomes of the jobs that have ended."""
    query = "SELECT job_id FROM outbox WHERE job_id IS NOT NULL AND state IS NULL LIMIT 500"
    ids = [job_id for (job_id,) in db.execute(query)]
    found = producer.results.get_many(ids)
    ended = [one for one in found.values() if one is not None and one.state in ENDED]
    with db:
        db.executemany(
            "UPDATE outbox SET state = ?, page_url = ? WHERE job_id = ?",
            [(one.state, one.hosted_page and one.hosted_page.url, one.job_id) for one in ended],
        )
    return len(ended)


def main(path: str, word: str, *rest: str) -> None:
    """Run the command."""
    db = open_shop(path)
    if word == "order":
        order(db, *rest)
    else:
        with Producer.from_env() as producer:
            sys.stdout.write(f"sent {send(db, producer)}, ended {collect(db, producer)}\n")
    db.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
