"""`largesse workers` and `largesse queues`: who holds what, and what waits."""

from __future__ import annotations

import re
from collections.abc import Callable

from rig.command import Ran
from rig.shelf import WORKER, Shelf

from worker.engine.keys import Keyspace
from worker.process.heartbeat import Heartbeat

Typed = Callable[..., Ran]


def test_workers_hold_leases(shelf: Shelf, typed: Typed) -> None:
    """Each worker with its jobs, and since when it holds them."""
    first, second = shelf.gift(), shelf.gift()
    shelf.run(first)
    shelf.run(second, worker="host-2:12:cafe")
    ours, other = typed("workers", "--json").objects()
    assert (ours["worker"], ours["queue"], ours["leases"]) == (WORKER, "chargebee", 1)
    assert [job["job_id"] for job in ours["jobs"]] == [first.id]
    assert (ours["jobs"][0]["kind"], ours["jobs"][0]["site"]) == ("gift_checkout", "acme-test")
    assert 0 < ours["lapses_in_ms"] <= 15_000
    assert other["worker"] == "host-2:12:cafe"
    assert WORKER in typed("workers").out


def test_idle_workers_are_listed(shelf: Shelf, typed: Typed) -> None:
    """A process that holds nothing is there by its own word, with its age and its state."""
    facts = {
        "version": "9.9.9", "concurrency": 32, "running": 0, "silence_ms": 5, "ready": True,
        "why": "ready",
    }  # fmt: skip
    Heartbeat(shelf.client, Keyspace(), WORKER, lambda: facts).beat()
    Heartbeat(
        shelf.client, Keyspace(), "host-3:1:dead",
        lambda: {**facts, "ready": False, "why": "nothing heard from Redis for 60 s"},
    ).beat()  # fmt: skip
    idle, stuck = typed("workers", "--json").objects()
    assert (idle["worker"], idle["state"], idle["leases"]) == (WORKER, "idle", 0)
    assert (idle["concurrency"], idle["version"], idle["lapses_in_ms"]) == (32, "9.9.9", None)
    assert (stuck["worker"], stuck["state"]) == ("host-3:1:dead", "stuck")
    shown = typed("workers").out
    assert re.search(rf"{WORKER} +idle +9\.9\.9 .* 0 s ago", shown)
    assert "nothing heard from Redis for 60 s" in shown


def test_workers_without_any(typed: Typed) -> None:
    """Where nobody is, the person is told how to start a worker."""
    ran = typed("workers")
    assert (ran.code, ran.out) == (0, "")
    assert "largesse worker" in ran.err


def test_queues_count_each_lane(shelf: Shelf, typed: Typed) -> None:
    """What waits in each lane, what is delayed, what runs, and how old the oldest is."""
    running = shelf.gift()
    shelf.run(running)
    shelf.gift(site="globex")
    shelf.gift(lane="bulk")
    shelf.gift(lane="bulk")
    shelf.gift(delay_s=600)
    (one,) = typed("queues", "--json").objects()
    assert (one["queue"], one["waiting"]) == ("chargebee", 3)
    assert one["lanes"] == {"interactive": 1, "bulk": 2}
    assert (one["delayed"], one["running"]) == (1, 1)
    assert 0 <= one["oldest_ms"] < 60_000
    assert one["next_due"] is not None
    assert "chargebee" in typed("queues").out


def test_queues_before_the_first_job(typed: Typed) -> None:
    """An empty Redis has no queue."""
    ran = typed("queues")
    assert (ran.code, ran.out) == (0, "")
    assert "nothing was ever enqueued" in ran.err
