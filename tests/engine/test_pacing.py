"""Pacing: a site's rate, its calls in flight, waits and pauses, as fetch keeps them."""

from __future__ import annotations

from rig.queue import LEASE_MS, Queue, entry


def test_rate_spaces_the_calls(queue: Queue) -> None:
    """With no burst one call goes per interval, and fetch says when the next may."""
    queue.configure(interval_ms=1_000)
    queue.add(*"abc")
    first = queue.fetch()
    assert first.ids == ["a"]
    assert first.wait_ms is not None
    assert 0 < first.wait_ms <= 1_000
    queue.passes(999 - 200)
    assert queue.fetch().ids == []
    queue.passes(201)
    assert queue.fetch().ids == ["b"]


def test_rate_allows_a_burst(queue: Queue) -> None:
    """A burst of n intervals lets n + 1 calls go at once; saved time is not saved up beyond it."""
    queue.configure(interval_ms=1_000, burst_ms=3_000)
    queue.add(*(f"job-{n}" for n in range(20)))
    assert len(queue.fetch().ids) == 4
    queue.passes(600_000)
    assert len(queue.fetch().ids) == 4
    queue.passes(1_000)
    assert len(queue.fetch().ids) == 1


def test_rate_holds_over_many_fetches(queue: Queue) -> None:
    """In ten minutes at 60 a minute 600 calls go, give or take the burst."""
    queue.configure(interval_ms=1_000, burst_ms=2_000)
    queue.enqueue(*(entry(f"job-{n}") for n in range(700)))
    got = 0
    for _ in range(120):
        leases = queue.fetch(20).leases
        got += len(leases)
        for lease in leases:
            queue.finish(lease)
        queue.passes(5_000)
    assert 355 <= got <= 363  # 3 at once, then 3 per 5 s: the burst bounds what an idle time saves


def test_rate_of_one_site_leaves_others_alone(queue: Queue) -> None:
    """A site that has used its budget up does not hold up the rest."""
    queue.configure("slow", interval_ms=10_000)
    queue.add("s1", "s2", site="slow")
    queue.add("f1", "f2", site="fast")
    assert sorted(queue.fetch().ids) == ["f1", "f2", "s1"]


def test_retries_wait_for_the_rate_too(queue: Queue) -> None:
    """A retried job takes its place in the rate like any other."""
    queue.configure(interval_ms=10_000)
    queue.add("a")
    queue.retry(queue.take())
    assert queue.fetch().ids == []
    queue.passes(10_000)
    assert queue.fetch().ids == ["a"]


def test_max_in_flight_blocks_and_frees(queue: Queue) -> None:
    """No more than the cap run at once; any ending lets the next one go and rings the bell."""
    queue.configure(cap=2)
    queue.add(*"abcdef")
    leases = queue.fetch().leases
    assert [one.id for one in leases] == ["a", "b"]
    assert queue.fetch().ids == []
    bell = queue.key("q:calls:bell")
    queue.client.delete(bell)
    queue.finish(leases[0])
    assert queue.client.llen(bell) == 1
    (third,) = queue.fetch().leases
    queue.retry(third, delay_ms=60_000)
    (fourth,) = queue.fetch().leases
    queue.bury(fourth)
    (fifth,) = queue.fetch().leases
    assert fifth.id == "e"
    queue.release(fifth)
    assert queue.take().id == "e"
    assert queue.client.hget(queue.key("site:acme"), "in_flight") == b"2"


def test_max_in_flight_is_freed_by_a_lapse(queue: Queue) -> None:
    """A dead worker's slots come back with its leases."""
    queue.configure(cap=1)
    queue.add("a", "b")
    queue.take("a")
    queue.passes(LEASE_MS)
    assert queue.fetch(worker="v").ids == ["a"]
    assert queue.client.hget(queue.key("site:acme"), "in_flight") == b"1"


def test_max_in_flight_is_not_freed_by_a_refused_ending(queue: Queue) -> None:
    """A zombie's endings do not open slots."""
    queue.configure(cap=1)
    queue.add("a", "b")
    zombie = queue.take("a")
    queue.passes(LEASE_MS)
    queue.take("a", worker="v")
    assert not queue.finish(zombie)
    assert not queue.release(zombie)
    assert queue.fetch().ids == []


def test_max_in_flight_raised_later_opens_the_line(queue: Queue) -> None:
    """A budget that grows takes effect with the next ending at the latest."""
    queue.configure(cap=1)
    queue.add("a", "b", "c")
    lease = queue.take("a")
    queue.configure(cap=3)
    queue.finish(lease)
    assert queue.fetch().ids == ["b", "c"]


def test_paused_site_is_handed_out_no_more(queue: Queue) -> None:
    """A pause keeps the jobs in their lines, those that come and come back too."""
    queue.add("a", "b", "c")
    queue.add("other", site="other")
    lease = queue.take("a")
    assert queue.run("pause", "acme", "401") == "paused"
    queue.release(lease)
    queue.add("d")
    assert queue.fetch().ids == ["other"]
    assert queue.client.hget(queue.key("site:acme"), "paused") == b"401"
    assert queue.run("resume", "acme") == "resumed"
    assert queue.fetch().ids == ["a", "b", "c", "d"]


def test_paused_site_wakes_nobody(queue: Queue) -> None:
    """A fetch does not ask to look again because of a paused site's jobs."""
    queue.add("a")
    queue.run("pause", "acme", "401")
    assert queue.fetch().wait_ms is None


def test_paused_site_in_several_queues(queue: Queue) -> None:
    """A pause and a resume hold for the site in every queue."""
    queue.add("a", queue="one")
    queue.add("b", queue="two")
    queue.run("pause", "acme", "401")
    assert queue.fetch(queue="one").ids == queue.fetch(queue="two").ids == []
    queue.run("resume", "acme")
    assert queue.fetch(queue="one").ids == ["a"]
    assert queue.fetch(queue="two").ids == ["b"]


def test_resume_of_an_open_site_says_so(queue: Queue) -> None:
    """Resuming what nothing held back is no error."""
    assert queue.run("resume", "acme") == "open"


def test_throttled_site_waits_for_its_time(queue: Queue) -> None:
    """A Retry-After moves the site's clock for everybody; other sites go on."""
    queue.add("a", "b")
    queue.add("other", site="other")
    queue.retry(queue.take("a"), counted=False, throttle_site_ms=30_000)
    queue.finish(queue.take("other"))
    queue.passes(29_000)
    assert queue.fetch().ids == []
    queue.passes(1_000)
    assert sorted(queue.fetch().ids) == ["a", "b"]


def test_pause_is_never_shortened(queue: Queue) -> None:
    """A later, shorter Retry-After does not move the clock back."""
    queue.add("a", "b", "c")
    first, second = queue.fetch(2).leases
    queue.retry(first, throttle_site_ms=60_000)
    queue.retry(second, throttle_site_ms=5_000)
    queue.passes(30_000)
    assert queue.fetch().ids == []


def test_resume_ends_a_pause(queue: Queue) -> None:
    """A person may resume a throttled site before its time."""
    queue.add("a", "b")
    queue.retry(queue.take("a"), throttle_site_ms=60_000)
    assert queue.run("resume", "acme") == "resumed"
    assert queue.fetch().ids == ["b", "a"]


def test_rate_by_hand_stands_over_the_settings(queue: Queue) -> None:
    """A rate set by a person holds, also when a worker writes its settings, until it is undone."""
    queue.configure(interval_ms=60_000)
    queue.add(*(f"job-{n}" for n in range(10)))
    assert len(queue.fetch().ids) == 1
    assert queue.run("rate", "acme", "600", 100, 200) == "by_hand"
    queue.configure(interval_ms=60_000)
    queue.passes(300)
    assert len(queue.fetch().ids) == 3
    assert queue.run("rate", "acme", "", 0, 0) == "settings"
    queue.passes(60_000)
    assert len(queue.fetch().ids) == 1
    assert queue.fetch().ids == []


def test_rate_by_hand_leaves_a_paused_site_paused(queue: Queue) -> None:
    """A new rate resumes no site."""
    queue.add("a")
    queue.run("pause", "acme", "401")
    queue.run("rate", "acme", "600", 100, 200)
    assert queue.fetch().ids == []
