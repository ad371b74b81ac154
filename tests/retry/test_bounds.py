"""What holds for every decision, whatever the circumstances."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import (
    AmbiguousError,
    ApiError,
    MisconfiguredError,
    NotSentError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)
from worker.retry import policy as numbers
from worker.retry.rules import RetryPolicy, close_window, decide, may_send

NOW = 1_800_000_000_000
DAY_MS = 86_400_000
#: ms; the longest wait of all is a 503's Retry-After with its spread.
LONGEST_MS = round(numbers.UNAVAILABLE_RETRY_AFTER_MAX_MS * (1 + numbers.SPREAD))

CODES = st.sampled_from(
    [
        None,
        "api_request_limit_exceeded",
        "lock_timeout",
        "third_party_api_request_limit_exceeded",
        "site_not_ready",
        "site_read_only_mode",
        "internal_error",
        "other",
    ]
)
LEAVES: list[type[ApiError]] = [
    NotSentError,
    ThrottledError,
    UnavailableError,
    AmbiguousError,
    RejectedError,
    MisconfiguredError,
]
API_ERRORS = st.builds(
    lambda cls, status, code, seconds: cls(
        "reason", status=status, api_error_code=code, retry_after_s=seconds
    ),
    st.sampled_from(LEAVES),
    st.sampled_from([None, 200, 400, 401, 404, 409, 422, 429, 500, 502, 503, 504]),
    CODES,
    st.none() | st.floats(),
)
ERRORS = API_ERRORS | st.builds(RuntimeError)
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 50),
    base_ms=st.integers(1, 60_000),
    cap_ms=st.integers(1, 600_000),
    horizon_ms=st.integers(1_000, 3 * DAY_MS),
    window_ms=st.integers(600, 29 * 60_000),
    on_ambiguous=st.sampled_from(["hold", "reissue"]),
)


@given(
    error=ERRORS,
    policy=POLICIES,
    repeatable=st.booleans(),
    attempt=st.integers(1, 10_000),
    age_ms=st.integers(0, 3 * DAY_MS),
    sent_ago_ms=st.none() | st.integers(0, 3 * DAY_MS),
    left_ms=st.none() | st.integers(-DAY_MS, DAY_MS),
    unsure=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_decide_never_leaves_its_bounds(  # noqa: PLR0917 - hypothesis fills them
    error: Exception,
    policy: RetryPolicy,
    repeatable: bool,
    attempt: int,
    age_ms: int,
    sent_ago_ms: int | None,
    left_ms: int | None,
    unsure: bool,
    seed: int,
) -> None:
    """Deadline, horizon, window and the longest wait hold for all errors and circumstances."""
    first_sent_ms = None if sent_ago_ms is None else NOW - sent_ago_ms
    decision = decide(
        error,
        policy=policy,
        operation_repeatable=repeatable,
        attempt=attempt,
        first_sent_ms=first_sent_ms,
        enqueued_ms=NOW - age_ms,
        now_ms=NOW,
        deadline_ms=None if left_ms is None else NOW + left_ms,
        unsure=unsure,
        rng=random.Random(seed),
    )
    start_ms = NOW + decision.delay_ms
    assert 0 <= decision.delay_ms <= LONGEST_MS
    assert decision.why
    again = decision.action in {"retry", "reissue"}
    assert (decision.delay_ms > 0) == again
    if again:
        assert left_ms is None or start_ms <= NOW + left_ms
        assert start_ms <= NOW - age_ms + policy.horizon_ms
        assert not decision.counted or attempt < policy.max_attempts
    if decision.action == "retry" and not repeatable and (unsure or decision.executed_unknown):
        since = NOW if first_sent_ms is None else first_sent_ms
        assert start_ms - since < policy.window_ms
    if decision.action in {"hold", "reissue"}:
        assert not repeatable
        assert decision.action == policy.on_ambiguous
    assert (decision.action == "trip_site") == (decision.trip_reason is not None)


@given(seed=st.integers(0, 2**32), policy=POLICIES, attempt=st.integers(1, 49))
def test_decide_backs_off_under_base_and_cap(seed: int, policy: RetryPolicy, attempt: int) -> None:
    """The wait lies in [floor, min(cap, base * 2 ** (n - 1))], or is the floor."""
    decision = decide(
        UnavailableError("http_status", status=503),
        policy=policy,
        operation_repeatable=True,
        attempt=attempt,
        first_sent_ms=None,
        enqueued_ms=NOW,
        now_ms=NOW,
        deadline_ms=None,
        unsure=False,
        rng=random.Random(seed),
    )
    if decision.action == "retry":
        ceiling = min(policy.cap_ms, policy.base_ms * 2 ** (attempt - 1))
        assert numbers.FLOOR_MS <= decision.delay_ms <= max(numbers.FLOOR_MS, ceiling)


@pytest.mark.parametrize("attempt", [1, 4, 9, 11])
def test_decide_spreads_waits_over_the_whole_range(attempt: int) -> None:
    """Full jitter: the mean is half the ceiling, and each tenth of the range gets its share."""
    rng = random.Random(3)
    policy = RetryPolicy(base_ms=1_000, cap_ms=300_000)
    delays = [
        decide(
            UnavailableError("http_status", status=503),
            policy=policy,
            operation_repeatable=False,
            attempt=attempt,
            first_sent_ms=None,
            enqueued_ms=NOW,
            now_ms=NOW,
            deadline_ms=None,
            unsure=False,
            rng=rng,
        ).delay_ms
        for _ in range(4_000)
    ]
    ceiling = min(300_000, 1_000 * 2 ** (attempt - 1))
    assert statistics.fmean(delays) == pytest.approx(ceiling / 2, rel=0.05)
    tenths = [0] * 10
    for delay in delays:
        tenths[min(9, delay * 10 // ceiling)] += 1
    assert min(tenths) > 300
    assert max(tenths) < 500


@pytest.mark.parametrize("kind", ["default", "offer"])
def test_default_attempts_end_inside_the_window(kind: str) -> None:
    """With the longest waits and time-outs, the last attempt starts before the window closes."""
    from worker.settings.environment import GENERIC_DEFAULTS, OFFER_DEFAULTS

    policy = {"default": GENERIC_DEFAULTS, "offer": OFFER_DEFAULTS}[kind]
    waits = [
        max(numbers.AMBIGUOUS_FLOOR_MS, min(policy.cap_ms, policy.base_ms * 2**n))
        for n in range(policy.max_attempts - 1)
    ]
    timeouts = 30_000 * (policy.max_attempts - 1)
    assert sum(waits) + timeouts < policy.window_ms
    assert sum(waits) + timeouts < policy.horizon_ms


@pytest.mark.parametrize(
    ("repeatable", "since_ms", "allowed"),
    [
        (False, None, True),
        (True, NOW - DAY_MS, True),
        (False, NOW, True),
        (False, NOW - 24 * 60_000, True),
        (False, NOW - 25 * 60_000 + 1, True),
        (False, NOW - 25 * 60_000, False),
        (False, NOW - 29 * 60_000, False),
        (False, NOW - 31 * 60_000, False),
        (False, NOW - 60 * 60_000, False),
        (False, NOW + 5_000, True),
        (False, NOW + 5_001, False),
    ],
)
def test_may_send_closes_with_the_window(
    repeatable: bool, since_ms: int | None, allowed: bool
) -> None:
    """Nothing unknown is repeated after the window, or by a clock that jumped back."""
    answer = may_send(RetryPolicy(), repeatable=repeatable, unsure_since_ms=since_ms, now_ms=NOW)
    assert answer is allowed


@pytest.mark.parametrize("choice", ["hold", "reissue"])
def test_close_window_follows_the_setting(choice: str) -> None:
    """A job found too late to send is held or reissued, as the setting says."""
    decision = close_window(RetryPolicy(on_ambiguous=choice))  # type: ignore[arg-type]
    assert (decision.action, decision.error_class) == (choice, "ambiguous")
