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


def end(queue: Queue, n: int, *, first: int = 0) -> None:
    """End so many jobs."""
    for number in range(first, first + n):
        job_id = f"job-{number}"
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


def trim(
    queue: Queue,
    max_len: int = MANY,
    max_age_ms: int = LONG_MS,
    *,
    kept: int = 0,
    batch: int = 500,
) -> Any:
    """Trim until nothing is left to be cut; removed groups and what each missed."""
    removed: list[str] = []
    missed: dict[str, int] = {}
    more = 1
    while more:
        more, gone, lost = queue.run("trim", max_len, max_age_ms, kept, batch)
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
    end(queue, 350)
    trim(queue, max_len=120)
    # Whole nodes of the stream go, of a hundred entries each at most.
    assert 120 <= queue.client.xlen(stream) < 220
    assert queue.published()[-1][0] == "job-349"
    queue.passes(LONG_MS + 60_000)
    trim(queue, max_len=120)
    assert queue.client.xlen(stream) < 100
    assert queue.client.hgetall(queue.key("missed")) == {}


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
    assert queue.run("missed", "away", 15) == 1
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


def test_trim_keeps_the_newest_that_all_have_handled(queue: Queue, stream: str) -> None:
    """A search for ended jobs reads them; older ones go."""
    queue.client.xgroup_create(stream, "billing", "0", mkstream=True)
    end(queue, 350)
    read(queue, "billing", 350)
    trim(queue, kept=200)
    assert 200 <= queue.client.xlen(stream) < 300
    trim(queue)
    assert queue.client.xlen(stream) < 100


def test_told_group_keeps_what_it_missed_since(queue: Queue, stream: str) -> None:
    """What is cut between the look and the telling is told the next time; one consumer tells."""
    queue.client.xgroup_create(stream, "away", "0", mkstream=True)
    end(queue, 5)
    trim(queue, max_len=3)
    count, since_ms = queue.run("missed", "away")
    trim(queue, max_len=2)
    assert [queue.run("missed", "away", count) for _ in range(2)] == [1, 0]
    assert queue.run("missed", "away") == [1, since_ms]


def test_group_that_nobody_reads_holds_nothing_back(queue: Queue, stream: str) -> None:
    """It is removed after a while, and is no group any more; one that is read stays."""
    for group in ("gone", "read"):
        queue.client.xgroup_create(stream, group, "0", mkstream=True)
    end(queue, 5)
    queue.client.xreadgroup("read", "one", {stream: ">"}, count=1)
    assert trim(queue) == ([], {})
    queue.passes(LONG_MS + 1_000)
    removed, missed = trim(queue)
    assert removed == ["gone"]
    assert missed == {"read": 5, "gone": 5}
    names = [one["name"] for one in queue.client.xinfo_groups(stream)]
    assert names == [b"read"]


@pytest.mark.parametrize("batch", [500, 7])
def test_group_that_was_removed_is_told_when_it_returns(
    queue: Queue, stream: str, batch: int
) -> None:
    """It goes on where it was, and what was cut before and after its removal is counted."""
    for group in ("away", "here"):
        assert queue.run("join", group, "0") == 1
    end(queue, 30)
    read(queue, "away", 10)
    in_hand = read(queue, "away", 5, handled=False)
    # Idle times are the server's own: a moved clock does not move them.
    time.sleep(2.5)
    read(queue, "here", 30)
    removed, missed = queue.run("trim", MANY, 2_000, 1_000, 500)[1:]
    assert (removed, missed) == (["away"], ["away", 20])
    end(queue, 20, first=30)
    read(queue, "here", 20)
    # The others have handled all of it, so it goes, but for the last twelve.
    assert trim(queue, kept=12, batch=batch) == ([], {"away": 8})
    assert queue.client.xlen(stream) == 12
    since_ms = int(in_hand[0].partition(b"-")[0])
    assert queue.run("missed", "away") == [28, since_ms]
    assert queue.run("join", "away", "$") == 1
    assert queue.run("join", "away", "$") == 0
    assert len(read(queue, "away", 100)) == 12
    assert queue.run("missed", "away", 28) == 1
    assert queue.client.hgetall(queue.key("missed")) == {}


def test_removed_group_is_forgotten_in_the_end(queue: Queue, stream: str) -> None:
    """Nothing is kept for ever of a name that does not return."""
    queue.client.xgroup_create(stream, "gone", "0", mkstream=True)
    end(queue, 3)
    trim(queue)
    queue.passes(LONG_MS + 1_000)
    assert trim(queue) == (["gone"], {"gone": 3})
    queue.passes(91 * LONG_MS)
    trim(queue)
    assert queue.client.hgetall(queue.key("missed")) == {}
    assert queue.client.xinfo_groups(stream) == []


def test_trim_makes_room_on_a_full_server(queue: Queue, stream: str) -> None:
    """A group that is away must not hold Redis full: this script writes when others cannot."""
    for group in ("away", "read"):
        queue.client.xgroup_create(stream, group, "0", mkstream=True)
    end(queue, 20)
    read(queue, "read", 5)
    queue.client.config_set("maxmemory", 1)
    try:
        assert trim(queue, max_len=5) == ([], {"away": 15, "read": 10})
        assert queue.run("missed", "read", 10) == 1
    finally:
        queue.client.config_set("maxmemory", 0)
    assert queue.client.xlen(stream) == 5


def test_consumers_that_are_gone_are_removed(queue: Queue, stream: str) -> None:
    """Those of a living group that have nothing in hand; names are new with each start."""
    queue.client.xgroup_create(stream, "billing", "0", mkstream=True)
    end(queue, 3)
    queue.client.xreadgroup("billing", "holds", {stream: ">"}, count=1)
    queue.client.xreadgroup("billing", "old", {stream: ">"}, count=1)
    (entry_id,) = queue.client.xpending_range(stream, "billing", "-", "+", 1, consumername="old")
    queue.client.xack(stream, "billing", entry_id["message_id"])
    # Idle times are the server's own: a moved clock does not move them.
    time.sleep(2.5)
    queue.client.xreadgroup("billing", "here", {stream: ">"}, count=1)
    queue.run("trim", MANY, 2_000, 0, 500)
    names = {one["name"] for one in queue.client.xinfo_consumers(stream, "billing")}
    assert names == {b"holds", b"here"}
