"""The names of all log events and the fields each may carry.

A field that is not listed for its event is not printed: that keeps payloads out by default. The
table is docs/log_events.md; a test compares both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["COMMON_FIELDS", "EVENTS", "emit"]

JOB_ENQUEUED: Final = "job.enqueued"
JOB_STARTED: Final = "job.started"
JOB_SNOOZED: Final = "job.snoozed"
JOB_RETRY_SCHEDULED: Final = "job.retry_scheduled"
JOB_SUCCEEDED: Final = "job.succeeded"
JOB_FAILED: Final = "job.failed"
JOB_DEAD_LETTERED: Final = "job.dead_lettered"
JOB_HELD: Final = "job.held"
JOB_REISSUED: Final = "job.reissued"
JOB_EXPIRED: Final = "job.expired"
JOB_CANCELLED: Final = "job.cancelled"
API_CALL: Final = "api.call"
RESULT_PUBLISHED: Final = "result.published"
SITE_THROTTLED: Final = "site.throttled"
SITE_TRIPPED: Final = "site.tripped"
SITE_RESUMED: Final = "site.resumed"
SITE_KEY_MISSING: Final = "site.key_missing"
SITE_KEY_REFUSED: Final = "site.key_refused"
SITE_KEY_ACCEPTED: Final = "site.key_accepted"
SITE_LIMITS_DIFFER: Final = "site.limits_differ"
FOLLOWER_MISSED: Final = "follower.missed_outcomes"
FOLLOWER_REMOVED: Final = "follower.group_removed"
SETTING_UNKNOWN: Final = "setting.unknown"
WORKER_STARTED: Final = "worker.started"
WORKER_STOPPED: Final = "worker.stopped"
WORKER_RESTARTED: Final = "worker.restarted"
WORKER_CRASHED: Final = "worker.crashed"
BROKER_UNAVAILABLE: Final = "broker.unavailable"
BROKER_RECOVERED: Final = "broker.recovered"
BROKER_CLOCK_STEPPED: Final = "broker.clock_stepped"
BROKER_UNSAFE: Final = "broker.unsafe"

#: Fields that any line may carry.
COMMON_FIELDS: Final = (
    "timestamp",
    "level",
    "logger",
    "event",
    "process",
    "trace_id",
    "suppressed",
    "traceback",
)

_JOB = ("job_id", "kind", "site")
_ERROR = ("error_class", "status", "api_error_code")

#: Event to the fields of its own, in the order of the documentation.
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    JOB_ENQUEUED: (*_JOB, "lane", "delay_ms"),
    JOB_STARTED: (*_JOB, "message_id", "attempt", "waited_ms"),
    JOB_SNOOZED: (*_JOB, "attempt", "delay_ms", *_ERROR, "why"),
    JOB_RETRY_SCHEDULED: (*_JOB, "attempt", "delay_ms", *_ERROR, "why"),
    JOB_SUCCEEDED: (*_JOB, "attempts", "duration_ms", "replayed"),
    JOB_FAILED: (*_JOB, "attempts", "duration_ms", *_ERROR, "param", "why"),
    JOB_DEAD_LETTERED: (*_JOB, "attempts", "error_class", "why"),
    JOB_HELD: (*_JOB, "attempts", "error_class", "why"),
    JOB_REISSUED: (*_JOB, "attempt", "delay_ms", "why"),
    JOB_EXPIRED: (*_JOB, "attempts", "why"),
    JOB_CANCELLED: (*_JOB, "attempts"),
    API_CALL: (*_JOB, "attempt", "method", "path", "duration_ms", "replayed", *_ERROR, "reason"),
    RESULT_PUBLISHED: (*_JOB, "state", "attempts"),
    SITE_THROTTLED: ("site", "delay_ms", "why"),
    SITE_TRIPPED: ("site", "reason"),
    SITE_RESUMED: ("site", "reason"),
    SITE_KEY_MISSING: ("site", "problem", "remedy"),
    SITE_KEY_REFUSED: ("site", "key_mark"),
    SITE_KEY_ACCEPTED: ("site", "key_mark"),
    SITE_LIMITS_DIFFER: ("site", "problem", "remedy"),
    FOLLOWER_MISSED: ("group", "entries"),
    FOLLOWER_REMOVED: ("group",),
    SETTING_UNKNOWN: ("variable", "remedy"),
    WORKER_STARTED: ("worker", "version", "processes", "concurrency"),
    WORKER_STOPPED: ("worker", "duration_ms", "jobs"),
    WORKER_RESTARTED: ("worker", "exit_code"),
    WORKER_CRASHED: ("worker", "error_class"),
    BROKER_UNAVAILABLE: ("problem",),
    BROKER_RECOVERED: ("unavailable_ms",),
    BROKER_CLOCK_STEPPED: ("step_ms",),
    BROKER_UNSAFE: ("check", "problem", "remedy"),
}


def emit(
    logger: logging.Logger, event: str, /, *, level: int = logging.INFO, **fields: Any
) -> None:
    """Log an event through the standard library alone, for code that producers import too.

    Args:
        logger: any logger.
        event: one of `EVENTS`.
        level: of `logging`.
        fields: those of the event. A worker's log shows them as fields; any other handler shows
            the name of the event, and finds the fields at the record's `fields`.
    """
    if logger.isEnabledFor(level):
        # A record made here spares the search for the line of code that logs: no line shows it.
        record = logger.makeRecord(
            logger.name, level, "", 0, event, (), None, extra={"fields": fields}
        )
        logger.handle(record)
