"""What comes after a failed attempt: one pure function and the numbers it goes by.

    class          errors                                  what next
    not_sent       connect, DNS, TLS                       again; no attempt burnt
    throttled      429, three codes                        again, told when; no attempt burnt
    unavailable    503                                     again; read-only and not-ready: minutes
    ambiguous      timeout, reset, 5xx, unreadable 2xx     again with the same key, in the window
    rejected       4xx                                     fail
    misconfigured  401, 403, unknown site, no key          park the site, keep the job
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
from typing import Final, Literal

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

__all__ = [
    "Action",
    "Decision",
    "OnAmbiguous",
    "RetryPolicy",
    "close_window",
    "decide",
    "may_send",
]

Action = Literal["retry", "fail", "expire", "hold", "reissue", "park_site"]
OnAmbiguous = Literal["hold", "reissue"]

#: Attempts. With base and cap below, twelve of them and their 30 s time-outs (at most 811 s of
#: waiting and 360 s of calls) end well inside the 25 minutes of the idempotency window.
DEFAULT_MAX_ATTEMPTS: Final = 12
#: ms, ceiling of the first wait: a shopper may be waiting, so the first repeat comes soon.
DEFAULT_BASE_MS: Final = 500
#: ms, ceiling of every wait: five minutes, so that a long outage is noticed to be over soon.
DEFAULT_CAP_MS: Final = 300_000
#: ms since the job was due: a day. Not-sent and throttled burn no attempt; this is their bound.
DEFAULT_HORIZON_MS: Final = 86_400_000
#: ms since the first delivery: 25 of the API's 30 minutes, so that clocks that differ, a slow
#: connection and the attempt's own time-out never carry a repeat over the edge.
DEFAULT_WINDOW_MS: Final = 1_500_000
#: ms, least wait of a backoff: lets a reset connection or a restarting proxy go first.
FLOOR_MS: Final = 50
#: ms, least wait after an unknown outcome: the attempt we gave up on may still be running there,
#: and its own repeat would meet it.
AMBIGUOUS_FLOOR_MS: Final = 1_000
#: ms, ceiling of a wait when nothing was sent: probing an address costs the API nothing.
NOT_SENT_CAP_MS: Final = 30_000
#: ms, bounds of Retry-After on a 429; the limit resets in about a minute, so a longer wish is a
#: mistake of a proxy and a shorter one than a second spares nothing.
RETRY_AFTER_MIN_MS: Final = 1_000
RETRY_AFTER_MAX_MS: Final = 120_000
#: ms, pause of the site when a 429 names none. Source: "until the limit resets (in approximately
#: a minute)".
THROTTLE_PAUSE_MS: Final = 60_000
#: ms, wait after `lock_timeout`: two calls met at one record; the other ends in a moment.
LOCK_TIMEOUT_MS: Final = (1_000, 5_000)
#: ms, wait after `third_party_api_request_limit_exceeded`: a gateway's limit, not the site's.
THIRD_PARTY_MS: Final = (15_000, 60_000)
#: ms, wait and pause of the site while it is read-only or not ready: maintenance takes minutes.
MAINTENANCE_MS: Final = (60_000, 180_000)
#: ms, upper bound of Retry-After on a 503: maintenance may be announced in minutes, not hours.
UNAVAILABLE_RETRY_AFTER_MAX_MS: Final = 600_000
#: Part of a told wait that is added at random, and its least in ms: a fleet that was told the
#: same moment must not come back in the same moment.
SPREAD: Final = 0.1
SPREAD_MIN_MS: Final = 1_000
#: Attempts after a 500: the API calls it a bug of its own, and most bugs do not pass.
SERVER_ERROR_ATTEMPTS: Final = 5
#: Attempts after a 2xx that cannot be read: a captive page or a proxy passes or does not.
UNREADABLE_ATTEMPTS: Final = 3
#: Attempts after an exception that is no error of ours: a bug; once more may meet another state.
INTERNAL_ATTEMPTS: Final = 3
#: ms that a clock may step back (a failover to another Redis) and still be believed.
CLOCK_STEP_MS: Final = 5_000

MAINTENANCE_CODES: Final = frozenset({"site_not_ready", "site_read_only_mode"})

_MAX_DOUBLINGS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How one kind of job is repeated.

    Attributes:
        max_attempts: attempts that may burn, the first included; at least 1.
        base_ms: ceiling of the first wait, ms; it doubles with every attempt.
        cap_ms: ceiling of every wait, ms.
        horizon_ms: ms from when the job was due to the start of its last attempt.
        window_ms: ms from the first delivery in which the idempotency key is relied upon.
        on_ambiguous: what becomes of a job whose outcome is unknown when it may not be repeated
            any more: `hold` it for a person, or `reissue` it with a new key.
    """

    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    base_ms: int = DEFAULT_BASE_MS
    cap_ms: int = DEFAULT_CAP_MS
    horizon_ms: int = DEFAULT_HORIZON_MS
    window_ms: int = DEFAULT_WINDOW_MS
    on_ambiguous: OnAmbiguous = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a job after a failed attempt.

    Attributes:
        action: `retry` with the same key; `fail`; `expire`; `hold` for a person; `reissue` with a
            new key, the old one recorded as a possible orphan; `park_site` and put the job back.
        delay_ms: ms until the next attempt, for `retry` and `reissue`; else 0.
        counted: True when the attempt burnt one of `max_attempts`.
        executed_unknown: True when the API may have executed this attempt.
        pause_site_ms: ms to stop the whole site for, or None.
        park_reason: why the site is parked: an api_error_code or a word; else None.
        error_class: `not_sent`, `throttled`, `unavailable`, `ambiguous`, `rejected`,
            `misconfigured`, `invalid`, `internal` or `expired`.
        why: one sentence for the outcome and the log; holds no value of a payload.
    """

    action: Action
    error_class: str
    why: str
    delay_ms: int = 0
    counted: bool = False
    executed_unknown: bool = False
    pause_site_ms: int | None = None
    park_reason: str | None = None


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
            reason = error.api_error_code or f"http_{error.status or error.reason}"
            return _parked(reason, f"no request of this site can succeed: {error}")
        case SettingsError():
            return _parked("settings", str(error))
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
        why="the request did not leave",
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
    return replace(thought, delay_ms=_spread(pause, case.rng), pause_site_ms=pause)


def _unavailable(error: UnavailableError, case: _Case) -> Decision:
    told = _retry_after_ms(error, UNAVAILABLE_RETRY_AFTER_MAX_MS)
    why = f"the site is away: {error}"
    if error.api_error_code in MAINTENANCE_CODES:
        pause = round(case.rng.uniform(*MAINTENANCE_MS)) if told is None else told
        return Decision(
            action="retry",
            error_class="unavailable",
            why=why,
            delay_ms=_spread(pause, case.rng),
            pause_site_ms=pause,
        )
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


def _parked(reason: str, why: str) -> Decision:
    return Decision(action="park_site", error_class="misconfigured", why=why, park_reason=reason)


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
    """Let the deadline, the unknown, the window and the horizon have their say, in this order."""
    again = thought.action in {"retry", "park_site"}
    start_ms = case.now_ms + thought.delay_ms
    if again and case.deadline_ms is not None and start_ms > case.deadline_ms:
        why = f"the next attempt would start after the deadline; {thought.why}"
        return replace(_ended(thought, "expire", why), error_class="expired")
    if thought.action == "park_site":
        return thought
    unknown = not case.repeatable and (case.unsure or thought.executed_unknown)
    late = start_ms > case.enqueued_ms + case.policy.horizon_ms
    if thought.action == "retry" and late:
        thought = _ended(thought, "fail", f"{thought.why}; the horizon is reached")
    if not unknown or thought.error_class in {"rejected", "invalid"}:
        return thought
    if thought.action == "fail":
        # A page may have been made. Nobody was given its address, so a merchant who chose
        # `reissue` loses nothing by a plain failure; everybody else is asked.
        held = case.policy.on_ambiguous == "hold"
        return replace(thought, action="hold") if held else thought
    since_ms = case.first_sent_ms
    if since_ms is None:
        since_ms = case.now_ms if not case.unsure else -case.policy.window_ms
    if may_send(case.policy, repeatable=False, unsure_since_ms=since_ms, now_ms=start_ms):
        return thought
    closed = replace(thought, why=f"{thought.why}; the idempotency window closes before")
    if case.policy.on_ambiguous == "hold":
        return _ended(closed, "hold", closed.why)
    return replace(closed, action="reissue")


def _ended(thought: Decision, action: Action, why: str) -> Decision:
    # The site's pause stands: it is about the site, not about this job.
    return replace(thought, action=action, why=why, delay_ms=0, park_reason=None)
