"""Outcomes stay until every group has handled them; a group that was away too long is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from rig.queue import Queue

#: Bounds that cut nothing in these tests.
MANY, LONG_MS = 1_000_000, 86_400_000


@pytest.fixture
def stream(queue: Queue) -> str:
    """Name of the stream."""
    return queue.key("outcomes")


def end(queue: Queue, n: int) -> None:
    """End so many jobs."""
    already = queue.client.xlen(queue.key("outcomes"))
    for number in range(n):
        job_id = f"job-{already + number}"
        queue.add(job_id)
        queue.finish(queue.take(job_id))


def read(queue: Queue, group: str, n: int, *, handled: bool = True) -> list[bytes]:
    """Read so many entries as a group, and handle them."""
    stream = queue.key("outcomes")
    reply: Any = queue.client.xreadgroup(group, "one", {stream: ">"}, count=n)
    ids = [entry_id for entry_id, _ in reply[0][1]]
    if handled:
        queue.client.xack(stream, group, *ids)
    return ids


def trim(queue: Queue, max_len: int = MANY, max_age_ms: int = LONG_MS, batch: int = 500) -> Any:
    """Trim until nothing is left to be cut; removed groups and what each missed."""
    removed: list[str] = []
    missed: dict[str, int] = {}
    more = 1
    while more:
        more, gone, lost = queue.run("trim", max_len, max_age_ms, batch)
        removed += gone
        for group, count in zip(lost[::2], lost[1::2], strict=True):
            missed[group] = missed.get(group, 0) + count
    return removed, missed


def test_trim_keeps_what_a_group_has_not_handled(queue: Queue, stream: str) -> None:
    """The slowest group decides; what is in a consumer's hands counts as not handled."""
    for group in ("fast", "slow"):
        queue.client.xgroup_create(stream, group, "0", mkstream=True)
    end(queue, 500)
    read(queue, "fast", 500)
    in_hand = read(queue, "slow", 300, handled=False)
    assert trim(queue) == ([], {})
    assert queue.client.xlen(stream) == 500
    queue.client.xack(stream, "slow", *in_hand[:250])
    trim(queue)
    left = queue.client.xrange(stream)
    # Whole nodes of the stream go, of a hundred entries each at most.
    assert in_hand[250] in [entry_id for entry_id, _ in left]
    assert 250 <= len(left) <= 350
    assert len(read(queue, "slow", 500)) == 200


def test_trim_without_a_group_keeps_the_newest(queue: Queue, stream: str) -> None:
    """A group that is made later finds them."""
    end(queue, 50)
    trim(queue, max_len=20)
    assert queue.client.xlen(stream) == 20
    queue.client.xgroup_create(stream, "late", "0")
    assert len(read(queue, "late", 100)) == 20
    assert queue.run("missed", "late") == []


@pytest.mark.parametrize("batch", [500, 7])
def test_group_is_told_once_what_it_missed(queue: Queue, stream: str, batch: int) -> None:
    """How many, and since when: those that it had not read, and those that it had in hand."""
    queue.client.xgroup_create(stream, "away", "0", mkstream=True)
    queue.client.xgroup_create(stream, "here", "0")
    end(queue, 40)
    read(queue, "here", 40)
    handled, in_hand = read(queue, "away", 10), read(queue, "away", 5, handled=False)
    assert trim(queue, max_len=15, batch=batch) == ([], {"away": 15})
    assert queue.client.xlen(stream) == 15
    assert queue.run("missed", "here") == []
    since_ms = int(in_hand[0].partition(b"-")[0])
    assert queue.run("missed", "away") == [15, since_ms]
    assert queue.run("missed", "away") == []
    assert len(read(queue, "away", 100)) == 15
    assert handled < in_hand


def test_trim_cuts_what_is_too_old(queue: Queue, stream: str) -> None:
    """The age counts by Redis time, as the entries do."""
    queue.client.xgroup_create(stream, "away", "0", mkstream=True)
    end(queue, 3)
    queue.passes(LONG_MS + 1_000)
    read_ids = [entry_id for entry_id, _ in queue.client.xrange(stream)]
    # A consumer that reads keeps the group alive.
    queue.client.xreadgroup("away", "one", {stream: ">"}, count=1)
    assert trim(queue) == ([], {"away": 3})
    assert queue.client.xlen(stream) == 0
    assert queue.run("missed", "away") == [3, int(read_ids[0].partition(b"-")[0])]


def test_group_that_nobody_reads_holds_nothing_back(queue: Queue, stream: str) -> None:
    """It is removed after a while, and is no group any more; one that is read stays."""
    for group in ("gone", "new", "read"):
        queue.client.xgroup_create(stream, group, "0", mkstream=True)
    end(queue, 5)
    queue.client.xreadgroup("read", "one", {stream: ">"}, count=1)
    assert trim(queue) == ([], {})
    queue.client.xgroup_destroy(stream, "new")
    queue.passes(LONG_MS + 1_000)
    removed, missed = trim(queue, max_len=MANY)
    assert removed == ["gone"]
    assert missed == {"read": 5}
    names = [one["name"] for one in queue.client.xinfo_groups(stream)]
    assert names == [b"read"]


def test_consumers_that_are_gone_are_removed(queue: Queue, stream: str) -> None:
    """Those of a living group that have nothing in hand; names are new with each start."""
    queue.client.xgroup_create(stream, "billing", "0", mkstream=True)
    end(queue, 2)
    queue.client.xreadgroup("billing", "holds", {stream: ">"}, count=1)
    queue.client.xreadgroup("billing", "old", {stream: ">"}, count=1)
    (entry_id,) = queue.client.xpending_range(stream, "billing", "-", "+", 1, consumername="old")
    queue.client.xack(stream, "billing", entry_id["message_id"])
    # Idle times are the server's own: a moved clock does not move them.
    time.sleep(2.5)
    queue.client.xreadgroup("billing", "here", {stream: ">"}, count=1)
    queue.run("trim", MANY, 2_000, 500)
    names = {one["name"] for one in queue.client.xinfo_consumers(stream, "billing")}
    assert names == {b"holds", b"here"}
