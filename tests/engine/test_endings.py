"""The scripts that end or prolong a lease: renew, finish, retry, bury, release, reclaim."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from rig.queue import LEASE_MS, TTL_MS, Lease, Queue, entry

ENDINGS = ["finish", "retry", "bury", "release"]


@pytest.fixture(params=ENDINGS)
def end(request: pytest.FixtureRequest, queue: Queue) -> Callable[[Lease], bool]:
    """Each of the four endings."""
    ending: Callable[[Lease], bool] = getattr(queue, request.param)
    return ending


# -- fencing


def test_ending_of_a_zombie_is_refused(queue: Queue, end: Callable[[Lease], bool]) -> None:
    """Once a job was handed out again, an ending of the earlier delivery changes nothing."""
    queue.add("a")
    zombie = queue.take("a")
    queue.passes(LEASE_MS)
    queue.take("a", worker="v")
    before = queue.record("a")
    assert not end(zombie)
    assert queue.record("a") == before
    assert queue.published() == []


def test_ending_after_a_lapse_is_taken_while_nobody_has_the_job(
    queue: Queue, end: Callable[[Lease], bool]
) -> None:
    """A lease past its time that nobody took back yet is still the worker's."""
    queue.add("a")
    lease = queue.take("a")
    queue.passes(LEASE_MS * 2)
    assert end(lease)


def test_ending_is_taken_once(queue: Queue, end: Callable[[Lease], bool]) -> None:
    """The same ending again, as after a lost reply, is refused and changes nothing."""
    queue.add("a")
    lease = queue.take("a")
    assert end(lease)
    before = (queue.record("a"), queue.published(), queue.members("q:calls:leases"))
    assert not end(lease)
    assert (queue.record("a"), queue.published(), queue.members("q:calls:leases")) == before


def test_ending_of_an_unknown_job_is_refused(queue: Queue, end: Callable[[Lease], bool]) -> None:
    """An ending of a job whose record is gone makes no record."""
    queue.add("a")
    lease = queue.take("a")
    queue.client.delete(queue.key("job:a"))
    assert not end(lease)
    assert queue.record("a") == {}


def test_endings_of_one_call_are_judged_one_by_one(queue: Queue) -> None:
    """A refused ending leaves its neighbours in the same call alone."""
    from worker.engine.endings import Finish

    queue.add("a", "b", "c")
    a, b, c = queue.fetch().leases
    queue.finish(b)
    done = Finish(outcome="{}", ttl_ms=TTL_MS)
    assert queue.end_all([(a, done), (b, done), (c, done)]) == [1, 0, 1]
    assert queue.published() == [("b", "succeeded"), ("a", "succeeded"), ("c", "succeeded")]


# -- renew


def test_renew_extends_the_lease(queue: Queue) -> None:
    """A renewed lease lasts from the renewal on."""
    queue.add("a")
    lease = queue.take("a")
    for _ in range(4):
        queue.passes(LEASE_MS - 1_000)
        assert queue.renew(lease) == []
        assert queue.fetch(worker="v").ids == []


def test_renew_names_what_is_lost(queue: Queue) -> None:
    """Leases that ended, lapsed to another or have no record are named; the others go on."""
    queue.add(*"abcd")
    a, b, c, d = queue.fetch().leases
    queue.finish(a)
    queue.release(b)
    queue.client.delete(queue.key("job:c"))
    queue.take("b", worker="v")
    assert queue.renew(a, b, c, d) == ["a", "b", "c"]


def test_renew_makes_no_lease(queue: Queue) -> None:
    """Renewing a job that is not leased any more does not lease it."""
    queue.add("a")
    lease = queue.take("a")
    queue.finish(lease)
    queue.renew(lease)
    assert queue.members("q:calls:leases") == []


# -- finish


def test_finish_does_all_in_one_step(queue: Queue) -> None:
    """State, outcome, stream entry, history, lifetimes, lease and slot, and the wake-up."""
    queue.configure(cap=5)
    queue.add("a")
    lease = queue.take("a")
    with queue.client.pubsub() as listener:
        listener.subscribe(queue.key("done:a"))
        listener.get_message(timeout=1)
        assert queue.finish(lease, outcome='{"x":1}', attempt='{"status":200}')
        heard = listener.get_message(timeout=1)
    assert heard is not None
    assert heard["data"] == b'{"x":1}'
    record = queue.record("a")
    assert (record["state"], record["attempts"], record["last"]) == (
        "succeeded", "1", '{"status":200}',
    )  # fmt: skip
    assert "worker" not in record
    assert queue.outcome("a") == '{"x":1}'
    stream: Any = queue.client.xrange(queue.key("outcomes"))
    ((_, row),) = stream
    assert row == {
        b"job_id": b"a", b"kind": b"gift_checkout", b"site": b"acme", b"state": b"succeeded",
        b"outcome": b'{"x":1}',
    }  # fmt: skip
    for rest in ("job:a", "out:a"):
        assert 0 < queue.client.pttl(queue.key(rest)) <= TTL_MS
    assert queue.client.exists(queue.key("msg:a")) == 0
    assert queue.members("q:calls:leases") == []
    assert queue.client.hget(queue.key("site:acme"), "in_flight") == b"0"


def test_finish_without_counting(queue: Queue) -> None:
    """An ending that was no attempt leaves the count alone."""
    queue.add("a")
    queue.finish(queue.take("a"), state="failed", counted=False)
    assert "attempts" not in queue.record("a")


def test_finish_of_a_message_publishes_no_outcome(queue: Queue) -> None:
    """Other actors' messages never turn up in the stream of outcomes."""
    queue.add("m", mode="message")
    queue.finish(queue.take("m"), outcome='{"stored":1}')
    assert queue.published() == []
    assert queue.outcome("m") == '{"stored":1}'


def test_finish_takes_followers_in(queue: Queue) -> None:
    """What follows from an ending is in the queue in the same step, new, delayed or known."""
    queue.add("known")
    queue.add("m", mode="message")
    followers = [
        entry("next", mode="message"),
        entry("later", mode="message", delay_ms=60_000, queue="other"),
        entry("known"),
    ]
    queue.cancel("known")
    assert queue.finish(queue.take("m"), outcome="", follow=followers)
    assert queue.state("m") == "succeeded"
    assert queue.fetch().ids == ["next"]
    assert queue.state("later") == "delayed"
    queue.passes(60_000)
    assert queue.fetch(queue="other").ids == ["later"]


def test_finish_of_a_zombie_takes_no_followers_in(queue: Queue) -> None:
    """A refused ending has no consequences."""
    queue.add("m", mode="message")
    zombie = queue.take("m")
    queue.passes(LEASE_MS)
    queue.take("m", worker="v")
    assert not queue.finish(zombie, follow=[entry("next", mode="message")])
    assert queue.record("next") == {}


def test_finish_of_a_message_that_follows_itself_goes_on(queue: Queue) -> None:
    """A retry made by a middleware: the message lives on, with its new content and delay."""
    queue.add("m", mode="message")
    again = entry("m", mode="message", mark="2", message="second try", delay_ms=15_000)
    assert queue.finish(queue.take("m"), outcome="", follow=[again])
    assert queue.state("m") == "delayed"
    queue.passes(15_000)
    lease = queue.take("m")
    assert (lease.message, lease.fence, lease.deliveries) == ("second try", 2, 1)
    queue.finish(lease, outcome="")
    assert queue.state("m") == "succeeded"


# -- retry


def test_retry_delays(queue: Queue) -> None:
    """A retried job is delayed by Redis' clock, with its history, and its lease is over."""
    queue.add("a")
    assert queue.retry(queue.take("a"), delay_ms=20_000, attempt='{"status":503}')
    assert queue.state("a") == "delayed"
    assert queue.members("q:calls:leases") == []
    assert queue.client.lrange(queue.key("hist:a"), 0, -1) == [b'{"status":503}']
    queue.passes(19_000)
    assert queue.fetch().ids == []
    queue.passes(1_000)
    assert queue.take("a").attempts == 1
    assert queue.published() == []


def test_retry_counts_only_what_is_counted(queue: Queue) -> None:
    """Throttled and unsent attempts burn none."""
    queue.add("a")
    for counted in (True, False, True, False):
        queue.retry(queue.take("a"), counted=counted)
    assert queue.take("a").attempts == 2


def test_retry_keeps_the_first_unsure_delivery(queue: Queue) -> None:
    """The window runs from the first delivery whose outcome is unknown, whatever came after."""
    queue.add("a")
    first = queue.take("a")
    queue.retry(first, unsure=True)
    queue.passes(60_000)
    second = queue.take("a")
    assert second.unsure_since == first.first_delivery_at
    queue.retry(second, unsure=True)
    queue.passes(60_000)
    third = queue.take("a")
    assert third.unsure_since == first.first_delivery_at
    assert third.first_delivery_at == first.first_delivery_at


def test_retry_that_is_sure_leaves_no_doubt(queue: Queue) -> None:
    """An attempt that surely was not executed opens no window."""
    queue.add("a")
    queue.retry(queue.take("a"), unsure=False)
    assert queue.take("a").unsure_since is None


def test_retry_with_a_new_epoch(queue: Queue) -> None:
    """A new idempotency key: the doubt is over and a possible orphan is recorded."""
    queue.add("a")
    queue.retry(queue.take("a"), unsure=True, new_epoch=True)
    lease = queue.take("a")
    assert (lease.epoch, lease.unsure_since) == (1, None)
    assert queue.record("a")["orphans"] == "1"


def test_retry_can_trip_the_site(queue: Queue) -> None:
    """A wrong key stops the site, not the job: it waits with the others until resumed."""
    queue.add("a", "b")
    queue.retry(queue.take("a"), counted=False, trip_reason="401 api_authentication_failed")
    queue.passes(1)
    assert queue.fetch().ids == []
    assert queue.state("a") in {"delayed", "queued"}
    queue.run("resume", "acme")
    assert sorted(queue.fetch().ids) == ["a", "b"]


def test_retry_of_a_cancelled_job_ends_it(queue: Queue) -> None:
    """A job cancelled while it ran ends as cancelled in place of another attempt."""
    queue.add("a")
    lease = queue.take("a")
    assert queue.cancel("a") == "cancelling"
    assert queue.retry(lease, delay_ms=1_000)
    assert queue.state("a") == "cancelled"
    assert queue.published() == [("a", "cancelled")]
    assert queue.members("q:calls:delayed") == []


# -- bury


def test_bury_publishes_a_failure(queue: Queue) -> None:
    """A dead job has its outcome, its reason, a place among the dead, and keeps its message."""
    queue.add("a")
    outcome = '{"state":"failed"}'
    assert queue.bury(queue.take("a"), outcome=outcome, attempt="{}", reason="no such plan")
    record = queue.record("a")
    assert (record["state"], record["reason"], record["attempts"]) == (
        "failed", "no such plan", "1",
    )  # fmt: skip
    assert queue.members("dead") == ["a"]
    assert queue.published() == [("a", "failed")]
    assert queue.outcome("a") == outcome
    assert 0 < queue.client.pttl(queue.key("msg:a")) <= TTL_MS


def test_bury_writes_the_outcome_itself(queue: Queue) -> None:
    """Without an outcome given, the script writes one in the workers' form."""
    queue.add("a")
    queue.bury(queue.take("a"), error_class="invalid", reason="unreadable", counted=False)
    outcome = json.loads(queue.outcome("a") or "")
    assert outcome.pop("finished_at") > 0
    assert outcome == {
        "job_id": "a", "kind": "gift_checkout", "site": "acme", "state": "failed", "attempts": 0,
        "hosted_page": None, "offers": None, "brand": None, "expires_at": None, "replayed": False,
        "error": {"class": "invalid", "status": None, "api_error_code": None, "param": None,
                  "reason": "unreadable", "retryable": False},
    }  # fmt: skip


def test_bury_holds(queue: Queue) -> None:
    """A held job waits for a person: no outcome, no lifetime, and whoever waits is told."""
    queue.add("a")
    lease = queue.take("a")
    with queue.client.pubsub() as listener:
        listener.subscribe(queue.key("done:a"))
        listener.get_message(timeout=1)
        assert queue.bury(lease, state="held", reason="the window has closed")
        heard = listener.get_message(timeout=1)
    assert heard is not None
    assert heard["data"] == b"held"
    record = queue.record("a")
    assert (record["state"], record["unsure_since"]) == ("held", str(lease.first_delivery_at))
    assert queue.members("held") == ["a"]
    assert queue.members("dead") == []
    assert queue.published() == []
    assert queue.outcome("a") is None
    assert queue.client.pttl(queue.key("job:a")) == -1


def test_bury_keeps_the_message_as_it_is_now(queue: Queue) -> None:
    """A dead message of another actor carries what its middleware noted on it."""
    queue.add("m", mode="message")
    queue.bury(queue.take("m"), message=b"with traceback")
    assert queue.client.get(queue.key("msg:m")) == b"with traceback"


def test_bury_takes_followers_in(queue: Queue) -> None:
    """What is enqueued because a message failed is in with its burial."""
    queue.add("m", mode="message")
    queue.bury(queue.take("m"), follow=[entry("handler", mode="message")])
    assert queue.fetch().ids == ["handler"]
    assert queue.state("m") == "failed"


def test_bury_of_a_message_sent_again_lets_it_run(queue: Queue) -> None:
    """A message that was sent again while it ran is not lost when that run fails."""
    queue.add("m", mode="message", mark="1")
    lease = queue.take("m")
    assert queue.enqueue(entry("m", mode="message", mark="2", message="later"))[0][0] == "again"
    queue.bury(lease, message=b"failed")
    assert queue.take("m").message == "later"


def test_dead_letters_stay_in_the_list_as_long_as_their_records(queue: Queue) -> None:
    """One that is kept for a short time does not push those off that are kept longer."""
    queue.add("long", "short")
    long, short = queue.fetch().leases
    queue.bury(long, ttl_ms=1_000_000)
    queue.passes(50_000)
    queue.bury(short, ttl_ms=1_000)
    assert queue.members("dead") == ["long", "short"]


def test_dead_letters_leave_the_list_with_their_records(queue: Queue) -> None:
    """The list of the dead does not grow for ever: ids whose records have gone leave it."""
    queue.add("a", "b", "c")
    for lease in queue.fetch().leases:
        queue.bury(lease)
    queue.client.delete(queue.key("job:a"), queue.key("job:b"))
    queue.add("d")
    queue.bury(queue.take("d"))
    assert queue.members("dead") == ["c", "d"]


# -- release


def test_release_puts_back_at_the_head(queue: Queue) -> None:
    """Given back in any number, jobs stand at the head of their lines in the order they had."""
    from worker.engine.endings import Release

    queue.add(*"abcde")
    a, b, c = queue.fetch(3).leases
    assert queue.end_all([(a, Release()), (b, Release()), (c, Release())]) == [1, 1, 1]
    assert queue.fetch().ids == list("abcde")


def test_release_counts_no_delivery(queue: Queue) -> None:
    """Deploys are no poison: a job given back any number of times is not buried."""
    queue.add("a")
    for _ in range(6):
        lease = queue.take("a")
        assert (lease.deliveries, lease.attempts, lease.unsure_since) == (1, 0, None)
        queue.release(lease)


def test_release_of_a_broken_off_call_is_unsure(queue: Queue) -> None:
    """A call broken off after sending may have been executed: the next delivery knows."""
    queue.add("a")
    lease = queue.take("a")
    queue.release(lease, unsure=True)
    assert queue.take("a").unsure_since == lease.first_delivery_at


def test_release_of_a_cancelled_job_ends_it_at_the_next_fetch(queue: Queue) -> None:
    """A job cancelled while it ran and given back is not run again."""
    queue.add("a")
    lease = queue.take("a")
    queue.cancel("a")
    queue.release(lease)
    assert queue.fetch().ids == []
    assert queue.state("a") == "cancelled"


# -- reclaim


def test_reclaim_gives_back_what_never_arrived(queue: Queue) -> None:
    """A worker names what it knows; its other leases go back to the heads of their lines."""
    queue.add(*"abcde")
    queue.fetch(3)
    queue.take("d", worker="v")
    assert sorted(queue.run("reclaim", "calls", "w", "b")) == ["a", "c"]
    assert queue.members("q:calls:leases") == ["b", "d"]
    assert queue.fetch().ids == ["a", "c", "e"]


def test_reclaim_counts_no_delivery(queue: Queue) -> None:
    """A lost reply is not the job's fault."""
    queue.add("a")
    for _ in range(5):
        assert queue.take("a").deliveries == 1
        assert queue.run("reclaim", "calls", "w") == ["a"]


def test_reclaim_frees_the_slots(queue: Queue) -> None:
    """Reclaimed jobs do not count as in flight."""
    queue.configure(cap=1)
    queue.add("a")
    queue.take("a")
    queue.run("reclaim", "calls", "w")
    assert queue.fetch().ids == ["a"]
