"""What becomes of a job after a failed attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from worker.errors import (
    AmbiguousError,
    InvalidJobError,
    MisconfiguredError,
    NotSentError,
    RejectedError,
    SettingsError,
    ThrottledError,
    UnavailableError,
)

__all__ = ["FINAL_CLASSES", "Action", "Decision", "error_class_of"]

#: Classes of failures after which sending the same request again is no use: the API or a check
#: refused it, or somebody decided against it. `engine/lua/job.lua` has the same.
FINAL_CLASSES: Final = frozenset({"cancelled", "discarded", "invalid", "rejected"})

Action = Literal["retry", "fail", "expire", "hold", "reissue", "trip_site", "hand_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a job after a failed attempt.

    Attributes:
        action: `retry` with the same key; `fail`; `expire`; `hold` for a person; `reissue` with a
            new key, the old one recorded as a possible orphan; `trip_site` and put the job back;
            `hand_back` to another worker, as this one cannot serve the site.
        delay_ms: ms until the next attempt, for `retry` and `reissue`; else 0.
        counted: True when the attempt burnt one of `max_attempts`.
        executed_unknown: True when the API may have executed this attempt.
        throttle_site_ms: ms to throttle the whole site for, or None; with a `trip_reason`, ms
            until it is tried for the first time.
        trip_reason: why the site is tripped: an api_error_code or a word; else None.
        key_refused: True when the API refused the key, not the site: another key may do.
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
    throttle_site_ms: int | None = None
    trip_reason: str | None = None
    key_refused: bool = False


_CLASSES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (NotSentError, "not_sent"),
    (ThrottledError, "throttled"),
    (UnavailableError, "unavailable"),
    (AmbiguousError, "ambiguous"),
    (RejectedError, "rejected"),
    (MisconfiguredError, "misconfigured"),
    (SettingsError, "misconfigured"),
    (InvalidJobError, "invalid"),
)


def error_class_of(error: Exception) -> str:
    """Name the class of an error, as outcomes, logs and metrics call it.

    Args:
        error: what an attempt raised.

    Returns:
        One of the classes of `Decision`, `internal` for what is no error of ours.
    """
    return next((name for kind, name in _CLASSES if isinstance(error, kind)), "internal")
