"""The lines of a job's life, from its start to its end; what they say is counted as well.

One object for a process; what it is given is names, codes and numbers, so that no payload is near.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker.errors import ApiError
from worker.logs import events
from worker.logs.events import emit
from worker.logs.log_rate import LinesPerSecond
from worker.metrics.counts import Counts
from worker.retry.decision import Decision, error_class_of

__all__ = ["JobLog", "JobNames"]

_EVENTS: Final[Mapping[str, tuple[str, int]]] = {
    "fail": (events.JOB_FAILED, logging.WARNING),
    "expire": (events.JOB_EXPIRED, logging.WARNING),
    "hold": (events.JOB_HELD, logging.WARNING),
    "reissue": (events.JOB_REISSUED, logging.WARNING),
    "trip_site": (events.JOB_SNOOZED, logging.INFO),
    "hand_back": (events.JOB_SNOOZED, logging.INFO),
}


@dataclass(frozen=True, slots=True)
class JobNames:
    """What every line of a job carries.

    Attributes:
        job_id: of the job.
        kind: of the job.
        site: name of its site.
    """

    job_id: str
    kind: str
    site: str

    def fields(self) -> dict[str, Any]:
        """Give the fields of a line."""
        return {"job_id": self.job_id, "kind": self.kind, "site": self.site}


class JobLog:
    """Writes the lines of jobs through `logging`.

    Args:
        counts: where they are counted; nowhere when None.
        clock: gives seconds that never go back; limits the lines about a site.
    """

    def __init__(
        self, counts: Counts | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counts = counts or Counts(sites=(), kinds=())
        self._log = logging.getLogger("worker.job")
        self._site_lines = LinesPerSecond(clock=clock)

    def started(self, job: JobNames, *, attempt: int, waited_ms: int) -> None:
        """Say that an attempt begins.

        Args:
            job: its names.
            attempt: its number, 1 = first.
            waited_ms: ms since the job was enqueued.
        """
        self._counts.started(job.site, job.kind, attempt=attempt, waited_ms=waited_ms)
        if self._log.isEnabledFor(logging.DEBUG):
            more: dict[str, Any] = {
                "message_id": job.job_id,
                "attempt": attempt,
                "waited_ms": waited_ms,
            }
            emit(self._log, events.JOB_STARTED, level=logging.DEBUG, **job.fields(), **more)

    def called(
        self,
        job: JobNames,
        *,
        attempt: int,
        path: str,
        duration_ms: int,
        status: int | None = None,
        replayed: bool = False,
        error: Exception | None = None,
    ) -> None:
        """Say how an HTTP attempt ended.

        Args:
            job: its names.
            attempt: its number, 1 = first.
            path: of the operation.
            duration_ms: ms from the request to its end.
            status: HTTP status of a success.
            replayed: True when the answer was a replay.
            error: what was raised instead of an answer.
        """
        error_class = None if error is None else error_class_of(error)
        self._counts.called(
            job.site, job.kind, outcome=error_class or "succeeded",
            code=error.api_error_code if isinstance(error, ApiError) else None,
            replayed=replayed or bool(getattr(error, "replayed", False)), duration_ms=duration_ms,
        )  # fmt: skip
        # A good call is told by the job's ending; one line a job is enough of a million jobs.
        level = logging.DEBUG if error is None else logging.INFO
        if not self._log.isEnabledFor(level):
            return
        fields: dict[str, Any] = {"attempt": attempt, "method": "POST", "path": path}
        fields |= {"duration_ms": duration_ms, "replayed": replayed, "status": status}
        if error is not None:
            fields |= _error_fields(error)
            fields.pop("param", None)
            fields["reason"] = error.reason if isinstance(error, ApiError) else None
            fields["error_class"] = error_class
        emit(self._log, events.API_CALL, level=level, **job.fields(), **fields)

    def succeeded(self, job: JobNames, *, attempts: int, duration_ms: int, replayed: bool) -> None:
        """Say that a page or offers came.

        Args:
            job: its names.
            attempts: how many there were.
            duration_ms: ms since the job was enqueued.
            replayed: True when the answer was a replay.
        """
        self._counts.attempted(job.site, job.kind, "succeeded")
        more = {"attempts": attempts, "duration_ms": duration_ms, "replayed": replayed}
        emit(self._log, events.JOB_SUCCEEDED, **job.fields(), **more)

    def decided(
        self,
        job: JobNames,
        decision: Decision,
        *,
        attempt: int,
        duration_ms: int,
        error: Exception | None = None,
    ) -> None:
        """Say what becomes of a job after a failed attempt, and of its site.

        Args:
            job: its names.
            decision: of `worker.retry.rules`.
            attempt: number of the failed attempt, 1 = first.
            duration_ms: ms since the job was enqueued.
            error: what the attempt raised, or None when it was not made.
        """
        event, level = _EVENTS.get(decision.action) or (
            events.JOB_RETRY_SCHEDULED if decision.counted else events.JOB_SNOOZED,
            logging.INFO,
        )
        if error is not None:
            self._counts.attempted(job.site, job.kind, event.removeprefix("job."))
        given = {
            "attempt": attempt,
            "attempts": attempt,
            "duration_ms": duration_ms,
            "delay_ms": decision.delay_ms,
            "why": decision.why,
            **_error_fields(error),
            "error_class": decision.error_class,
        }
        self._job(event, level, job, given)
        if decision.action == "fail":
            self._job(events.JOB_DEAD_LETTERED, level, job, given)
        if decision.throttle_site_ms is not None and decision.trip_reason is None:
            throttled = {"delay_ms": decision.throttle_site_ms, "why": decision.why}
            self._site(events.SITE_THROTTLED, logging.WARNING, job.site, throttled)
        if decision.trip_reason is not None and not decision.key_refused:
            tripped = {"reason": decision.trip_reason}
            self._site(events.SITE_TRIPPED, logging.ERROR, job.site, tripped)

    def _site(self, event: str, level: int, site: str, fields: Mapping[str, Any]) -> None:
        # Every call in flight is told the same: the site's lines are limited.
        left_out = self._site_lines.admit(f"{event} {site}")
        if left_out is not None:
            more = {"suppressed": left_out} if left_out else {}
            emit(self._log, event, level=level, site=site, **fields, **more)

    def _job(self, event: str, level: int, job: JobNames, given: Mapping[str, Any]) -> None:
        own = {name: given[name] for name in events.EVENTS[event] if name in given}
        emit(self._log, event, level=level, **job.fields(), **own)


def _error_fields(error: Exception | None) -> dict[str, Any]:
    if not isinstance(error, ApiError):
        return {}
    return {
        "status": error.status,
        "api_error_code": error.api_error_code,
        "param": error.param,
    }
