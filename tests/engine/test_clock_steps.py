"""The clock of Redis steps: nothing lies further in the future, and no living worker is robbed."""

from __future__ import annotations

from typing import Any

import pytest
from rig.queue import LEASE_MS, MAX_DELIVERIES, QUEUE, STREAM_MAX, TTL_MS, Queue, entry

STEP_MS = 600_000


def now_ms(queue: Queue) -> int:
    """What the queue's clock says."""
    return int(fetch(queue, 0)[0])


def fetch(queue: Queue, n: int, *, expected_ms: int | str = "") -> Any:
    """Fetch as a worker that expects a time."""
    args = (QUEUE, "w", n, LEASE_MS, MAX_DELIVERIES, TTL_MS, STREAM_MAX, 1, expected_ms)
    return queue.run("fetch", *args)


@pytest.fixture
def stepped(queue: Queue) -> Queue:
    """A queue on a stopped clock that workers have looked at, ten minutes before a step back."""
    queue.client.set(queue.key("stopped_at"), 1_800_000_000_000)
    queue.fetch(0)
    return queue


def test_clock_of_the_queue_never_goes_back(stepped: Queue) -> None:
    """After a step back it goes on at once, and five in a hundred slower until both agree."""
    before = now_ms(stepped)
    stepped.passes(-STEP_MS)
    assert now_ms(stepped) == before
    stepped.passes(60_000)
    assert now_ms(stepped) == before + 57_000
    stepped.passes(20 * STEP_MS)
    assert now_ms(stepped) == before - STEP_MS + 60_000 + 20 * STEP_MS


def test_rate_goes_on_after_a_step_back(stepped: Queue) -> None:
    """A site with a rate is called as often as before, no less and no more."""
    stepped.configure(interval_ms=1_000, burst_ms=0)
    stepped.enqueue(*(entry(f"job-{n}") for n in range(200)))
    calls = [len(stepped.fetch(5).ids)]
    for tick in range(1_200):
        stepped.passes(50 - (STEP_MS if tick == 400 else 0))
        calls.append(len(stepped.fetch(5).ids))
    assert 54 <= sum(calls) <= 61
    assert max(calls) == 1


def test_lease_lapses_in_time_after_a_step_back(stepped: Queue) -> None:
    """A dead worker's job comes back after its lease, not after the step."""
    stepped.add("a")
    stepped.take("a")
    stepped.passes(-STEP_MS)
    assert stepped.fetch().ids == []
    stepped.passes(LEASE_MS + LEASE_MS // 10)
    assert stepped.fetch().ids == ["a"]


def test_delays_and_waits_end_in_time_after_a_step_back(stepped: Queue) -> None:
    """A delayed job, and a site that the API asked to leave alone."""
    stepped.add("later", delay_ms=10_000)
    stepped.add("a", site="other")
    stepped.retry(stepped.take("a"), throttle_site_ms=10_000)
    stepped.passes(-STEP_MS)
    assert stepped.fetch().ids == []
    stepped.passes(11_000)
    assert sorted(stepped.fetch().ids) == ["a", "later"]


def test_window_does_not_grow_by_a_step_back(stepped: Queue) -> None:
    """The age of an unsure attempt counts on."""
    stepped.add("a")
    stepped.retry(stepped.take("a"), unsure=True)
    first = stepped.take("a")
    stepped.passes(20 * 60_000)
    stepped.retry(first, unsure=True)
    fetch(stepped, 0)
    stepped.passes(-STEP_MS)
    reply = fetch(stepped, 1)
    unsure_since = int(reply[2][3].split(" ")[4])
    assert reply[0] - unsure_since >= 20 * 60_000


def test_step_back_of_more_than_half_an_hour_is_followed(stepped: Queue) -> None:
    """So far that results would go before their pages: the clock is half an hour ahead at most."""
    before = now_ms(stepped)
    stepped.passes(-10 * STEP_MS)
    assert now_ms(stepped) == before - 10 * STEP_MS + 30 * 60_000


def test_step_forward_lapses_no_lease_of_a_living_worker(queue: Queue) -> None:
    """Who expected another time is believed: all leases get the time to be renewed."""
    queue.add("mine", "dead")
    mine, _ = queue.fetch(2).leases
    expected = now_ms(queue)
    queue.passes(STEP_MS)
    reply = fetch(queue, 5, expected_ms=expected)
    assert reply[2:] == []
    assert reply[1] == reply[0] + LEASE_MS
    queue.passes(LEASE_MS // 3)
    queue.renew(mine)
    queue.passes(LEASE_MS - LEASE_MS // 3)
    assert queue.fetch().ids == ["dead"]


def test_time_that_passes_lapses_leases_at_once(queue: Queue) -> None:
    """A worker that expected it, or that has just started, takes back what lapsed."""
    queue.add("a", "b")
    queue.take("a")
    expected = now_ms(queue) + LEASE_MS
    queue.passes(LEASE_MS)
    assert [row[0] for row in fetch(queue, 1, expected_ms=expected)[2:]] == ["a"]
    queue.passes(LEASE_MS)
    assert sorted(row[0] for row in fetch(queue, 5)[2:]) == ["a", "b"]
