"""The fetch script: order, promotion, lapse, deadlines, and records that cannot be run."""

from __future__ import annotations

import json

import pytest
from rig.queue import LEASE_MS, MAX_DELIVERIES, TTL_MS, Queue, entry


def test_fetch_leases(queue: Queue) -> None:
    """A job handed out is running, under a fence, counted as delivered, and nobody else's."""
    queue.add("a")
    lease = queue.take("a")
    assert (lease.fence, lease.deliveries, lease.attempts, lease.epoch) == (1, 1, 0, 0)
    assert (lease.unsure_since, lease.deadline_at) == (None, None)
    assert lease.first_delivery_at >= lease.enqueued_at
    record = queue.record("a")
    assert (record["state"], record["worker"]) == ("running", "w")
    assert queue.members("q:calls:leases") == ["a"]
    assert queue.fetch(worker="v").ids == []


def test_fetch_takes_sites_in_turn(queue: Queue) -> None:
    """A backlog of one site does not hold up another: sites are served one by one."""
    queue.add(*(f"a{n}" for n in range(6)), site="a")
    queue.add("b0", "b1", site="b")
    queue.add("c0", site="c")
    assert queue.fetch(6).ids == ["a0", "b0", "c0", "a1", "b1", "a2"]
    queue.add("d0", site="d")
    assert "d0" in queue.fetch(2).ids


def test_fetch_prefers_the_interactive_lane(queue: Queue) -> None:
    """Within a site interactive jobs go before bulk ones, each in order."""
    queue.add("b1", "b2", lane="bulk")
    queue.add("i1", "i2")
    assert queue.fetch(3).ids == ["i1", "i2", "b1"]
    queue.add("i3")
    assert queue.fetch(3).ids == ["i3", "b2"]


def test_fetch_of_one_queue_leaves_the_others(queue: Queue) -> None:
    """A queue's jobs are its own."""
    queue.add("a", queue="one")
    queue.add("b", queue="two")
    assert queue.fetch(queue="one").ids == ["a"]
    assert queue.fetch(queue="two").ids == ["b"]


def test_fetch_promotes_in_due_order(queue: Queue) -> None:
    """Delayed jobs come by due time, whatever the order they were enqueued in."""
    queue.add("late", delay_ms=30_000)
    queue.add("soon", delay_ms=10_000)
    queue.add("now")
    queue.passes(30_000)
    assert queue.fetch().ids == ["now", "soon", "late"]


def test_fetch_takes_back_lapsed_leases(queue: Queue) -> None:
    """A lease that was not renewed lapses: the job is at the head of its line, attempt unsure."""
    queue.add("a", "b", "c")
    first = queue.take("a")
    queue.take("b")
    queue.passes(LEASE_MS - 1_000)
    assert queue.fetch(0).ids == []
    queue.passes(1_000)
    second = queue.take("a", worker="v")
    assert (second.fence, second.deliveries) == (2, 2)
    assert second.unsure_since == first.first_delivery_at
    assert queue.fetch().ids == ["b", "c"]


def test_fetch_says_when_to_look_again(queue: Queue) -> None:
    """`look_at` is the next lapse, due time, deadline or turn, whatever is first."""
    assert queue.fetch().wait_ms is None
    queue.add("d", delay_ms=90_000)
    assert 89_000 < (queue.fetch().wait_ms or 0) <= 90_000
    queue.add("a", deadline_ms=40_000)
    queue.take("a")
    assert LEASE_MS - 1_000 < (queue.fetch().wait_ms or 0) <= LEASE_MS
    queue.run("pause", "acme", "401")
    queue.add("b", deadline_ms=5_000)
    assert 4_000 < (queue.fetch().wait_ms or 0) <= 5_000


def test_fetch_rings_on_when_work_is_left(queue: Queue) -> None:
    """Whoever fetches wakes the next one while there is more, and silences the bell when not."""
    queue.add("a", "b")
    bell = queue.key("q:calls:bell")
    queue.client.delete(bell)
    queue.take()
    assert queue.client.llen(bell) == 1
    assert queue.fetch().ids == ["b"]
    assert queue.fetch().ids == []
    assert queue.client.llen(bell) == 0


def test_fetch_buries_a_poison_job(queue: Queue) -> None:
    """After three deliveries without an ending a job is dead: it may be killing its workers."""
    queue.add("a")
    for number in range(MAX_DELIVERIES):
        assert queue.take("a").deliveries == number + 1
        queue.passes(LEASE_MS)
    assert queue.fetch().ids == []
    assert queue.members("dead") == ["a"]
    assert queue.published() == [("a", "failed")]
    outcome = json.loads(queue.outcome("a") or "")
    assert (outcome["state"], outcome["error"]["class"]) == ("failed", "poison")
    assert outcome["error"]["reason"] == "no ending after 3 deliveries"
    assert 0 < queue.client.pttl(queue.key("job:a")) <= TTL_MS


def lose(queue: Queue, worker: str) -> None:
    """Let a worker take all there is and never be heard of again."""
    queue.fetch(worker=worker)
    queue.passes(LEASE_MS)
    queue.fetch(0)


def lose_workers(queue: Queue, number: int) -> None:
    """Lose workers whose jobs end well elsewhere: no job is to blame."""
    for place in range(number):
        queue.add(f"innocent-{place}")
        lose(queue, f"worker-{place}")
        queue.finish(queue.take(f"innocent-{place}"))


def test_fetch_blames_no_job_while_workers_die_anyway(queue: Queue) -> None:
    """With four workers lost that no job is to blame for, three deaths around a job are chance."""
    lose_workers(queue, 4)
    queue.add("a")
    for number in range(2 * MAX_DELIVERIES):
        assert queue.state("a") == "queued"
        lose(queue, f"w-{number}")
    assert queue.state("a") == "failed"
    assert queue.record("a")["reason"] == "no ending after 6 deliveries"


@pytest.mark.parametrize(("lost", "later_ms"), [(2, 0), (4, 10 * LEASE_MS)])
def test_fetch_blames_a_job_when_few_workers_died_of_late(
    queue: Queue, lost: int, later_ms: int
) -> None:
    """Two other losses, or any number of them ten leases ago, leave a deadly job its three."""
    lose_workers(queue, lost)
    queue.passes(later_ms)
    queue.add("a")
    for number in range(MAX_DELIVERIES):
        assert queue.state("a") == "queued"
        lose(queue, f"w-{number}")
    assert queue.state("a") == "failed"


def test_fetch_blames_the_job_and_not_its_neighbours(queue: Queue) -> None:
    """A job that takes its neighbours along, new ones each time, is poison after three."""
    queue.add("deadly")
    near = [[f"near-{number}-{place}" for place in range(4)] for number in range(MAX_DELIVERIES)]
    for number, ids in enumerate(near):
        queue.add(*ids)
        lose(queue, f"w-{number}")
        for lease in queue.fetch(worker="good").leases:
            if lease.id == "deadly":
                queue.release(lease)
            else:
                queue.finish(lease)
    assert queue.state("deadly") == "failed"
    assert {queue.state(one) for ids in near for one in ids} == {"succeeded"}


def test_fetch_counts_deliveries_without_an_ending_only(queue: Queue) -> None:
    """An ending in between starts the count of deliveries anew."""
    queue.add("a")
    for _ in range(MAX_DELIVERIES + 2):
        lease = queue.take("a")
        assert lease.deliveries == 1
        queue.retry(lease)


def test_fetch_expires_a_late_job(queue: Queue) -> None:
    """A job past its deadline ends as expired and is never handed out, queued or delayed."""
    queue.add("a", deadline_ms=5_000)
    queue.add("b", deadline_ms=5_000, delay_ms=60_000)
    queue.add("c")
    queue.passes(5_000)
    assert queue.fetch().ids == ["c"]
    assert {queue.state("a"), queue.state("b")} == {"expired"}
    assert sorted(queue.published()) == [("a", "expired"), ("b", "expired")]
    assert json.loads(queue.outcome("a") or "")["error"]["class"] == "expired"
    assert queue.members("q:calls:deadlines") == queue.members("q:calls:delayed") == []


def test_fetch_expires_a_late_job_that_came_back(queue: Queue) -> None:
    """A job that ran when its deadline passed is not run once more."""
    queue.add("a", deadline_ms=5_000)
    lease = queue.take("a")
    queue.passes(5_000)
    queue.fetch()
    assert queue.state("a") == "running"
    queue.release(lease)
    assert queue.fetch().ids == []
    assert queue.state("a") == "expired"


def test_fetch_passes_over_stray_ids(queue: Queue) -> None:
    """Ids without a record, in a line, a lease or a delay, do no harm."""
    queue.client.rpush(queue.key("q:calls:line:acme:interactive"), "stray-1", "stray-2")
    queue.client.zadd(queue.key("q:calls:leases"), {"stray-3": 1})
    queue.client.zadd(queue.key("q:calls:delayed"), {"stray-4": 1})
    queue.client.zadd(queue.key("q:calls:deadlines"), {"stray-5": 1})
    queue.add("a")
    queue.client.zadd(queue.key("q:calls:turn"), {"acme": 0, "ghost": 0})
    assert queue.fetch().ids == ["a"]
    for rest in ("leases", "delayed", "deadlines"):
        assert not [one for one in queue.members(f"q:calls:{rest}") if one.startswith("stray")]


def test_fetch_buries_a_record_without_a_message(queue: Queue) -> None:
    """A record whose message is gone is buried by itself; its neighbours run."""
    queue.add("a", "b")
    queue.client.delete(queue.key("msg:a"))
    assert queue.fetch().ids == ["b"]
    outcome = json.loads(queue.outcome("a") or "")
    assert outcome["error"]["class"] == "invalid"
    assert queue.record("a")["reason"] == "the record has no message"


def test_fetch_skips_a_job_that_was_cancelled_in_its_line(queue: Queue) -> None:
    """The id of a cancelled job leaves the line unseen."""
    queue.add("a", "b")
    assert queue.cancel("a") == "cancelled"
    assert queue.fetch().ids == ["b"]


def test_fetch_works_through_a_line_of_stale_ids(queue: Queue) -> None:
    """A long line of cancelled jobs is cleared over a few fetches; the bell goes on ringing."""
    ids = [f"job-{number}" for number in range(300)]
    queue.enqueue(*(entry(job_id) for job_id in ids))
    for job_id in ids[:-1]:
        queue.cancel(job_id)
    for _ in range(20):
        fetched = queue.fetch(1)
        if fetched.ids:
            break
        assert fetched.wait_ms is not None
        assert fetched.wait_ms <= 0
        assert queue.client.llen(queue.key("q:calls:bell")) > 0
    assert fetched.ids == [ids[-1]]


def test_fetch_of_none_only_moves(queue: Queue) -> None:
    """A worker without room can still promote and take back; it leases nothing."""
    queue.add("a", delay_ms=1_000)
    queue.passes(1_000)
    assert queue.fetch(0).ids == []
    assert queue.state("a") == "queued"
