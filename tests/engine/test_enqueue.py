"""The enqueue script: new, known, conflict, again."""

from __future__ import annotations

import redis
from rig.queue import Queue, entry


def test_enqueue_makes_a_record(queue: Queue) -> None:
    """A new job has a record, a message, a place in its line and rings the bell."""
    assert queue.enqueue(entry("a", key="order-1")) == [["new", "queued"]]
    record = queue.record("a")
    assert {name: record[name] for name in ("v", "mode", "actor", "queue", "site", "lane")} == {
        "v": "1", "mode": "job", "actor": "gift_checkout", "queue": "calls", "site": "acme",
        "lane": "interactive",
    }  # fmt: skip
    assert (record["state"], record["mark"], record["key"]) == ("queued", "digest", "order-1")
    assert queue.client.get(queue.key("msg:a")) == b"message"
    assert queue.client.llen(queue.key("q:calls:bell")) == 1
    assert queue.fetch().ids == ["a"]


def test_enqueue_knows_the_same_job(queue: Queue) -> None:
    """The same id and digest again is the same job, in whatever state it is."""
    queue.add("a")
    assert queue.enqueue(entry("a")) == [["known", "queued"]]
    lease = queue.take()
    assert queue.enqueue(entry("a")) == [["known", "running"]]
    queue.finish(lease)
    assert queue.enqueue(entry("a")) == [["known", "succeeded"]]
    assert queue.fetch().ids == []
    assert queue.published() == [("a", "succeeded")]


def test_enqueue_refuses_another_payload(queue: Queue) -> None:
    """Another mark under the same id is a conflict, told with the stored one; nothing changes."""
    queue.add("a")
    before = queue.record("a")
    words = queue.enqueue(entry("a", mark="other", message="other"))
    assert words == [["conflict", "queued", "digest", ""]]
    assert queue.record("a") == before
    assert queue.take().message == "message"


def test_enqueue_keeps_what_tells_requests_apart(queue: Queue) -> None:
    """What follows the mark and a blank is no part of it, and comes back with a conflict."""
    parts = b"CfM1xA== and more"
    assert queue.enqueue(entry("a", parts=parts))[0][0] == "new"
    assert queue.client.hget(queue.key("job:a"), "parts") == parts
    assert queue.enqueue(entry("a"))[0][0] == "known"
    (found,) = queue.scripts.run("enqueue", 0, [*entry("a", mark="x").arguments(), 1, 1])
    assert found == [b"conflict", b"queued", b"digest", parts]


def test_enqueue_batch_is_taken_job_by_job(queue: Queue) -> None:
    """In one call each entry has its own word, a repeated id included."""
    queue.add("a")
    words = queue.enqueue(entry("b"), entry("a"), entry("b"), entry("a", mark="x"), entry("c"))
    assert [word for word, *_ in words] == ["new", "known", "known", "conflict", "new"]
    assert queue.fetch().ids == ["a", "b", "c"]


def test_enqueue_keeps_the_order(queue: Queue) -> None:
    """Jobs of one site and lane come out in the order they went in."""
    ids = [f"job-{number}" for number in range(50)]
    queue.enqueue(*(entry(job_id) for job_id in ids[:30]))
    queue.enqueue(*(entry(job_id) for job_id in ids[30:]))
    assert queue.fetch(20).ids + queue.fetch(40).ids == ids


def test_enqueue_delays(queue: Queue) -> None:
    """A delayed job is not handed out before its time; fetch says when that is."""
    assert queue.enqueue(entry("a", delay_ms=60_000)) == [["new", "delayed"]]
    early = queue.fetch()
    assert early.ids == []
    assert early.wait_ms is not None
    assert 59_000 < early.wait_ms <= 60_000
    queue.passes(60_000)
    assert queue.fetch().ids == ["a"]


def test_enqueue_notes_the_deadline(queue: Queue) -> None:
    """The deadline counts from the enqueue, in Redis time."""
    queue.add("a", deadline_ms=5_000)
    record = queue.record("a")
    assert int(record["deadline_at"]) - int(record["enqueued_at"]) == 5_000
    assert queue.take().deadline_at == int(record["deadline_at"])


def test_enqueue_repeated_send_of_a_message_runs_once(queue: Queue) -> None:
    """A plain message sent again by its client, even after its run, is the same send."""
    queue.add("m", mode="message", mark="token-1")
    assert queue.enqueue(entry("m", mode="message", mark="token-1"))[0][0] == "known"
    queue.finish(queue.take(), outcome="")
    assert queue.enqueue(entry("m", mode="message", mark="token-1"))[0][0] == "known"
    assert queue.fetch().ids == []


def test_enqueue_of_a_waiting_message_runs_once(queue: Queue) -> None:
    """Another send of a message that still waits adds nothing."""
    queue.add("m", mode="message", mark="token-1")
    assert queue.enqueue(entry("m", mode="message", mark="token-2"))[0][0] == "known"
    assert queue.fetch().ids == ["m"]


def test_enqueue_of_a_running_message_runs_again(queue: Queue) -> None:
    """A message sent while it runs goes on living: one more run after this one, as it is now."""
    queue.add("m", mode="message", mark="token-1")
    lease = queue.take()
    again = entry("m", mode="message", mark="token-2", message="changed", delay_ms=30_000)
    assert queue.enqueue(again) == [["again", "running"]]
    assert queue.finish(lease, outcome="")
    assert queue.state("m") == "delayed"
    assert queue.fetch().ids == []
    queue.passes(30_000)
    assert queue.take().message == "changed"


def test_enqueue_of_an_ended_message_is_a_new_run(queue: Queue) -> None:
    """A new send of a message that has ended, or is dead, starts afresh."""
    queue.add("m", mode="message", mark="token-1")
    queue.bury(queue.take(), outcome="")
    assert queue.members("dead") == ["m"]
    assert queue.enqueue(entry("m", mode="message", mark="token-2")) == [["new", "queued"]]
    assert queue.members("dead") == []
    record = queue.record("m")
    assert "finished_at" not in record
    assert queue.client.ttl(queue.key("job:m")) == -1
    assert queue.take().deliveries == 1


def test_enqueue_rings_up_to_eight_times(queue: Queue, client: redis.Redis) -> None:
    """The bell is short: a flood of jobs wakes a few workers, who wake the next."""
    for number in range(20):
        queue.add(f"job-{number}")
    assert client.llen(queue.key("q:calls:bell")) == 8
