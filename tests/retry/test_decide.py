"""Every status and code that the API documents, and what comes after each."""

from __future__ import annotations

import random
from typing import Any

import pytest

from worker.errors import (
    AmbiguousError,
    ApiError,
    InvalidJobError,
    MisconfiguredError,
    NotSentError,
    RejectedError,
    SettingsError,
    ThrottledError,
    UnavailableError,
)
from worker.retry import policy as numbers
from worker.retry.decision import Decision, error_class_of
from worker.retry.rules import RetryPolicy, decide

NOW = 1_800_000_000_000

REJECTED = [
    (400, "invalid_request"),
    (400, "param_wrong_value"),
    (400, "duplicate_entry"),
    (400, "resource_limit_exhausted"),
    (400, "resource_limit_exceeded"),
    (400, "configuration_incompatible"),
    (400, "payment_processing_failed"),
    (400, "payment_method_verification_failed"),
    (400, "payment_method_not_present"),
    (400, "payment_gateway_currency_incompatible"),
    (400, "payment_intent_invalid"),
    (400, "payment_intent_invalid_amount"),
    (404, "resource_not_found"),
    (405, "http_method_not_supported"),
    (409, "invalid_state_for_request"),
    (422, "unable_to_process_request"),
    (418, "a_code_of_tomorrow"),
    (400, None),
]
MISCONFIGURED = [
    (401, "api_authentication_failed"),
    (401, "basic_authentication_failed"),
    (403, "api_authorization_failed"),
    (403, "request_blocked"),
    (404, "site_not_found"),
]
THROTTLED = [
    ("api_request_limit_exceeded", 60_000, 66_000, 60_000),
    (None, 60_000, 66_000, 60_000),
    ("a_code_of_tomorrow", 60_000, 66_000, 60_000),
    ("lock_timeout", 1_000, 5_000, None),
    ("third_party_api_request_limit_exceeded", 15_000, 60_000, None),
]
AMBIGUOUS = [
    (None, None, "read_timeout"),
    (None, None, "connection_reset"),
    (500, "internal_error", "http_status"),
    (502, None, "http_status"),
    (504, None, "http_status"),
    (200, None, "unreadable_body"),
]
SITE_WIDE = ["site_not_ready", "site_read_only_mode"]
ALONE = ["internal_temporary_error", "db_connection_failure", None]


def ask(error: Exception, *, seed: int = 7, **changes: Any) -> Decision:
    """Ask about the first attempt of a gift a second after it was enqueued."""
    circumstances: dict[str, Any] = {
        "policy": RetryPolicy(),
        "operation_repeatable": False,
        "attempt": 1,
        "first_sent_ms": NOW - 100,
        "enqueued_ms": NOW - 1_000,
        "now_ms": NOW,
        "deadline_ms": None,
        "unsure": False,
        "rng": random.Random(seed),
    }
    return decide(error, **(circumstances | changes))


@pytest.mark.parametrize(("status", "code"), REJECTED)
@pytest.mark.parametrize("repeatable", [True, False])
def test_decide_fails_the_rejected_at_once(
    status: int, code: str | None, repeatable: bool
) -> None:
    """A 4xx of the request itself ends the job on the first attempt."""
    error = RejectedError("http_status", status=status, api_error_code=code)
    decision = ask(error, operation_repeatable=repeatable)
    assert (decision.action, decision.error_class) == ("fail", "rejected")
    assert decision.counted
    assert decision.delay_ms == 0
    assert not decision.executed_unknown


@pytest.mark.parametrize(("status", "code"), MISCONFIGURED)
def test_decide_trips_the_site_of_the_misconfigured(status: int, code: str) -> None:
    """A wrong key or site trips the site and costs the job nothing, however often it happened."""
    error = MisconfiguredError("http_status", status=status, api_error_code=code)
    decision = ask(error, attempt=99, enqueued_ms=0)
    assert decision.action == "trip_site"
    assert decision.trip_reason == code
    assert not decision.counted
    assert decision.error_class == "misconfigured"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MisconfiguredError("http_status", status=401), "http_401"),
        (MisconfiguredError("wrong_host"), "wrong_host"),
    ],
)
def test_decide_names_the_reason_of_a_tripped_site(error: Exception, reason: str) -> None:
    """Without a code the status is the reason."""
    assert ask(error).trip_reason == reason


@pytest.mark.parametrize(("status", "refused"), [(401, True), (403, False), (None, False)])
def test_decide_tells_a_refused_key_from_a_wrong_site(status: int | None, refused: bool) -> None:
    """Only a 401 is about the key alone: another worker may hold a good one."""
    assert ask(MisconfiguredError("http_status", status=status)).key_refused is refused


def test_decide_hands_back_what_this_worker_cannot_serve() -> None:
    """A key that cannot be read, or a site of other workers, trips nothing and burns nothing."""
    decision = ask(SettingsError("ACME_KEY", "is not set", "Export it."), attempt=99)
    assert (decision.action, decision.trip_reason, decision.counted) == ("hand_back", None, False)


@pytest.mark.parametrize(("code", "least", "most", "pause"), THROTTLED)
@pytest.mark.parametrize("attempt", [1, 12, 500])
def test_decide_waits_by_the_code_of_a_429(
    code: str | None, least: int, most: int, pause: int | None, attempt: int
) -> None:
    """The site's limit throttles the site, the other two delay one job; none burns an attempt."""
    error = ThrottledError("http_status", status=429, api_error_code=code)
    for seed in range(200):
        decision = ask(error, attempt=attempt, seed=seed)
        assert (decision.action, decision.error_class) == ("retry", "throttled")
        assert least <= decision.delay_ms <= most
        assert decision.throttle_site_ms == pause
        assert not decision.counted
        assert not decision.executed_unknown


@pytest.mark.parametrize(
    ("seconds", "pause"),
    [
        (30.0, 30_000),
        (0.5, 1_000),
        (0.0, 1_000),
        (-5.0, 1_000),
        (120.0, 120_000),
        (1e9, 120_000),
        (float("inf"), 120_000),
        (float("-inf"), 1_000),
        (float("nan"), 60_000),
        (None, 60_000),
    ],
)
def test_decide_clamps_retry_after(seconds: float | None, pause: int) -> None:
    """Retry-After wins, within 1 to 120 s; nonsense counts as absent."""
    code = "api_request_limit_exceeded"
    error = ThrottledError("http_status", status=429, api_error_code=code, retry_after_s=seconds)
    decision = ask(error)
    assert decision.throttle_site_ms == pause
    assert pause <= decision.delay_ms <= pause + max(1_000, pause // 10)


def test_decide_spreads_the_return_from_retry_after() -> None:
    """A thousand jobs that were told the same moment come back in many."""
    code = "api_request_limit_exceeded"
    error = ThrottledError("http_status", status=429, api_error_code=code, retry_after_s=1)
    delays = {ask(error, seed=seed).delay_ms for seed in range(1_000)}
    assert len(delays) > 400
    assert min(delays) < 1_100
    assert max(delays) > 1_900


@pytest.mark.parametrize("code", SITE_WIDE)
def test_decide_trips_a_site_in_maintenance(code: str) -> None:
    """A read-only or unready site is tried now and then, and no attempt burns."""
    error = UnavailableError("http_status", status=503, api_error_code=code)
    decision = ask(error, attempt=50)
    assert (decision.action, decision.error_class) == ("trip_site", "unavailable")
    assert decision.trip_reason == code
    assert (decision.delay_ms, decision.throttle_site_ms) == (0, None)
    assert not decision.counted
    assert not decision.executed_unknown


@pytest.mark.parametrize(
    ("seconds", "first_ms"), [(0.2, 1_000), (45, 45_000), (240, 240_000), (1e9, 600_000)]
)
def test_decide_asks_a_site_in_maintenance_when_it_said(seconds: float, first_ms: int) -> None:
    """Retry-After says when the first try is, within 1 s to ten minutes."""
    code = "site_read_only_mode"
    error = UnavailableError("http_status", status=503, api_error_code=code, retry_after_s=seconds)
    assert ask(error).throttle_site_ms == first_ms


@pytest.mark.parametrize("code", ALONE)
def test_decide_backs_off_from_a_503(code: str | None) -> None:
    """Other 503s back off by themselves, burn an attempt and end when the attempts are spent."""
    error = UnavailableError("http_status", status=503, api_error_code=code)
    first = ask(error)
    assert (first.action, first.error_class) == ("retry", "unavailable")
    assert first.counted
    assert first.throttle_site_ms is None
    assert not first.executed_unknown
    last = ask(error, attempt=12)
    assert (last.action, last.error_class) == ("fail", "unavailable")
    assert "12 attempts are spent" in last.why


def test_decide_honours_retry_after_of_a_503() -> None:
    """A 503 that says when is believed, up to ten minutes."""
    error = UnavailableError("http_status", status=503, retry_after_s=240)
    assert 240_000 <= ask(error).delay_ms <= 264_000
    error = UnavailableError("http_status", status=503, retry_after_s=1e9)
    assert 600_000 <= ask(error).delay_ms <= 660_000


@pytest.mark.parametrize(("status", "code", "reason"), AMBIGUOUS)
def test_decide_repeats_an_ambiguous_gift_inside_the_window(
    status: int | None, code: str | None, reason: str
) -> None:
    """An unknown outcome is repeated, counted and remembered."""
    decision = ask(AmbiguousError(reason, status=status, api_error_code=code))
    assert (decision.action, decision.error_class) == ("retry", "ambiguous")
    assert decision.counted
    assert decision.executed_unknown
    assert decision.delay_ms >= numbers.AMBIGUOUS_FLOOR_MS


@pytest.mark.parametrize(("status", "code", "reason"), AMBIGUOUS)
def test_decide_repeats_an_ambiguous_read_freely(
    status: int | None, code: str | None, reason: str
) -> None:
    """Offers are a read: the window does not bind them, and nothing is remembered."""
    decision = ask(
        AmbiguousError(reason, status=status, api_error_code=code),
        operation_repeatable=True,
        unsure=True,
        first_sent_ms=NOW - 3 * 3_600_000,
    )
    assert decision.action == "retry"
    assert not decision.executed_unknown


@pytest.mark.parametrize(
    ("status", "limit"), [(None, 12), (502, 12), (504, 12), (500, 5), (200, 3), (201, 3)]
)
def test_decide_bounds_the_repeats_of_the_ambiguous(status: int | None, limit: int) -> None:
    """A 500 is tried five times and an unreadable 2xx three; then a gift is held, a read fails."""
    error = AmbiguousError("any", status=status)
    assert ask(error, attempt=limit - 1).action == "retry"
    assert ask(error, attempt=limit).action == "hold"
    assert ask(error, attempt=limit, operation_repeatable=True).action == "fail"
    chosen = RetryPolicy(on_ambiguous="reissue")
    assert ask(error, attempt=limit, policy=chosen).action == "fail"


@pytest.mark.parametrize(("minutes", "action"), [(24, "retry"), (25, "hold"), (29, "hold")])
def test_decide_stops_at_the_edge_of_the_window(minutes: int, action: str) -> None:
    """Inside the window a gift is repeated; from its edge on a person is asked."""
    since = NOW - minutes * 60_000
    error = AmbiguousError("read_timeout")
    decision = ask(error, attempt=2, unsure=True, first_sent_ms=since)
    assert decision.action == action
    assert decision.executed_unknown


@pytest.mark.parametrize("minutes", [25, 31, 60])
def test_decide_reissues_after_the_window_when_told(minutes: int) -> None:
    """With `reissue` a new key is used after the window, and the old one is an orphan."""
    decision = ask(
        AmbiguousError("read_timeout"),
        policy=RetryPolicy(on_ambiguous="reissue"),
        attempt=2,
        unsure=True,
        first_sent_ms=NOW - minutes * 60_000,
    )
    assert decision.action == "reissue"
    assert decision.counted
    assert decision.delay_ms > 0


@pytest.mark.parametrize(
    "error",
    [
        NotSentError("connect"),
        ThrottledError("http_status", status=429, api_error_code="lock_timeout"),
        UnavailableError("http_status", status=503),
        ValueError("x"),
    ],
)
def test_decide_keeps_an_earlier_unknown_in_mind(error: Exception) -> None:
    """A later harmless error does not make an earlier unknown outcome known."""
    stale = {"unsure": True, "first_sent_ms": NOW - 26 * 60_000}
    assert ask(error, **stale).action == "hold"
    assert ask(error, operation_repeatable=True, **stale).action == "retry"


def test_decide_trusts_nothing_when_the_first_delivery_is_unknown() -> None:
    """An unknown outcome without its time counts as out of the window."""
    assert ask(NotSentError("connect"), unsure=True, first_sent_ms=None).action == "hold"


def test_decide_repeats_a_409_that_may_be_our_own_earlier_attempt() -> None:
    """While an earlier attempt may be running, its repeat may be told of a conflict with it."""
    error = RejectedError("http_status", status=409, api_error_code="invalid_state_for_request")
    assert ask(error, unsure=True).action == "retry"
    assert ask(error, unsure=True, operation_repeatable=True).action == "fail"
    other = RejectedError("http_status", status=422)
    assert ask(other, unsure=True).action == "fail"


@pytest.mark.parametrize("age_ms", [0, 10, 500, 8_000, 10_000_000])
def test_decide_waits_longer_for_an_old_job_that_cannot_be_sent(age_ms: int) -> None:
    """Nothing burns, so the job's age is what the wait grows by, up to half a minute."""
    delays = [
        ask(NotSentError("connect"), enqueued_ms=NOW - age_ms, attempt=400, seed=seed).delay_ms
        for seed in range(300)
    ]
    ceiling = min(max(age_ms, 500), 30_000)
    assert max(delays) <= ceiling
    assert max(delays) > ceiling * 0.9
    assert not ask(NotSentError("dns"), attempt=400).counted


@pytest.mark.parametrize(
    "error",
    [NotSentError("connect"), ThrottledError("http_status", status=429, retry_after_s=100)],
)
def test_decide_bounds_the_unburnt_by_the_horizon(error: ApiError) -> None:
    """What burns no attempt still ends when the horizon is reached."""
    decision = ask(error, enqueued_ms=NOW - 86_400_000)
    assert decision.action == "fail"
    assert "horizon" in decision.why
    held = ask(error, enqueued_ms=NOW - 86_400_000, unsure=True)
    assert held.action == "hold"


DEADLINED = [
    NotSentError("connect"),
    ThrottledError("http_status", status=429),
    UnavailableError("http_status", status=503),
    AmbiguousError("read_timeout"),
    MisconfiguredError("http_status", status=401),
    RuntimeError("bug"),
]


@pytest.mark.parametrize("error", DEADLINED)
@pytest.mark.parametrize("unsure", [True, False])
def test_decide_expires_when_the_deadline_is_missed(error: Exception, unsure: bool) -> None:
    """The deadline wins over every repeat, hold and trip."""
    for attempt in (1, 12):
        decision = ask(error, deadline_ms=NOW - 1, unsure=unsure, attempt=attempt)
        if decision.action != "fail":  # its attempts are spent, and its outcome is known
            assert (decision.action, decision.error_class) == ("expire", "expired")
        assert decision.delay_ms == 0


def test_decide_expires_at_once_when_the_next_attempt_would_be_too_late() -> None:
    """A job whose site is throttled past its deadline does not wait for it."""
    error = ThrottledError("http_status", status=429, retry_after_s=30)
    decision = ask(error, deadline_ms=NOW + 29_999)
    assert decision.action == "expire"
    assert decision.throttle_site_ms == 30_000, "the site is throttled all the same"
    assert ask(error, deadline_ms=NOW + 33_000).action == "retry"


def test_decide_tells_the_truth_about_a_rejected_job_past_its_deadline() -> None:
    """An answer that came is worth more than the deadline that passed."""
    error = RejectedError("http_status", status=400)
    assert ask(error, deadline_ms=NOW - 1).action == "fail"


def test_decide_fails_an_invalid_job() -> None:
    """A record that the worker itself refuses fails with the paths of its faults."""
    decision = ask(InvalidJobError({"subscription_items.2.quantity": ["Must be at least 1."]}))
    assert (decision.action, decision.error_class) == ("fail", "invalid")
    assert "subscription_items.2.quantity" in decision.why


@pytest.mark.parametrize(
    ("sent", "attempt", "action"),
    [(True, 1, "retry"), (True, 3, "hold"), (False, 2, "retry"), (False, 3, "fail")],
)
def test_decide_treats_a_bug_like_an_unknown_outcome(
    sent: bool, attempt: int, action: str
) -> None:
    """An unexpected exception after sending may hide a page: repeat, then hold."""
    error = KeyError("maria@example.com")
    decision = ask(error, attempt=attempt, first_sent_ms=NOW - 100 if sent else None)
    assert (decision.action, decision.error_class) == (action, "internal")
    assert decision.executed_unknown is sent
    assert "maria" not in decision.why
    assert "KeyError" in decision.why


@pytest.mark.parametrize(
    "error",
    [*DEADLINED, RejectedError("http_status"), SettingsError("A", "is", "b"), InvalidJobError({})],
)
def test_error_class_is_the_one_that_is_decided(error: Exception) -> None:
    """Logs and metrics of a call name the class that the outcome will name."""
    assert error_class_of(error) == ask(error).error_class
