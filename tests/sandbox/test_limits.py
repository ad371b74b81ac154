"""The limit of requests a minute, the limit of requests in progress, and Retry-After."""

from __future__ import annotations

import email.utils
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from worker.sandbox.limits import Limits
from worker.sandbox.settings import Settings


def enter(limits: Limits, now_ms: int, settings: Settings, *, grow: bool = False) -> int:
    """Enter and, if there was a place, leave."""
    wait_ms = limits.enter("s", grow=grow, now_ms=now_ms, settings=settings)
    if not wait_ms:
        limits.leave("s")
    return wait_ms


def test_sliding_window_counts_the_last_minute() -> None:
    """Any 60 s hold at most the limit; the wait is until enough have left the window."""
    limits, settings = Limits(), Settings(rate_per_minute=2)
    assert enter(limits, 10_000, settings) == 0
    assert enter(limits, 30_000, settings) == 0
    assert enter(limits, 40_000, settings) == 30_000
    assert enter(limits, 69_999, settings) == 1
    assert enter(limits, 70_000, settings) == 0
    assert enter(limits, 70_001, settings) == 19_999


def test_sliding_window_follows_a_lowered_limit() -> None:
    """After a cut the wait is until the count is below the new limit."""
    limits = Limits()
    for at_ms in (0, 1_000, 2_000):
        assert enter(limits, at_ms, Settings(rate_per_minute=3)) == 0
    assert enter(limits, 3_000, Settings(rate_per_minute=1)) == 59_000


def test_fixed_window_begins_with_the_minute() -> None:
    """Whole minutes of the clock: 2 at the end of one and 2 at the start of the next."""
    limits, settings = Limits(), Settings(rate_per_minute=2, rate_window="fixed")
    assert [enter(limits, at_ms, settings) for at_ms in (59_000, 59_001)] == [0, 0]
    assert enter(limits, 59_500, settings) == 500
    assert [enter(limits, at_ms, settings) for at_ms in (60_000, 60_001)] == [0, 0]
    assert enter(limits, 60_002, settings) == 59_998


def test_window_forgets_when_the_clock_is_set_back() -> None:
    """A clock set back does not lock the site out until the old time comes again."""
    limits, settings = Limits(), Settings(rate_per_minute=1)
    assert enter(limits, 1_000_000, settings) == 0
    assert enter(limits, 5_000, settings) == 0


def test_grow_host_has_a_budget_of_its_own_when_told_to() -> None:
    """Offers count in the site's one budget, or in one of their own."""
    for own in (False, True):
        limits = Limits()
        settings = Settings(rate_per_minute=1, grow_own_limit=own)
        assert enter(limits, 0, settings) == 0
        assert (enter(limits, 1, settings, grow=True) == 0) == own


def test_rate_limit_refuses_and_executes_nothing(box: Any) -> None:
    """Beyond the limit: 429 with the documented code, and no page."""
    box.post("/settings", {"rate_per_minute": 3})
    answers = [box.gift(chargebee_idempotency_key=f"k{i}") for i in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    error = answers[3].json()
    assert error["api_error_code"] == "api_request_limit_exceeded"
    assert error["type"] == "operation_failed"
    assert 55 <= int(answers[3].headers["retry-after"]) <= 60
    counts = box.get("/counts")
    assert (counts["pages"], counts["executed"], counts["refused_429"]) == (3, 3, 2)
    assert box.last()["executed"] is False
    box.post("/clock", {"advance_s": 60})
    assert box.gift(chargebee_idempotency_key="k3").status_code == 200


def test_rate_limit_is_per_site(box: Any) -> None:
    """One site's limit is not another's, and a site may have its own."""
    box.post("/settings", {"rate_per_minute": 1})
    box.post("/settings", {"site": "other-test", "rate_per_minute": 2})
    assert [box.gift().status_code for _ in range(2)] == [200, 429]
    other = [box.gift(key="test_other_key").status_code for _ in range(3)]
    assert other == [200, 200, 429]
    box.post("/settings", {"site": "other-test", "rate_per_minute": None})
    assert box.get("/settings")["site_limits"] == {"other-test": {}}


@pytest.mark.parametrize(
    ("form", "expected"),
    [("none", None), ("-5", "-5"), ("1000000000", "1000000000"), ("soon", "soon")],
)
def test_retry_after_takes_any_form(box: Any, form: str, expected: str | None) -> None:
    """The header may be absent or absurd."""
    box.post("/settings", {"rate_per_minute": 1, "retry_after": form})
    box.gift()
    assert box.gift().headers.get("retry-after") == expected


def test_retry_after_may_be_a_date(box: Any) -> None:
    """As an HTTP date it is the end of the wait, by the sandbox clock."""
    box.post("/clock", {"frozen": True})
    box.post("/settings", {"rate_per_minute": 1, "retry_after": "date"})
    box.gift()
    at = email.utils.parsedate_to_datetime(box.gift().headers["retry-after"])
    assert at.timestamp() == pytest.approx(box.get("/clock")["now"] + 60, abs=1)


def test_concurrency_limit(box: Any) -> None:
    """More requests in progress than allowed get 429; the high-water mark stays at the limit."""
    box.post("/settings", {"max_concurrent": 2, "latency_ms": 300})
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: box.gift(), range(6)))
    statuses = [answer.status_code for answer in answers]
    counts = box.get("/counts")
    assert statuses.count(200) == counts["executed"] == 2
    assert statuses.count(429) == 4
    assert (counts["max_in_flight"], counts["in_flight"]) == (2, 0)
    assert counts["max_in_flight_by_site"] == {"acme-test": 2}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["api_error_code"] == "api_request_limit_exceeded"
