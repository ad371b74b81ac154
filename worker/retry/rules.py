"""What comes after a failed attempt: one pure function and the numbers it goes by.

    class          errors                                  what next
    not_sent       connect, DNS, TLS                       again; no attempt burnt
    throttled      429, three codes                        again, told when; no attempt burnt
    unavailable    503                                     again; in maintenance: trip the site
    ambiguous      timeout, reset, 5xx, unreadable 2xx     again with the same key, in the window
    rejected       4xx                                     fail
    misconfigured  401                                     this key serves no more, keep the job
    misconfigured  403, unknown site                       trip the site, keep the job
    misconfigured  no key, site not configured here        back to its line, for another worker
    invalid        the worker itself refused the job       fail
    internal       anything else: a bug                    like ambiguous, a few times
    expired        the next attempt misses the deadline    expire: the deadline wins over all

No clock, no I/O and no randomness of its own: `now_ms` and `rng` come in. The table with its
reasons is docs/errors.md. Source of statuses and codes: the API's description, errors.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Final

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
from worker.retry.decision import Action, Decision
from worker.retry.policy import (
    AMBIGUOUS_FLOOR_MS,
    CLOCK_STEP_MS,
    FLOOR_MS,
    INTERNAL_ATTEMPTS,
    LOCK_TIMEOUT_MS,
    MAINTENANCE_CODES,
    NOT_SENT_CAP_MS,
    RETRY_AFTER_MAX_MS,
    RETRY_AFTER_MIN_MS,
    SERVER_ERROR_ATTEMPTS,
    SPREAD,
    SPREAD_MIN_MS,
    THIRD_PARTY_MS,
    THROTTLE_PAUSE_MS,
    UNAVAILABLE_RETRY_AFTER_MAX_MS,
    UNREADABLE_ATTEMPTS,
    OnAmbiguous,
    RetryPolicy,
)

__all__ = [
    "Action",
    "Decision",
    "OnAmbiguous",
    "RetryPolicy",
    "close_window",
    "decide",
    "may_send",
]


_MAX_DOUBLINGS = 40
#: HTTP status that is about the key alone.
KEY_REFUSED: Final = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """The circumstances of one failed attempt, as `decide` was given them."""

    policy: RetryPolicy
    repeatable: bool
    attempt: int
    first_sent_ms: int | None
    enqueued_ms: int
    now_ms: int
    deadline_ms: int | None
    unsure: bool
    rng: random.Random


def decide(
    error: Exception,
    *,
    policy: RetryPolicy,
    operation_repeatable: bool,
    attempt: int,
    first_sent_ms: int | None,
    enqueued_ms: int,
    now_ms: int,
    deadline_ms: int | None,
    unsure: bool,
    rng: random.Random,
) -> Decision:
    """Say what comes after a failed attempt.

    Args:
        error: what the attempt raised.
        policy: of the job's kind.
        operation_repeatable: True for a read, which may be sent again freely.
        attempt: number of this attempt among those that burn, 1 = first.
        first_sent_ms: Unix ms of the first delivery whose outcome is unknown, this one included
            if it may have been sent; None when nothing unknown was sent.
        enqueued_ms: Unix ms when the job was enqueued, or became due when it was delayed.
        now_ms: Unix ms, by the clock of the others.
        deadline_ms: Unix ms after which no attempt may start, or None.
        unsure: True when the outcome of an earlier attempt is unknown.
        rng: source of jitter.

    Returns:
        The decision. A `retry` always starts before the deadline, inside the horizon and, when
        an outcome is unknown and the operation is no read, inside the window.
    """
    case = _Case(
        policy=policy,
        repeatable=operation_repeatable,
        attempt=attempt,
        first_sent_ms=first_sent_ms,
        enqueued_ms=enqueued_ms,
        now_ms=now_ms,
        deadline_ms=deadline_ms,
        unsure=unsure,
        rng=rng,
    )
    return _bound(_first_thought(error, case), case)


def may_send(
    policy: RetryPolicy, *, repeatable: bool, unsure_since_ms: int | None, now_ms: int
) -> bool:
    """Say whether an attempt may leave now.

    Args:
        policy: of the job's kind.
        repeatable: True for a read.
        unsure_since_ms: Unix ms of the first delivery whose outcome is unknown, or None.
        now_ms: Unix ms, by the same clock.

    Returns:
        False when an earlier outcome is unknown and the window has closed, or the clock went
        back so far that it cannot be trusted: then `close_window` says what comes next.
    """
    if repeatable or unsure_since_ms is None:
        return True
    return -CLOCK_STEP_MS <= now_ms - unsure_since_ms < policy.window_ms


def close_window(policy: RetryPolicy) -> Decision:
    """Decide on a job that may not be sent any more, as `may_send` said.

    Args:
        policy: of the job's kind.

    Returns:
        `hold`, or `reissue` at once with a new key.
    """
    why = "the outcome of an earlier attempt is unknown and the idempotency window has closed"
    return Decision(action=policy.on_ambiguous, error_class="ambiguous", why=why)


def _first_thought(error: Exception, case: _Case) -> Decision:
    """Classify the error, before deadline, horizon and window have had their say."""
    match error:
        case NotSentError():
            return _not_sent(case)
        case ThrottledError():
            return _throttled(error, case)
        case UnavailableError():
            return _unavailable(error, case)
        case AmbiguousError():
            return _ambiguous(error, case)
        case RejectedError() if error.status == 409 and case.unsure and not case.repeatable:
            why = "409 while an earlier attempt may still be running"
            return _again(case, "ambiguous", why, case.policy.max_attempts)
        case RejectedError():
            why = f"the API rejected the request: {error}"
            return Decision(action="fail", error_class="rejected", why=why, counted=True)
        case MisconfiguredError():
            http = f"http_{error.status}" if error.status is not None else error.reason
            what = "key" if error.status == KEY_REFUSED else "site"
            why = f"no request with this {what} can succeed: {error}"
            tripped = _tripped(error.api_error_code or http, why)
            return replace(tripped, key_refused=error.status == KEY_REFUSED)
        case SettingsError():
            why = f"this worker cannot serve the site: {error}"
            return Decision(action="hand_back", error_class="misconfigured", why=why)
        case InvalidJobError():
            why = f"the job is not valid: {error}"
            return Decision(action="fail", error_class="invalid", why=why, counted=True)
        case _:
            return _internal(error, case)


def _not_sent(case: _Case) -> Decision:
    # No attempt burns, so there is no count to grow by: the job's age grows the wait instead.
    age_ms = max(case.now_ms - case.enqueued_ms, case.policy.base_ms)
    ceiling = min(age_ms, NOT_SENT_CAP_MS)
    return Decision(
        action="retry",
        error_class="not_sent",
        why="the request was not sent",
        delay_ms=max(FLOOR_MS, round(case.rng.uniform(0, ceiling))),
    )


def _throttled(error: ThrottledError, case: _Case) -> Decision:
    told = _retry_after_ms(error, RETRY_AFTER_MAX_MS)
    thought = Decision(action="retry", error_class="throttled", why=f"throttled: {error}")
    alone = {
        "lock_timeout": LOCK_TIMEOUT_MS,
        "third_party_api_request_limit_exceeded": THIRD_PARTY_MS,
    }.get(error.api_error_code or "")
    if alone is not None:
        delay = round(case.rng.uniform(*alone)) if told is None else _spread(told, case.rng)
        return replace(thought, delay_ms=delay)
    pause = THROTTLE_PAUSE_MS if told is None else told
    return replace(thought, delay_ms=_spread(pause, case.rng), throttle_site_ms=pause)


def _unavailable(error: UnavailableError, case: _Case) -> Decision:
    told = _retry_after_ms(error, UNAVAILABLE_RETRY_AFTER_MAX_MS)
    why = f"the site is unavailable: {error}"
    if error.api_error_code in MAINTENANCE_CODES:
        # Every call of the site would be told the same: one now and then asks for all.
        tripped = _tripped(error.api_error_code or "", why)
        return replace(tripped, error_class="unavailable", throttle_site_ms=told)
    thought = _again(case, "unavailable", why, case.policy.max_attempts)
    return _told(thought, told, case)


def _ambiguous(error: AmbiguousError, case: _Case) -> Decision:
    limit = case.policy.max_attempts
    if error.status == 500:
        limit = min(limit, SERVER_ERROR_ATTEMPTS)
    elif error.status is not None and 200 <= error.status < 300:
        limit = min(limit, UNREADABLE_ATTEMPTS)
    thought = _again(case, "ambiguous", f"the outcome is unknown: {error}", limit)
    thought = replace(thought, executed_unknown=not case.repeatable)
    return _told(thought, _retry_after_ms(error, UNAVAILABLE_RETRY_AFTER_MAX_MS), case)


def _internal(error: Exception, case: _Case) -> Decision:
    limit = min(case.policy.max_attempts, INTERNAL_ATTEMPTS)
    # Only the name of the class: the text of a stranger's exception may hold anything.
    thought = _again(case, "internal", f"unexpected {type(error).__name__}", limit)
    sent = case.first_sent_ms is not None and not case.repeatable
    return replace(thought, executed_unknown=sent)


def _tripped(reason: str, why: str) -> Decision:
    return Decision(action="trip_site", error_class="misconfigured", why=why, trip_reason=reason)


def _again(case: _Case, error_class: str, why: str, limit: int) -> Decision:
    """Repeat with a backoff while attempts are left."""
    if case.attempt >= limit:
        spent = f"{why}; {case.attempt} attempts are spent"
        return Decision(action="fail", error_class=error_class, why=spent, counted=True)
    floor = AMBIGUOUS_FLOOR_MS if error_class in {"ambiguous", "internal"} else FLOOR_MS
    delay = _backoff_ms(case, floor)
    return Decision(action="retry", error_class=error_class, why=why, delay_ms=delay, counted=True)


def _backoff_ms(case: _Case, floor_ms: int) -> int:
    doublings = min(max(case.attempt, 1) - 1, _MAX_DOUBLINGS)
    ceiling = min(case.policy.cap_ms, case.policy.base_ms * 2**doublings)
    return max(floor_ms, round(case.rng.uniform(0, ceiling)))


def _told(thought: Decision, told_ms: int | None, case: _Case) -> Decision:
    if thought.action != "retry" or told_ms is None:
        return thought
    return replace(thought, delay_ms=_spread(told_ms, case.rng))


def _retry_after_ms(error: ApiError, most_ms: int) -> int | None:
    seconds = error.retry_after_s
    if seconds is None or math.isnan(seconds):
        return None
    return round(min(max(seconds * 1000, RETRY_AFTER_MIN_MS), most_ms))


def _spread(delay_ms: int, rng: random.Random) -> int:
    return delay_ms + round(rng.uniform(0, max(SPREAD_MIN_MS, delay_ms * SPREAD)))


def _bound(thought: Decision, case: _Case) -> Decision:
    """Let the deadline, the horizon, the unknown and the window have their say."""
    if thought.error_class in {"rejected", "invalid"} and thought.action == "fail":
        return thought
    if thought.action in {"retry", "trip_site"} and _misses_deadline(thought, case):
        return _expired(thought)
    horizon_ms = case.enqueued_ms + case.policy.horizon_ms
    if thought.action == "retry" and case.now_ms + thought.delay_ms > horizon_ms:
        thought = _ended(thought, "fail", "the horizon is reached")
    unknown = not case.repeatable and (case.unsure or thought.executed_unknown)
    if unknown and thought.action in {"retry", "fail"}:
        thought = _unknown(thought, case)
        if thought.action != "retry" and _misses_deadline(thought, case):
            return _expired(thought)
    return thought


def _unknown(thought: Decision, case: _Case) -> Decision:
    """Keep a job that may have made a page from being repeated too late, or given up silently."""
    hold = case.policy.on_ambiguous == "hold"
    if thought.action == "fail":
        # Nobody was given the address of the page there may be. Who chose `reissue` can live
        # with that page and with a plain failure; everybody else is asked.
        return replace(thought, action="hold") if hold else thought
    since_ms = case.first_sent_ms
    if since_ms is None:
        since_ms = case.now_ms - (case.policy.window_ms if case.unsure else 0)
    start_ms = case.now_ms + thought.delay_ms
    if may_send(case.policy, repeatable=False, unsure_since_ms=since_ms, now_ms=start_ms):
        return thought
    reason = "the idempotency window closes before the next attempt"
    if hold:
        return _ended(thought, "hold", reason)
    return replace(thought, action="reissue", why=f"{thought.why}; {reason}")


def _misses_deadline(thought: Decision, case: _Case) -> bool:
    return case.deadline_ms is not None and case.now_ms + thought.delay_ms > case.deadline_ms


def _expired(thought: Decision) -> Decision:
    ended = _ended(thought, "expire", "the next attempt would start after the deadline")
    return replace(ended, error_class="expired")


def _ended(thought: Decision, action: Action, reason: str) -> Decision:
    # The site's wait stands: it is about the site, not about this job.
    why = f"{thought.why}; {reason}"
    return replace(thought, action=action, why=why, delay_ms=0, trip_reason=None)
