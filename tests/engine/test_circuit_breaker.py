"""Circuit breaker, ramp and adaptive rate: what endings say of a site, and when it is called."""

from __future__ import annotations

import pytest
from rig.queue import Queue, entry

from worker.engine.endings import Finish

FAILURES_MAX = 10
PROBE_MS = 60_000
FIRST_PROBE_MS = 15_000


def field(queue: Queue, name: str, site: str = "acme") -> str | None:
    """One field of a site."""
    found = queue.client.hget(queue.key(f"site:{site}"), name)
    return None if found is None else found.decode()  # type: ignore[union-attr]


def fail(queue: Queue, times: int) -> None:
    """Let calls fail in a row."""
    for _ in range(times):
        queue.retry(queue.take(), failing=True)


def fill(queue: Queue, n: int = 100, site: str = "acme") -> None:
    """Enqueue many jobs of a site."""
    queue.enqueue(*(entry(f"{site}-{place}", site=site) for place in range(n)))


def test_ten_failures_in_a_row_shut_the_gate(queue: Queue) -> None:
    """After the tenth nothing is handed out, and fetch says when the probe is due."""
    fill(queue)
    fail(queue, FAILURES_MAX)
    shut = queue.fetch()
    assert shut.ids == []
    assert shut.wait_ms is not None
    assert FIRST_PROBE_MS - 1_000 < shut.wait_ms <= FIRST_PROBE_MS
    assert field(queue, "tripped") == "failing"


def test_failures_with_a_success_between_shut_nothing(queue: Queue) -> None:
    """The count is of failures in a row."""
    fill(queue)
    for _ in range(4):
        fail(queue, FAILURES_MAX - 1)
        queue.finish(queue.take())
    assert len(queue.fetch(20).ids) == 20


def test_rejections_show_that_a_site_is_well(queue: Queue) -> None:
    """A site that answers 400 is there."""
    fill(queue)
    for _ in range(4):
        fail(queue, FAILURES_MAX - 1)
        queue.bury(queue.take(), error_class="rejected")
    assert field(queue, "tripped") is None


def test_probe_goes_alone(queue: Queue) -> None:
    """When the probe is due, one call goes and no second until it has ended."""
    fill(queue)
    fail(queue, FAILURES_MAX)
    queue.passes(FIRST_PROBE_MS)
    assert len(queue.fetch(20).ids) == 1
    assert queue.fetch(20).ids == []
    queue.passes(10_000)
    assert queue.fetch(20).ids == []


def test_probe_that_goes_well_opens_the_gate(queue: Queue) -> None:
    """One good ending, and the whole line moves, with the bell rung."""
    fill(queue)
    fail(queue, FAILURES_MAX)
    queue.passes(FIRST_PROBE_MS)
    probe = queue.take()
    bell = queue.key("q:calls:bell")
    queue.client.delete(bell)
    queue.finish(probe)
    assert queue.client.llen(bell) == 1
    assert len(queue.fetch(20).ids) == 20
    assert field(queue, "tripped") is None
    assert field(queue, "failures") is None


def test_probe_that_fails_doubles_the_wait_up_to_a_minute(queue: Queue) -> None:
    """15 s, 30 s, 60 s, 60 s: one call for each."""
    fill(queue)
    fail(queue, FAILURES_MAX)
    for wait_ms in (15_000, 30_000, 60_000, 60_000):
        queue.passes(wait_ms - 500)
        assert queue.fetch().ids == []
        queue.passes(500)
        fail(queue, 1)
        assert queue.fetch().ids == []


def test_calls_under_way_when_a_site_trips_do_not_trip_it_further(queue: Queue) -> None:
    """Fifty calls that fail together make one outage, with its first probe after 15 s."""
    fill(queue)
    for lease in queue.fetch(50).leases:
        queue.retry(lease, failing=True)
    assert field(queue, "probe_ms") == str(FIRST_PROBE_MS)


def test_refused_key_trips_with_a_probe_a_minute(queue: Queue) -> None:
    """A 401 trips the site at once; its jobs stay, and one call a minute asks again."""
    fill(queue)
    first, second = queue.fetch(2).leases
    queue.retry(first, counted=False, trip_reason="api_authentication_failed")
    assert queue.fetch().ids == []
    queue.finish(second)  # was under way, got through: the key is good
    assert len(queue.fetch(5).ids) == 5


def test_refused_probe_trips_again(queue: Queue) -> None:
    """As long as the key is refused there is one call a minute."""
    fill(queue)
    queue.retry(queue.take(), counted=False, trip_reason="401")
    for _ in range(3):
        queue.passes(PROBE_MS)
        queue.retry(queue.take(), counted=False, trip_reason="401")
        assert queue.fetch().ids == []
    assert queue.members("dead") == []


def maintain(queue: Queue, told_ms: int = 0) -> None:
    """Let the API say that the site is in maintenance."""
    queue.retry(
        queue.take(), counted=False, failing=True, trip_reason="site_not_ready",
        throttle_site_ms=told_ms,
    )  # fmt: skip


def test_site_in_maintenance_is_probed_like_one_that_fails(queue: Queue) -> None:
    """Tripped at the first answer; tried after 15, 30, 60 and 60 s; its rate is not touched."""
    fill(queue)
    maintain(queue)
    for wait_ms in (FIRST_PROBE_MS, 30_000, 60_000, 60_000):
        queue.passes(wait_ms - 500)
        assert queue.fetch().ids == []
        queue.passes(500)
        maintain(queue)
        assert queue.fetch().ids == []
    assert field(queue, "tripped") == "site_not_ready"
    assert field(queue, "adaptive") is None
    queue.passes(PROBE_MS)
    queue.finish(queue.take())
    assert len(queue.fetch(20).ids) == 20


def test_site_in_maintenance_is_probed_when_it_said(queue: Queue) -> None:
    """Retry-After comes first, at the first answer and at a probe, whatever else is under way."""
    fill(queue)
    first, second = queue.fetch(2).leases
    told = {"counted": False, "failing": True, "trip_reason": "site_not_ready"}
    queue.retry(first, **told, throttle_site_ms=240_000)
    queue.retry(second, **told)
    queue.passes(239_000)
    assert queue.fetch().ids == []
    queue.passes(1_000)
    maintain(queue, told_ms=120_000)
    queue.passes(119_000)
    assert queue.fetch().ids == []
    queue.passes(1_000)
    assert len(queue.fetch(20).ids) == 1


def test_paused_site_is_not_probed(queue: Queue) -> None:
    """What a person paused, only a person resumes, though it trips and recovers meanwhile."""
    fill(queue)
    first, second = queue.fetch(2).leases
    queue.run("pause", "acme", "by hand")
    queue.retry(first, counted=False, trip_reason="401")
    queue.finish(second)
    queue.passes(10 * PROBE_MS)
    assert queue.fetch().ids == []
    assert (field(queue, "paused"), field(queue, "tripped")) == ("by hand", None)
    queue.run("resume", "acme")
    assert len(queue.fetch(5).ids) == 5


def test_gate_of_one_site_leaves_others_alone(queue: Queue) -> None:
    """An outage of one site delays no job of another."""
    fill(queue)
    fail(queue, FAILURES_MAX)
    fill(queue, 5, site="other")
    assert queue.fetch(20).ids == [f"other-{place}" for place in range(5)]


def ran(queue: Queue, seconds: int) -> int:
    """Run every job that is handed out for some seconds; gives how many there were."""
    served = 0
    for _ in range(seconds):
        for lease in queue.fetch(64).leases:
            queue.finish(lease)
            served += 1
        queue.passes(1_000)
    return served


@pytest.mark.parametrize("limit", [150, 600])
def test_pace_finds_the_limit_of_the_api(queue: Queue, limit: int) -> None:
    """A site that takes less than its settings say is called at what it takes, in two minutes."""
    queue.configure(interval_ms=17, burst_ms=200)  # 3,500 a minute
    fill(queue, 12_000)
    refused = [0, 0, 0, 0]
    for minute in range(4):
        left = limit
        for _ in range(60):
            for lease in queue.fetch(64).leases:
                if left > 0:
                    left -= 1
                    queue.finish(lease)
                else:
                    refused[minute] += 1
                    until_reset_ms = 1_000
                    queue.retry(lease, counted=False, throttle_site_ms=until_reset_ms * 30)
            queue.passes(1_000)
    assert refused[0] > 0
    assert refused[3] <= 64


def test_pace_climbs_back_to_the_settings(queue: Queue) -> None:
    """With no more 429s the site is called at its full rate again within a minute."""
    queue.configure(interval_ms=100, burst_ms=1_000)  # 600 a minute
    fill(queue, 3_000)
    queue.retry(queue.take(), counted=False, throttle_site_ms=5_000)
    assert ran(queue, 5) == 0
    slow, _, full = ran(queue, 5), ran(queue, 45), ran(queue, 10)
    assert slow < 45
    assert full >= 95


def test_pace_is_back_within_a_minute_after_many_429s(queue: Queue) -> None:
    """However often the limit was met before: once there are no more 429s, a minute is enough."""
    queue.configure(interval_ms=17, burst_ms=200)  # 3,500 a minute
    fill(queue, 2_000)
    for _ in range(8):
        queue.retry(queue.take(), counted=False, throttle_site_ms=1_000)
        queue.passes(30_000)
    assert float(field(queue, "adaptive") or 0) < 0.05
    queue.passes(30_000)
    served = 0
    for _ in range(100):
        for lease in queue.fetch(64).leases:
            queue.finish(lease)
            served += 1
        queue.passes(100)
    assert served >= 0.95 * 3_500 / 6


def test_pause_of_many_429s_lowers_the_rate_once(queue: Queue) -> None:
    """Calls under way together are one event: the rate falls by half, not by a thousandth."""
    queue.configure(interval_ms=10, burst_ms=1_000)
    fill(queue)
    for lease in queue.fetch(50).leases:
        queue.retry(lease, counted=False, throttle_site_ms=5_000)
    assert float(field(queue, "adaptive") or 0) == pytest.approx(0.5)


RAMP_FIRST = 5
RAMP_MS = 30_000


def test_site_that_was_never_seen_to_work_gets_few_calls(queue: Queue) -> None:
    """A key that is refused from the start costs five calls, whatever the settings allow."""
    queue.configure(cap=50)
    fill(queue)
    under_way = queue.fetch(50).leases
    assert len(under_way) == RAMP_FIRST
    for lease in under_way:
        queue.retry(lease, counted=False, trip_reason="401")
    assert queue.fetch(50).ids == []
    queue.passes(PROBE_MS)
    assert len(queue.fetch(50).ids) == 1


def test_ramp_doubles_in_the_time_of_an_answer(queue: Queue) -> None:
    """Each good ending lets two calls go in place of one, up to the settings' cap."""
    queue.configure(cap=50)
    fill(queue, 300)
    rounds = []
    for _ in range(6):
        under_way = queue.fetch(100).leases
        rounds.append(len(under_way))
        queue.end_all([(one, Finish(outcome="{}", ttl_ms=1_000)) for one in under_way])
    assert rounds == [5, 10, 20, 40, 50, 50]


def test_ramp_opens_the_line_and_rings(queue: Queue) -> None:
    """The first good ending brings the waiting jobs to an idle worker at once."""
    queue.configure(cap=50)
    fill(queue)
    first, *_ = queue.fetch(50).leases
    bell = queue.key("q:calls:bell")
    queue.client.delete(bell)
    queue.finish(first)
    assert queue.client.llen(bell) == 1
    assert len(queue.fetch(50).ids) == 2


def ramped(queue: Queue, *, cap: int = 50) -> None:
    """Let calls go well until the site has its whole cap."""
    queue.configure(cap=cap)
    fill(queue, 400)
    for _ in range(cap):
        queue.finish(queue.take())


def test_ramp_starts_again_after_half_a_minute_without_a_good_ending(queue: Queue) -> None:
    """A key may have been revoked meanwhile; any good ending within keeps the ramp."""
    ramped(queue)
    queue.passes(RAMP_MS - 5_000)
    queue.finish(queue.take())
    queue.passes(RAMP_MS - 5_000)
    under_way = queue.fetch(100).leases
    assert len(under_way) == 50
    queue.end_all([(one, Finish(outcome="{}", ttl_ms=1_000)) for one in under_way])
    queue.passes(RAMP_MS)
    assert len(queue.fetch(100).ids) == RAMP_FIRST


def test_ramp_that_ends_under_way_lets_the_line_go_on_later(queue: Queue) -> None:
    """Calls that take longer than that hold the next ones back until some have ended."""
    ramped(queue)
    slow = queue.fetch(20).leases
    queue.passes(14_000)
    queue.renew(*slow)
    queue.passes(14_000)
    queue.renew(*slow)
    queue.passes(RAMP_MS - 28_000)
    assert queue.fetch(50).ids == []
    served = 0
    for lease in slow:
        queue.finish(lease)
        served += len(queue.fetch(50).ids)
    assert served >= 20


def test_ramp_begins_anew_with_another_key(queue: Queue) -> None:
    """A worker that starts with another key says so; the same key again changes nothing."""
    queue.configure(cap=50, key_mark="a")
    ramped(queue)
    queue.configure(cap=50, key_mark="a")
    under_way = queue.fetch(100).leases
    assert len(under_way) == 50
    queue.end_all([(one, Finish(outcome="{}", ttl_ms=1_000)) for one in under_way])
    queue.configure(cap=50, key_mark="b")
    queue.configure(cap=50)
    assert len(queue.fetch(100).ids) == RAMP_FIRST


def test_ramp_begins_anew_when_the_breaker_closes(queue: Queue) -> None:
    """Nobody runs down a site that has just come back, nor one that a person resumed."""
    ramped(queue)
    queue.retry(queue.take(), counted=False, trip_reason="401")
    queue.passes(PROBE_MS)
    queue.finish(queue.take())
    assert len(queue.fetch(100).ids) == RAMP_FIRST + 1
    queue.run("pause", "acme", "by hand")
    queue.run("resume", "acme")
    assert queue.fetch(100).ids == []


def test_failures_in_a_row_leave_no_more_calls_than_shut_the_gate(queue: Queue) -> None:
    """A site at full ramp that begins to fail: ten calls in all, not ten and fifty under way."""
    ramped(queue)
    failed = 0
    for _ in range(40):
        for lease in queue.fetch(8).leases:
            queue.retry(lease, failing=True, delay_ms=60_000)
            failed += 1
    assert failed == FAILURES_MAX
    assert field(queue, "tripped") == "failing"


def test_one_failure_among_many_holds_nothing_back(queue: Queue) -> None:
    """The next good ending gives the whole cap back."""
    ramped(queue)
    first, second = queue.fetch(2).leases
    queue.retry(first, failing=True, delay_ms=60_000)
    assert len(queue.fetch(100).ids) == FAILURES_MAX - 2
    queue.finish(second)
    assert field(queue, "in_flight") == str(FAILURES_MAX - 2)
    assert len(queue.fetch(100).ids) == 50 - (FAILURES_MAX - 2)


def test_site_without_a_cap_is_trusted(queue: Queue) -> None:
    """0 means no limit of calls in flight, and none by the ramp either."""
    queue.configure(cap=0)
    fill(queue)
    assert len(queue.fetch(60).ids) == 60
