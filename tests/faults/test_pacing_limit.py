"""T14 and T15 in minutes of simulated time: the API's limit is kept, found and found again.

The scripts, the table of errors and the sandbox's own limiter are the real ones; only the clock is
the test's, and nothing goes over HTTP. The same with processes: test_pacing_storm.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from rig.figures import Counts
from rig.queue import SITE, Queue
from rig.simulation import Simulation

FULL_RATE = 3_500
CUT_RATE = 150
CUT_AT_S = 15


@pytest.fixture
def queue(redis_url: str) -> Iterator[Queue]:
    """The scripts, on a clock of the test's."""
    with redis.Redis.from_url(redis_url) as client:
        yield Queue(client)


@pytest.mark.parametrize("window", ["sliding", pytest.param("fixed", marks=pytest.mark.faults)])
def test_limit_of_the_settings_is_used_and_never_passed(
    queue: Queue, figures: Counts, full: bool, window: str
) -> None:
    """T14: ten minutes at 150 a minute with ten times as many offered: no 429, 97 % in use."""
    simulated = Simulation(queue, configured=150, limit=150, window=window)
    for _ in range(10):
        simulated.offer(1_500)
        simulated.run(60)
    used = simulated.let_in(0, 600) / 1_500
    refused = sum(not one.let_in for one in simulated.calls)
    figures.note(
        "T14",
        f"ten minutes, simulated, {window} window",
        n=15_000,
        calls=len(simulated.calls),
        refused=refused,
        used=round(used, 4),
        attempts_burnt=simulated.burnt,
        dead=len(queue.members("dead")),
        size="full" if full else "quick",
    )
    assert refused == 0
    assert used >= 0.97
    assert queue.members("dead") == []


@pytest.mark.parametrize(
    ("window", "latency_ms"),
    [
        ("sliding", 50),
        pytest.param("sliding", 300, marks=pytest.mark.faults),
        pytest.param("fixed", 300, marks=pytest.mark.faults),
    ],
)
def test_cut_limit_is_followed_and_a_raised_one_too(
    queue: Queue, figures: Counts, full: bool, window: str, latency_ms: int
) -> None:
    """T15: 3,500 cut to 150 a minute under way, then raised: 10 s down, 60 s up.

    Up is counted from the end of the wait that the API last asked for.
    """
    simulated = Simulation(
        queue, configured=FULL_RATE, limit=FULL_RATE, window=window, latency_ms=latency_ms
    )
    simulated.offer(FULL_RATE * 5)
    simulated.run(CUT_AT_S)
    before = simulated.let_in(CUT_AT_S - 10, CUT_AT_S) * 6
    simulated.limit(CUT_RATE)
    minutes = 8 if full else 4
    simulated.run(60 * minutes)
    cut_end_s = CUT_AT_S + 60 * minutes
    after_cut = len(simulated.between(CUT_AT_S + 10, CUT_AT_S + 70))
    refused_after_10_s = sum(not one.let_in for one in simulated.between(CUT_AT_S + 10, cut_end_s))
    last_minutes = simulated.refused_share(cut_end_s - 120, cut_end_s)
    used = simulated.let_in(cut_end_s - 120, cut_end_s) / (2 * CUT_RATE)
    simulated.limit(FULL_RATE)
    throttled_until = float(queue.client.hget(queue.key(f"site:{SITE}"), "throttled_until") or 0)
    paused_s = max(0.0, throttled_until - simulated.now_ms()) / 1000
    simulated.run(paused_s + 60)
    raised_s = cut_end_s + paused_s + 60
    simulated.run(10)
    after_raise = simulated.let_in(raised_s, raised_s + 10) * 6
    figures.note(
        "T15",
        f"limit cut and raised, simulated, {window} window, {latency_ms} ms",
        calls_a_minute_before=before,
        calls_in_the_minute_from_10_s_after_the_cut=after_cut,
        refused_from_10_s_after_the_cut=refused_after_10_s,
        refused_share_later=round(last_minutes, 4),
        used_later=round(used, 3),
        paused_when_raised_s=round(paused_s, 1),
        calls_a_minute_60_s_after_the_raise=after_raise,
        attempts_burnt=simulated.burnt,
        size="full" if full else "quick",
    )
    assert before >= 0.95 * FULL_RATE
    # The limit and the calls that were under way when it said so.
    under_way = FULL_RATE / 60 * (latency_ms / 1000 + 0.1)
    assert after_cut <= CUT_RATE + under_way
    assert last_minutes <= 0.04
    assert used >= 0.85
    assert after_raise >= 0.9 * FULL_RATE
    assert simulated.burnt == 0
    assert queue.members("dead") == []
