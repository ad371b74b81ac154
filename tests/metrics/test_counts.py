"""The counts of one process: counted right, bounded labels, quantiles as Prometheus has them."""

from __future__ import annotations

import threading

import pytest

from worker.metrics.counts import BOUNDS_S, CODES_MAX, Counts, Times


@pytest.fixture
def counts() -> Counts:
    """Counts of one site and one kind."""
    return Counts(sites=["acme"], kinds=["gift_checkout"])


def call(counts: Counts, *, code: str | None = None, duration_ms: int = 7) -> None:
    """Count a call."""
    counts.called(
        "acme", "gift_checkout", outcome="rejected", code=code, replayed=True,
        duration_ms=duration_ms,
    )  # fmt: skip


def test_counts_count_each_word(counts: Counts) -> None:
    """A call, an attempt and an ending count once each, under their labels."""
    counts.started("acme", "gift_checkout", attempt=1, waited_ms=30)
    counts.started("acme", "gift_checkout", attempt=2, waited_ms=90_000)
    call(counts, code="param_wrong_value")
    counts.attempted("acme", "gift_checkout", "failed")
    counts.ended("acme", "gift_checkout", outcome="failed", error_class="rejected", duration_ms=9)
    found = counts.snapshot()
    where = ("acme", "gift_checkout")
    assert found.counts == {
        ("api_calls_total", *where, "rejected", "param_wrong_value", "true"): 1,
        ("attempts_total", *where, "failed"): 1,
        ("jobs_total", *where, "failed", "rejected"): 1,
    }
    assert {key[0]: times.count for key, times in found.times.items()} == {
        "job_wait_seconds": 1,
        "api_call_seconds": 1,
        "job_seconds": 1,
    }


def test_counts_bound_their_labels(counts: Counts) -> None:
    """Names that are not known, and codes past the bound, count as `other`."""
    for number in range(CODES_MAX + 20):
        call(counts, code=f"code_{number}")
    counts.attempted("maria@example.com", "no_kind", "failed")
    found = counts.snapshot().counts
    assert found["attempts_total", "other", "other", "failed"] == 1
    codes = {key[4]: count for key, count in found.items() if key[0] == "api_calls_total"}
    assert len(codes) == CODES_MAX + 1
    assert codes["other"] == 20


def test_counts_snapshot_is_a_copy(counts: Counts) -> None:
    """What is counted later does not change an earlier copy."""
    call(counts)
    before = counts.snapshot()
    call(counts)
    (times,) = before.times.values()
    assert times.count == 1
    assert sum(before.counts.values()) == 1


def test_counts_lose_nothing_between_threads(counts: Counts) -> None:
    """Threads of dramatiq share one process's counts."""

    def work() -> None:
        for _ in range(2_000):
            call(counts)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = counts.snapshot()
    assert sum(found.counts.values()) == 8_000
    assert next(iter(found.times.values())).count == 8_000


@pytest.mark.parametrize(
    ("duration_ms", "bucket"), [(0, 0), (5, 0), (6, 1), (10, 1), (1_800_000, 17), (1_800_001, 18)]
)
def test_counts_bounds_are_inclusive(counts: Counts, duration_ms: int, bucket: int) -> None:
    """A time on a bound is in the bucket below, as `le` says."""
    call(counts, duration_ms=duration_ms)
    (times,) = counts.snapshot().times.values()
    assert times.buckets.index(1) == bucket


def test_quantile_is_spread_evenly_within_a_bucket() -> None:
    """A median in the bucket from 0.1 to 0.2 s lies where its rank is."""
    buckets = [0] * (len(BOUNDS_S) + 1)
    buckets[BOUNDS_S.index(0.2)] = 4
    assert Times(tuple(buckets), 0.6).quantile_s(0.5) == pytest.approx(0.15)
    assert Times(tuple(buckets), 0.6).quantile_s(0.99) == pytest.approx(0.199)


def test_quantile_at_the_ends() -> None:
    """Nothing measured has no quantile; above the highest bound it is that bound."""
    assert Times().quantile_s(0.5) is None
    above = (0,) * len(BOUNDS_S) + (3,)
    assert Times(above, 9_000).quantile_s(0.5) == BOUNDS_S[-1]


def test_times_add_and_subtract() -> None:
    """What was counted in between is the difference, and sums are sums."""
    one = Times((1,) * 19, 3.0)
    two = Times((2,) * 19, 5.0)
    assert one + two == Times((3,) * 19, 8.0)
    assert two - one == Times((1,) * 19, 2.0)
