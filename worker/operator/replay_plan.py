"""What a replay of a job would do, in words, before anybody does it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from worker.engine.record import JobState, Record
from worker.operations import OPERATIONS

__all__ = ["ReplayPlan", "plan_replay"]

#: Milliseconds for which the API answers a key with what it answered before.
API_KEEPS_MS: Final = 30 * 60_000
_REPLAYABLE: Final = frozenset(
    {JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED, JobState.HELD}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What a replay would do.

    Attributes:
        job_id: of the job.
        is_accepted: whether it would run.
        key: idempotency key of the next attempt: "same", "new", or None when it would not run.
        may_double: whether a page that nobody was given may be left behind.
        text: the whole of it for a person.
    """

    job_id: str
    is_accepted: bool
    key: Literal["same", "new"] | None
    may_double: bool
    text: str

    def as_json(self) -> dict[str, object]:
        """Give it as one object of `--dry-run --json`."""
        return {
            "job_id": self.job_id,
            "would": "replay" if self.is_accepted else "refuse",
            "key": self.key,
            "may_double": self.may_double,
            "why": self.text,
        }


def plan_replay(
    job_id: str,
    record: Record | None,
    *,
    new_key: bool,
    has_message: bool,
    now_ms: int,
    window_ms: int,
) -> ReplayPlan:
    """Foretell a replay. The script that does it decides anew, by the clock of Redis.

    Args:
        job_id: of the job.
        record: its record, or None.
        new_key: whether a new idempotency key was asked for.
        has_message: whether what it carries is still there.
        now_ms: Unix ms.
        window_ms: milliseconds in which the key is relied upon after an unknown attempt.
    """
    if record is None:
        return _refused(job_id, "Its record was dropped after its time. Enqueue the job again.")
    if record.state not in _REPLAYABLE:
        return _refused(job_id, f"It is {record.state.value}: there is nothing to replay.")
    if not has_message:
        return _refused(job_id, "Its payload was dropped. Enqueue the job again.")
    operation = OPERATIONS.get(record.kind)
    if operation is not None and operation.repeatable:
        return _plan_read(job_id, record, new_key, now_ms, window_ms)
    if record.unsure_since_ms is None:
        return _plan_sure(job_id, record, new_key, now_ms)
    return _plan_unsure(job_id, record.unsure_since_ms, new_key, now_ms, window_ms)


def _plan_read(
    job_id: str, record: Record, new_key: bool, now_ms: int, window_ms: int
) -> ReplayPlan:
    since_ms = record.unsure_since_ms
    if since_ms is not None and now_ms - since_ms > window_ms and not new_key:
        return _refused(
            job_id,
            "An earlier attempt has no known outcome. The call only reads, so a repeat "
            "does no harm: replay it with a new key.",
        )
    return _accepted(
        job_id, new_key, "The call is repeated. It only reads, so a repeat does no harm."
    )


def _plan_sure(job_id: str, record: Record, new_key: bool, now_ms: int) -> ReplayPlan:
    if new_key:
        return _accepted(
            job_id, new_key, "Sent with a new idempotency key. No earlier attempt made a page."
        )
    text = "Sent with the same idempotency key. No earlier attempt made a page."
    first_ms = record.first_delivery_at_ms
    if record.state is JobState.FAILED and first_ms is not None:
        until_ms = first_ms + API_KEEPS_MS
        if now_ms < until_ms:
            text += (
                f" Until {_clock(until_ms)} the API may repeat its earlier answer to this key; "
                "a new key is safe here and avoids that."
            )
    return _accepted(job_id, new_key, text)


def _plan_unsure(
    job_id: str, since_ms: int, new_key: bool, now_ms: int, window_ms: int
) -> ReplayPlan:
    if new_key:
        return _accepted(
            job_id,
            new_key,
            f"Sent with a new idempotency key. An attempt of {_clock(since_ms)} has no known "
            "outcome: a second page may exist that no app received. Look for it at the site "
            "first.",
            may_double=True,
        )
    until_ms = since_ms + window_ms
    if now_ms > until_ms:
        return _refused(
            job_id,
            f"An attempt of {_clock(since_ms)} has no known outcome, and since {_clock(until_ms)} "
            "the same key no longer protects from a second page. Look at the site first, then "
            "replay with a new key or discard.",
        )
    return _accepted(
        job_id,
        new_key,
        f"Sent with the same idempotency key, which finds a page that an attempt of "
        f"{_clock(since_ms)} may have made. The key protects until {_clock(until_ms)}.",
    )


def _refused(job_id: str, text: str) -> ReplayPlan:
    return ReplayPlan(job_id=job_id, is_accepted=False, key=None, may_double=False, text=text)


def _accepted(job_id: str, new_key: bool, text: str, *, may_double: bool = False) -> ReplayPlan:
    return ReplayPlan(
        job_id=job_id,
        is_accepted=True,
        key="new" if new_key else "same",
        may_double=may_double,
        text=f"{text} The attempt count starts at 0 again. The old deadline no longer applies.",
    )


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
