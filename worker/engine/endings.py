"""Endings: what becomes of a delivery. One of them ends every lease.

    Finish   the outcome is there: publish it
    Retry    again later
    Bury     set aside, dead or held
    Release  back to the head of the line, as if it had not been handed out

Each turns into the arguments of one script; many endings of one kind travel in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from worker.engine.enqueue import Entry
from worker.engine.scripts import Argument

__all__ = ["SCRIPT_OF", "Bury", "Ending", "Finish", "Release", "Retry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The job has its outcome.

    Attributes:
        state: "succeeded", "failed", "expired" or "cancelled".
        outcome: JSON text to publish, or "" for none.
        ttl_ms: milliseconds the record and the outcome are kept.
        attempt: JSON text for the history, or "".
        counted: whether this delivery was an attempt.
        follow: entries taken in together with the ending.
    """

    state: str = "succeeded"
    outcome: str | bytes = ""
    ttl_ms: int = 600_000
    attempt: str | bytes = ""
    counted: bool = True
    follow: Sequence[Entry] = ()

    def arguments(self, job_id: str, fence: int) -> list[Argument]:
        """Give this ending's part of the finish script's arguments."""
        return [
            job_id, fence, self.state, self.outcome, self.ttl_ms, self.attempt, int(self.counted),
            len(self.follow), *(part for entry in self.follow for part in entry.arguments()),
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The job runs again later.

    Attributes:
        delay_ms: milliseconds until then.
        counted: whether this attempt counts towards the most that are allowed.
        unsure: whether the API may have executed this attempt.
        attempt: JSON text for the history, or "".
        throttle_site_ms: milliseconds for which nobody calls the site; 0 = no wait. With a
            `trip_reason` they are the time until the first probe.
        new_epoch: whether the next attempt gets a new idempotency key.
        trip_reason: trip the site's circuit breaker: one job is tried now and then; "" = go on.
        failing: whether the attempt says that the site does not work; ten in a row trip it.
        key_mark: mark of the key that the API refused; the site trips once every key is refused.
    """

    delay_ms: int
    counted: bool
    unsure: bool
    attempt: str | bytes = ""
    throttle_site_ms: int = 0
    new_epoch: bool = False
    trip_reason: str = ""
    failing: bool = False
    key_mark: str = ""

    def arguments(self, job_id: str, fence: int) -> list[Argument]:
        """Give this ending's part of the retry script's arguments."""
        return [
            job_id, fence, max(0, self.delay_ms), int(self.counted), int(self.unsure),
            self.attempt, max(0, self.throttle_site_ms), int(self.new_epoch), self.trip_reason,
            int(self.failing), self.key_mark,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bury:
    """The job is set aside with its reason.

    Attributes:
        reason: one line, without private values; encrypted when there are keys.
        state: "failed" (dead: the outcome is published) or "held" (a person decides).
        error_class: class of the error, for the outcome that the script writes when `outcome` is
            "".
        outcome: JSON text to publish, or "".
        ttl_ms: milliseconds the record, the outcome and the message are kept.
        attempt: JSON text for the history, or "".
        counted: whether this delivery was an attempt.
        message: the message as it is now, or b"" to keep the stored one.
        follow: entries taken in together with the ending.
    """

    reason: str | bytes
    state: Literal["failed", "held"] = "failed"
    error_class: str = "invalid"
    outcome: str | bytes = ""
    ttl_ms: int = 7 * 86_400_000
    attempt: str | bytes = ""
    counted: bool = True
    message: bytes = b""
    follow: Sequence[Entry] = ()

    def arguments(self, job_id: str, fence: int) -> list[Argument]:
        """Give this ending's part of the bury script's arguments."""
        return [
            job_id, fence, self.state, self.error_class, self.reason, self.outcome, self.ttl_ms,
            self.attempt, int(self.counted), self.message,
            len(self.follow), *(part for entry in self.follow for part in entry.arguments()),
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The job goes back to the head of its line.

    Attributes:
        unsure: whether the API may have executed the broken-off attempt.
    """

    unsure: bool = False

    def arguments(self, job_id: str, fence: int) -> list[Argument]:
        """Give this ending's part of the release script's arguments."""
        return [job_id, fence, int(self.unsure)]


Ending = Finish | Retry | Bury | Release

#: The script of each ending.
SCRIPT_OF: Final[dict[type[Ending], str]] = {
    Finish: "finish",
    Retry: "retry",
    Bury: "bury",
    Release: "release",
}
