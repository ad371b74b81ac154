"""Two versions of the record in one fleet: each worker takes what it knows; nothing is lost."""

from __future__ import annotations

from rig.queue import Queue

UPGRADE_MS = 60_000


def make_newer(queue: Queue, *job_ids: str, version: int = 2) -> None:
    """Let records look as a later producer writes them."""
    for job_id in job_ids:
        queue.client.hset(queue.key(f"job:{job_id}"), "v", version)


def test_record_of_the_next_version_is_left_to_those_who_know_it(queue: Queue) -> None:
    """An old worker goes on with its own; a new one takes the new record before the rest."""
    queue.add("new", "old-1", "old-2")
    make_newer(queue, "new")
    assert queue.fetch(1, version=1).ids == ["old-1"]
    assert queue.fetch(1, version=2).ids == ["new"]
    assert queue.fetch(1, version=1).ids == ["old-2"]


def test_new_worker_takes_records_of_both_versions(queue: Queue) -> None:
    """Whoever knows the next version knows this one too."""
    queue.add("a", "b", "c")
    make_newer(queue, "b")
    assert queue.fetch(version=2).ids == ["a", "b", "c"]


def test_records_keep_their_order_when_new_workers_come(queue: Queue) -> None:
    """What stood aside goes to the head of its line, oldest first."""
    queue.add("a", "b", "c")
    make_newer(queue, "a", "b", "c")
    assert queue.fetch(version=1).ids == []
    assert queue.fetch(version=2).ids == ["a", "b", "c"]


def test_record_that_no_worker_knows_is_buried_after_a_minute(queue: Queue) -> None:
    """With no newer worker in sight it is a dead letter with its reason, and can be replayed."""
    queue.add("new")
    make_newer(queue, "new")
    queue.fetch(version=1)
    queue.passes(UPGRADE_MS - 1_000)
    queue.fetch(version=1)
    assert queue.state("new") == "queued"
    queue.passes(1_000)
    queue.fetch(version=1)
    assert queue.state("new") == "failed"
    assert "version 2" in queue.record("new")["reason"]
    assert queue.replay("new") == "queued"
    assert queue.fetch(version=2).ids == ["new"]


def test_record_of_a_far_version_is_buried_at_once(queue: Queue) -> None:
    """Two versions ahead is no upgrade under way, but a mistake."""
    queue.add("far")
    make_newer(queue, "far", version=3)
    queue.fetch(version=1)
    assert queue.state("far") == "failed"


def test_cancelled_record_does_not_come_back(queue: Queue) -> None:
    """A job that is cancelled while it stands aside stays cancelled."""
    queue.add("new")
    make_newer(queue, "new")
    queue.fetch(version=1)
    assert queue.cancel("new") == "cancelled"
    assert queue.fetch(version=2).ids == []
    assert queue.members("q:calls:newer") == []
