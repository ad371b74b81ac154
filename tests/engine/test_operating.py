"""The operator's moves: cancel, replay, discard, configure, flush, depth."""

from __future__ import annotations

import json

import pytest
from rig.queue import LEASE_MS, TTL_MS, WINDOW_MS, Queue, entry

from worker.engine.queue_clock import redis_now_ms


def dead(queue: Queue, job_id: str = "a", *, unsure: bool = False) -> None:
    """Bring a job among the dead."""
    queue.add(job_id)
    lease = queue.take(job_id)
    if unsure:
        queue.retry(lease, unsure=True)
        lease = queue.take(job_id)
    queue.bury(lease)


def held(queue: Queue, job_id: str = "a") -> None:
    """Bring a job among the held."""
    queue.add(job_id)
    queue.bury(queue.take(job_id), state="held")


# -- cancel


@pytest.mark.parametrize("delay_ms", [0, 60_000])
def test_cancel_ends_a_waiting_job(queue: Queue, delay_ms: int) -> None:
    """A queued or delayed job ends at once, with an outcome, and is never handed out."""
    queue.add("a", delay_ms=delay_ms, deadline_ms=90_000)
    assert queue.cancel("a") == "cancelled"
    assert queue.published() == [("a", "cancelled")]
    outcome = json.loads(queue.outcome("a") or "")
    assert (outcome["state"], outcome["error"]["class"]) == ("cancelled", "cancelled")
    queue.passes(100_000)
    assert queue.fetch().ids == []
    assert queue.published() == [("a", "cancelled")]
    assert queue.members("q:calls:deadlines") == queue.members("q:calls:delayed") == []


def test_cancel_ends_a_held_job(queue: Queue) -> None:
    """A held job can be cancelled; it leaves the list of the held."""
    held(queue)
    assert queue.cancel("a") == "cancelled"
    assert queue.members("held") == []
    assert queue.state("a") == "cancelled"


def test_cancel_of_a_running_job_lets_its_attempt_end(queue: Queue) -> None:
    """An attempt under way may succeed: then the job has succeeded."""
    queue.add("a")
    lease = queue.take("a")
    assert queue.cancel("a") == "cancelling"
    assert queue.state("a") == "running"
    queue.finish(lease)
    assert queue.published() == [("a", "succeeded")]
    assert "cancel" not in queue.record("a")


def test_cancel_of_a_running_job_ends_it_when_its_worker_dies(queue: Queue) -> None:
    """A cancelled job whose lease lapses is not handed out again."""
    queue.add("a")
    queue.take("a")
    queue.cancel("a")
    queue.passes(LEASE_MS)
    assert queue.fetch().ids == []
    assert queue.published() == [("a", "cancelled")]


def test_cancel_says_what_it_finds(queue: Queue) -> None:
    """An ended job keeps its state, an unknown one is missing."""
    queue.add("a")
    queue.finish(queue.take("a"))
    assert queue.cancel("a") == "succeeded"
    assert queue.cancel("nobody") == "missing"
    dead(queue, "b")
    assert queue.cancel("b") == "failed"


# -- replay


@pytest.mark.parametrize("bring", [dead, held])
def test_replay_runs_a_job_again(queue: Queue, bring: object) -> None:
    """A dead or held job goes back to its line under the same id, with a fresh count."""
    assert callable(bring)
    bring(queue)
    assert queue.replay("a") == "queued"
    assert queue.members("dead") == queue.members("held") == []
    assert queue.outcome("a") is None
    for rest in ("job:a", "msg:a"):
        assert queue.client.pttl(queue.key(rest)) == -1
    lease = queue.take("a")
    assert (lease.attempts, lease.deliveries, lease.epoch, lease.message) == (0, 1, 0, "message")
    queue.finish(lease)
    assert queue.published()[-1] == ("a", "succeeded")


def test_replay_of_expired_and_cancelled_jobs(queue: Queue) -> None:
    """Both may be replayed, and an old deadline does not end them again."""
    queue.add("late", deadline_ms=1_000)
    queue.add("off")
    queue.cancel("off")
    queue.passes(1_000)
    queue.fetch()
    assert queue.state("late") == "expired"
    assert queue.replay("late") == queue.replay("off") == "queued"
    assert sorted(queue.fetch().ids) == ["late", "off"]


def test_replay_keeps_the_key_inside_the_window(queue: Queue) -> None:
    """While the API still knows the key, an unsure job is repeated under the same one."""
    dead(queue, unsure=True)
    queue.passes(WINDOW_MS // 25 * 5)
    queue.client.persist(queue.key("job:a"))
    assert queue.replay("a") == "queued"
    lease = queue.take("a")
    assert lease.epoch == 0
    assert lease.unsure_since is not None


def test_replay_after_the_window_needs_a_new_key(queue: Queue) -> None:
    """Later a person must ask for a new key; the possible orphan is recorded."""
    dead(queue, unsure=True)
    queue.passes(WINDOW_MS + 1_000)
    assert queue.replay("a") == "needs_new_key"
    assert queue.state("a") == "failed"
    assert queue.replay("a", new_key=True) == "queued"
    lease = queue.take("a")
    assert (lease.epoch, lease.unsure_since) == (1, None)
    assert queue.record("a")["orphans"] == "1"


def test_replay_of_a_sure_job_needs_no_new_key(queue: Queue) -> None:
    """Where no attempt's outcome is unknown the window does not matter."""
    dead(queue)
    queue.passes(WINDOW_MS * 10)
    assert queue.replay("a") == "queued"
    assert "orphans" not in queue.record("a")


def test_replay_says_what_it_finds(queue: Queue) -> None:
    """Jobs that wait, run or have succeeded are not replayed; nor is one without a message."""
    assert queue.replay("nobody") == "missing"
    queue.add("a")
    assert queue.replay("a") == "queued"
    lease = queue.take("a")
    assert queue.replay("a") == "running"
    queue.finish(lease)
    assert queue.replay("a") == "succeeded"
    dead(queue, "b")
    queue.discard("b")
    assert queue.replay("b") == "gone"


def test_replayed_job_is_not_handed_out_twice(queue: Queue) -> None:
    """The id that a cancelled job left in its line does not run it a second time."""
    queue.add("a")
    queue.cancel("a")
    queue.replay("a")
    assert queue.fetch().ids == ["a"]
    assert queue.fetch().ids == []


# -- discard


def test_discard_drops_a_dead_letter(queue: Queue) -> None:
    """A dead letter leaves the list; its outcome stays, its message does not."""
    dead(queue)
    published = queue.published()
    assert queue.discard("a") == "discarded"
    assert queue.members("dead") == []
    assert queue.client.exists(queue.key("msg:a")) == 0
    assert queue.outcome("a") is not None
    assert queue.published() == published


def test_discard_ends_a_held_job(queue: Queue) -> None:
    """A held job is answered: it has failed, a person has decided."""
    held(queue)
    assert queue.discard("a") == "discarded"
    assert queue.members("held") == []
    assert queue.published() == [("a", "failed")]
    assert json.loads(queue.outcome("a") or "")["error"]["class"] == "discarded"
    assert 0 < queue.client.pttl(queue.key("job:a")) <= TTL_MS


def test_discard_says_what_it_finds(queue: Queue) -> None:
    """Jobs that still live are not discarded; an id left in the list without a record is."""
    queue.add("a")
    assert queue.discard("a") == "queued"
    queue.client.zadd(queue.key("dead"), {"ghost": 1})
    assert queue.discard("ghost") == "missing"
    assert queue.members("dead") == []


# -- configure


def test_configure_writes_many_sites(queue: Queue) -> None:
    """Budgets of many sites in one call; what is in flight and the clock are left alone."""
    queue.configure("b", interval_ms=10, cap=2)
    queue.add("x", site="b")
    queue.take("x")
    rows = ("a", 400, 1200, 50, 10, "", 0, "b", 0, 0, 0, 10, "", 0)
    assert queue.run("configure", "host:1:a", *rows) == [[0], [0]]
    assert queue.client.smembers(queue.key("sites")) >= {b"a", b"b"}
    fields = ["interval_ms", "burst_ms", "max_in_flight", "in_flight"]
    assert queue.client.hmget(queue.key("site:a"), fields) == [b"400", b"1200", b"50", None]
    assert queue.client.hget(queue.key("site:b"), "in_flight") == b"1"


def test_configure_takes_fractions(queue: Queue) -> None:
    """A rate of 145 a minute is an interval of 413.79... ms: the fraction counts."""
    # The minute of this test alone counts, however long the test takes.
    queue.client.set(queue.key("stopped_at"), redis_now_ms(queue.client))
    queue.run("configure", "w", "acme", 60_000 / 145, 60_000 / 145, 0, 10, "", 0)
    queue.enqueue(*(entry(f"job-{n}") for n in range(200)))
    got = 0
    for _ in range(600):
        queue.passes(100)
        got += len(queue.fetch(1).ids)
    assert 140 <= got <= 150


# -- flush and depth


def test_depth_counts(queue: Queue) -> None:
    """Waiting, delayed and running, over all sites and lanes of one queue."""
    assert queue.run("depth", "calls") == [0, 0, 0]
    queue.add("a", "b", "c")
    queue.add("d", site="other", lane="bulk")
    queue.add("e", delay_ms=1_000)
    queue.add("f", queue="another")
    queue.take()
    assert queue.run("depth", "calls") == [3, 1, 1]
    assert queue.run("depth", "another") == [1, 0, 0]


def test_flush_drops_what_waits(queue: Queue) -> None:
    """Waiting and delayed jobs go with all their keys; running ones and other queues stay."""
    queue.add("run")
    lease = queue.take("run")
    queue.add("a", "b", deadline_ms=1_000)
    queue.add("c", site="other", lane="bulk")
    queue.add("d", delay_ms=5_000)
    queue.add("e", queue="another")
    while queue.run("flush", "calls", 2):
        pass
    assert queue.run("depth", "calls") == [0, 0, 1]
    for job_id in "abcd":
        assert queue.client.exists(queue.key(f"job:{job_id}"), queue.key(f"msg:{job_id}")) == 0
    assert queue.members("q:calls:turn") == queue.members("q:calls:deadlines") == []
    assert queue.finish(lease)
    assert queue.fetch(queue="another").ids == ["e"]
    queue.add("a")
    assert queue.fetch().ids == ["a"]


def test_flush_drops_at_most_so_many_a_call(queue: Queue) -> None:
    """One call is bounded, of waiting and of delayed jobs alike."""
    queue.add("a", "b", "c")
    queue.add("d", "e", "f", delay_ms=5_000)
    assert queue.run("flush", "calls", 2) == 2
    assert queue.run("flush", "calls", 2) == 2
    assert queue.run("flush", "calls", 2) == 2
    assert queue.run("flush", "calls", 2) == 0
