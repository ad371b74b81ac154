"""`largesse sites`: what each site allows, and its brakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rig.command import Ran
from rig.shelf import Shelf

from worker.engine.queue_clock import redis_now_ms

Typed = Callable[..., Ran]


@pytest.fixture
def known(shelf: Shelf) -> Shelf:
    """A site that a worker has written down: 60 calls a minute, 5 at once."""
    shelf.queue.configure(
        "acme-test", interval_ms=1_000, burst_ms=2_000, cap=5, key_mark="1f0c2a9e"
    )
    return shelf


def test_sites_list(known: Shelf, typed: Typed) -> None:
    """Budget, backlog by lane, and state of each site."""
    known.gift()
    known.gift(lane="bulk")
    (one,) = typed("sites", "list", "--json").objects()
    assert (one["site"], one["state"], one["rate_per_minute"]) == ("acme-test", "open", 60)
    assert (one["backlog"], one["lanes"]) == (2, {"interactive": 1, "bulk": 1})
    assert (one["max_in_flight"], one["in_flight"], one["hand_rate"]) == (5, 0, None)
    assert "acme-test" in typed("sites", "list").out


def test_sites_pause_and_resume(known: Shelf, typed: Typed) -> None:
    """A paused site hands out nothing and says why; a resumed one goes on."""
    job = known.gift()
    ran = typed("sites", "pause", "acme-test", "--reason", "price change", "--json")
    (one,) = ran.objects()
    assert (one["state"], one["paused_reason"]) == ("paused", "price change")
    assert known.queue.fetch(queue="chargebee").ids == []
    assert "price change" in typed("sites", "show", "acme-test").out
    (one,) = typed("sites", "resume", "acme-test", "--json").objects()
    assert (one["state"], one["paused_reason"]) == ("open", None)
    known.run(job)


def test_sites_rate(known: Shelf, typed: Typed) -> None:
    """The rate changes at once, outlives a worker's settings, and can be given back."""
    (one,) = typed("sites", "rate", "acme-test", "30", "--json").objects()
    assert one["hand_rate"] == 30
    assert 0 < one["rate_per_minute"] <= 30
    known.queue.configure("acme-test", interval_ms=500)
    (one,) = typed("sites", "list", "--json").objects()
    assert one["hand_rate"] == 30
    assert "30 by hand" in typed("sites", "list").out
    (one,) = typed("sites", "rate", "acme-test", "settings", "--json").objects()
    assert (one["hand_rate"], one["rate_per_minute"]) == (None, 120)
    (one,) = typed("sites", "rate", "acme-test", "0", "--json").objects()
    assert one["rate_per_minute"] is None


def test_sites_show_how_long_the_oldest_job_has_waited(known: Shelf, typed: Typed) -> None:
    """Of both lanes the one that waits longest; nothing when the lines are empty."""
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert one["oldest_ms"] == 0
    bulk = known.gift(lane="bulk")
    known.gift()
    known.queue.client.hincrby(known.queue.key(f"job:{bulk.id}"), "enqueued_at", -90_000)
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert 90_000 <= one["oldest_ms"] < 120_000


def test_sites_show_how_many_calls_may_go_at_once(known: Shelf, typed: Typed) -> None:
    """Five until calls have gone well, then as many as the settings say; full when they run."""
    known.queue.configure("acme-test", cap=50)
    for _ in range(20):
        known.gift()
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert (one["at_once"], one["max_in_flight"], one["state"]) == (5, 50, "open")
    first, *_ = known.queue.fetch(20, queue="chargebee").leases
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert (one["in_flight"], one["state"]) == (5, "full")
    known.queue.finish(first)
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert (one["at_once"], one["in_flight"], one["state"]) == (6, 4, "open")
    known.queue.configure("acme-test", cap=0)
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert (one["at_once"], one["max_in_flight"]) == (None, None)


def test_sites_show_a_pace_that_fell(known: Shelf, typed: Typed) -> None:
    """After a 429 the part of the rate that is used is shown, until it has climbed back."""
    known.gift()
    lease = known.queue.take(queue="chargebee")
    known.queue.retry(lease, counted=False, throttle_site_ms=1_000)
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert (one["state"], one["adaptive_ratio"], one["probe_at"]) == ("throttled", 0.5, None)
    assert "60, now 50% of it" in " ".join(typed("sites", "list").out.split())
    known.queue.client.hincrby(known.queue.key("site:acme-test"), "adaptive_at", -60_000)
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert one["adaptive_ratio"] == 1


def test_sites_show_the_settings_rate_beside_the_one_by_hand(known: Shelf, typed: Typed) -> None:
    """Both are told, and the part of the rate that holds at this moment."""
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    before = one["settings_rate"]
    assert before == one["rate_per_minute"] == one["adaptive_rate"]
    assert one["budget_used"] == 0
    typed("sites", "rate", "acme-test", "30")
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert (one["hand_rate"], one["settings_rate"]) == (30, before)
    assert one["rate_per_minute"] < before
    lease = known.queue.take(known.gift().id, queue="chargebee")
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert 0 < one["budget_used"] <= 1
    known.queue.retry(lease, counted=False, throttle_site_ms=1_000)
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert one["adaptive_rate"] == pytest.approx(one["rate_per_minute"] / 2)


def test_sites_say_when_they_go_on(known: Shelf, typed: Typed) -> None:
    """A site that fails again and again is tripped with the time of its next probe."""
    known.queue.configure("acme-test")
    for _ in range(10):
        lease = known.queue.take(known.gift().id, queue="chargebee")
        known.queue.retry(lease, failing=True)
        known.producer.job(lease.id).cancel()
    (one,) = typed("sites", "show", "acme-test", "--json").objects()
    assert one["state"] == "tripped"
    assert one["tripped_reason"]
    assert one["probe_at"] > one["tripped_at"]
    assert " probe 20" in typed("sites", "list").out


@pytest.mark.parametrize("rate", ["fast", "nan", "inf", "1e9"])
def test_sites_rate_refuses_what_is_no_rate(known: Shelf, typed: Typed, rate: str) -> None:
    """A rate is a number from 0, exit 2 otherwise."""
    ran = typed("sites", "rate", "acme-test", rate)
    assert ran.code == 2
    assert "RATE" in ran.err


@pytest.mark.parametrize(
    "words", [("show",), ("pause",), ("resume",), ("rate", "30")], ids=lambda words: words[0]
)
def test_sites_refuse_a_name_nobody_knows(
    known: Shelf, typed: Typed, words: tuple[str, ...]
) -> None:
    """A misspelt site is not made up; the answer names those that there are."""
    ran = typed("sites", words[0], "acme-tset", *words[1:])
    assert ran.code == 2
    assert "acme-test" in ran.err
    assert [one["site"] for one in typed("sites", "list", "--json").objects()] == ["acme-test"]


def test_site_and_kind_that_are_mistyped_are_asked_for(known: Shelf, typed: Typed) -> None:
    """The near name is asked for beside the list."""
    known.gift()
    ran = typed("sites", "show", "acme-tset")
    assert (ran.code, "Did you mean acme-test?" in ran.err) == (2, True)
    ran = typed("enqueue", "gift-chekout", "-")
    assert (ran.code, "Did you mean gift-checkout?" in ran.err) == (2, True)


def test_commands_refuse_another_number_of_shards(
    known: Shelf, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of the queue would not be seen: exit 3, and both numbers."""
    known.queue.scripts.lay_out()
    monkeypatch.setenv("LARGESSE_SHARDS", "8")
    for words in (("sites", "list"), ("workers",), ("dead", "list"), ("jobs", "list")):
        ran = typed(*words)
        assert ran.code == 3
        assert "LARGESSE_SHARDS is 8, and the queue in this Redis has 1." in ran.err


def test_oldest_leaves_out_sites_that_no_worker_serves(known: Shelf, typed: Typed) -> None:
    """A site that nobody serves hides nothing; while no worker lives, all count."""
    lost = known.gift(site="globex")
    known.queue.client.hincrby(known.queue.key(f"job:{lost.id}"), "enqueued_at", -90_000)

    def oldest_s() -> tuple[float, float, str]:
        (queue,) = typed("queues", "--json").objects()
        (stats,) = typed("stats", "--json").objects()
        sites = {one["site"]: one["state"] for one in typed("sites", "list", "--json").objects()}
        return queue["oldest_ms"] / 1000, stats["queue"]["oldest_s"], sites["globex"]

    queue_s, stats_s, state = oldest_s()
    assert min(queue_s, stats_s) >= 90
    assert state == "open"
    there(known)
    known.gift()
    queue_s, stats_s, state = oldest_s()
    assert max(queue_s, stats_s) < 60
    assert state == "unserved"


def there(shelf: Shelf) -> None:
    """Let a worker tell that it lives."""
    shelf.client.zadd("{largesse:0}:workers", {"host:1:a": redis_now_ms(shelf.client)})
