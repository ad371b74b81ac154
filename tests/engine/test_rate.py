"""A rate set by hand: it holds over restarts of workers, and takes effect at once."""

from __future__ import annotations

from rig.queue import SITE, Queue


def test_rate_by_hand_outlives_the_settings_of_a_worker(queue: Queue) -> None:
    """A worker that starts writes its settings beside the rate of the person, not over it."""
    queue.configure(interval_ms=1_000)
    assert queue.run("rate", SITE, "6", 10_000, 0) == "by_hand"
    queue.configure(interval_ms=500, burst_ms=700)
    queue.add(*"abc")
    assert queue.fetch().ids == ["a"]
    queue.passes(9_000)
    assert queue.fetch().ids == []
    queue.passes(1_001)
    assert queue.fetch().ids == ["b"]


def test_rate_goes_back_to_the_settings(queue: Queue) -> None:
    """Without a number the rate is that of the settings, as they were written last."""
    queue.configure(interval_ms=1_000)
    queue.run("rate", SITE, "6", 10_000, 0)
    queue.configure(interval_ms=500)
    assert queue.run("rate", SITE, "", 0, 0) == "settings"
    queue.add(*"abc")
    assert queue.fetch().ids == ["a"]
    queue.passes(501)
    assert queue.fetch().ids == ["b"]


def test_rate_that_is_faster_takes_effect_at_once(queue: Queue) -> None:
    """Jobs that the old rate put minutes away go at the new one."""
    queue.configure(interval_ms=600_000)
    queue.add(*"abc")
    assert queue.fetch().ids == ["a"]
    queue.run("rate", SITE, "60", 1_000, 0)
    queue.passes(1_001)
    assert queue.fetch().ids == ["b"]


def test_rate_of_none_lifts_the_limit(queue: Queue) -> None:
    """0 means no limit: all that waits goes."""
    queue.configure(interval_ms=600_000)
    queue.add(*"abcd")
    queue.fetch()
    queue.run("rate", SITE, "0", 0, 0)
    assert queue.fetch().ids == ["b", "c", "d"]


def test_rate_does_not_resume_a_paused_site(queue: Queue) -> None:
    """A site that is paused stays so."""
    queue.configure(interval_ms=1_000)
    queue.add(*"ab")
    queue.run("pause", SITE, "by hand")
    queue.run("rate", SITE, "0", 0, 0)
    assert queue.fetch().ids == []
    queue.run("resume", SITE)
    assert queue.fetch().ids == ["a", "b"]


def test_rate_of_a_site_that_no_worker_knows_is_kept_for_it(queue: Queue) -> None:
    """A rate may be set before the first worker of the site starts."""
    queue.run("rate", SITE, "6", 10_000, 0)
    queue.configure(interval_ms=1)
    queue.add(*"ab")
    assert queue.fetch().ids == ["a"]
    queue.passes(9_000)
    assert queue.fetch().ids == []
