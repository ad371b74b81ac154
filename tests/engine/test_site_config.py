"""What workers say of a site: the lowest limits hold; a refused key stops its holders alone."""

from __future__ import annotations

from typing import Any

import pytest
from rig.queue import SITE, Queue

from worker.engine.queue_clock import redis_now_ms
from worker.engine.site_config import limits_text, read_site_config

#: Milliseconds for which a worker's word holds, and until a tripped site is probed.
LIVING_MS, PROBE_MS = 20_000, 60_000


def limits(queue: Queue) -> list[int]:
    """The limits that hold: interval, burst and most calls at once."""
    found: Any = queue.client.hmget(
        queue.key(f"site:{SITE}"), "interval_ms", "burst_ms", "max_in_flight"
    )
    return [int(one) for one in found]


def refuse(queue: Queue, mark: str) -> None:
    """Let a job find that the API refuses a key."""
    queue.add(f"with-{mark}")
    queue.retry(queue.take(), counted=False, trip_reason="api_key_invalid", key_mark=mark)


def tripped(queue: Queue) -> bytes | None:
    """Why the site is tripped."""
    found: bytes | None = queue.client.hget(queue.key(f"site:{SITE}"), "tripped")  # type: ignore[assignment]
    return found


# -- limits


def test_lowest_limits_of_living_workers_hold(queue: Queue) -> None:
    """While workers differ, each limit is the lowest that is said, in any order."""
    queue.configure(interval_ms=100, burst_ms=300, cap=50, worker="one")
    queue.configure(interval_ms=2_000, burst_ms=900, cap=0, worker="two")
    assert limits(queue) == [2_000, 900, 50]
    for _ in range(3):
        queue.configure(interval_ms=100, burst_ms=300, cap=50, worker="one")
        assert limits(queue) == [2_000, 900, 50]


def test_limits_of_a_worker_that_is_gone_lapse(queue: Queue) -> None:
    """Twenty seconds after its last word, the others' limits hold."""
    queue.configure(interval_ms=2_000, worker="slow")
    queue.configure(interval_ms=100, worker="fast")
    queue.passes(LIVING_MS + 1)
    queue.configure(interval_ms=100, worker="fast")
    assert limits(queue)[0] == 100


def test_limits_that_a_worker_changes_hold_at_once(queue: Queue) -> None:
    """What it said before no longer counts, unless another worker says the same."""
    queue.configure(interval_ms=2_000, worker="one")
    queue.configure(interval_ms=100, worker="one")
    assert limits(queue)[0] == 100


def test_workers_that_differ_are_named(queue: Queue) -> None:
    """The answer has each limit with a worker that says it; nothing while all agree."""
    assert queue.configure(interval_ms=100, cap=5, worker="one") == [0]
    _, *said = queue.configure(interval_ms=200, cap=5, worker="two")
    pairs = dict(zip(said[::2], said[1::2], strict=True))
    assert pairs == {"100 0 5": "one", "200 0 5": "two"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1000 2000 5", "60 a minute, 5 at once"),
        ("0 0 5", "no rate, 5 at once"),
        ("413.79 413.79 0", "145 a minute, any number at once"),
    ],
)
def test_limits_are_written_for_a_person(text: str, said: str) -> None:
    """Calls a minute and calls at once; 0 is no limit."""
    assert limits_text(text) == said


# -- keys


def test_refused_key_trips_the_site_when_no_worker_has_another(queue: Queue) -> None:
    """One of two keys stops its holders alone; with the second one no call can succeed."""
    queue.configure(key_mark="old", worker="one")
    queue.configure(key_mark="new", worker="two")
    refuse(queue, "old")
    assert tripped(queue) is None
    assert queue.configure(key_mark="old", worker="one") == [1]
    assert queue.configure(key_mark="new", worker="two") == [0]
    refuse(queue, "new")
    assert tripped(queue) == b"api_key_invalid"
    assert queue.configure(key_mark="old", worker="one") == [2]


def test_resumed_site_tries_every_key_anew(queue: Queue) -> None:
    """A person who resumes it may have repaired a key."""
    queue.configure(key_mark="old")
    refuse(queue, "old")
    assert queue.run("resume", SITE) == "resumed"
    assert queue.configure(key_mark="old") == [0]
    assert queue.fetch().ids == ["with-old"]


def test_key_of_a_worker_that_is_gone_keeps_no_site_open(queue: Queue) -> None:
    """Keys that nobody has named for twenty seconds are not at work."""
    queue.configure(key_mark="new", worker="two")
    queue.passes(LIVING_MS + 1)
    queue.configure(key_mark="old", worker="one")
    refuse(queue, "old")
    assert tripped(queue) == b"api_key_invalid"


def test_worker_without_a_key_keeps_no_site_open(queue: Queue) -> None:
    """A worker that has no key cannot serve the site in the place of another."""
    queue.configure(key_mark="none", worker="two")
    queue.configure(key_mark="old", worker="one")
    refuse(queue, "old")
    assert tripped(queue) == b"api_key_invalid"


def test_new_key_is_tried_at_once(queue: Queue) -> None:
    """A site that tripped as every key was refused does not wait for its probe."""
    queue.configure(key_mark="old")
    refuse(queue, "old")
    assert queue.fetch().ids == []
    queue.configure(key_mark="new")
    queue.finish(queue.take())
    assert tripped(queue) is None


def test_site_that_tripped_for_another_reason_waits_for_its_probe(queue: Queue) -> None:
    """A new key does not help a site that fails."""
    queue.configure(key_mark="old")
    queue.add("a")
    queue.retry(queue.take(), counted=False, trip_reason="site_not_found")
    queue.configure(key_mark="new")
    assert queue.fetch().ids == []
    queue.passes(PROBE_MS)
    assert queue.fetch().ids == ["a"]


def test_key_that_is_accepted_again_is_not_refused_any_more(queue: Queue) -> None:
    """The worker whose probe went well says so, and the other holders hear of it."""
    queue.configure(key_mark="old", worker="one")
    refuse(queue, "old")
    assert queue.configure(key_mark="old", worker="one", accepted=True) == [0]
    assert queue.configure(key_mark="old", worker="two") == [0]


def test_site_config_says_who_serves_a_site(queue: Queue) -> None:
    """The last word with a key counts; a worker without a key serves nobody."""

    def read() -> Any:
        raw: Any = queue.client.hgetall(queue.key(f"config:{SITE}"))
        return read_site_config(raw, redis_now_ms(queue.client))

    queue.configure(key_mark="none", interval_ms=100)
    assert read().served_at_ms is None
    queue.configure(key_mark="old", interval_ms=100)
    refuse(queue, "old")
    served_at_ms = read().served_at_ms
    assert read().is_served(served_at_ms + LIVING_MS)
    assert not read().is_served(served_at_ms + LIVING_MS + 1)
    assert read().refused == {"old": "api_key_invalid"}
    assert read().limits == {"100 0 0": "host:1:a"}
