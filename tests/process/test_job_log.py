"""A job's life in lines: which event, at which level, with which fields."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from worker.errors import AmbiguousError, RejectedError, ThrottledError
from worker.logs import events
from worker.process.job_log import JobLog, JobNames
from worker.retry.decision import Decision

JOB = JobNames("j1", "gift_checkout", "acme-test")
Lines = list[tuple[str, int, dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Collect what is logged: event, level and fields."""
    found: Lines = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = record.__dict__["fields"]
            assert set(fields) <= {*events.EVENTS[record.msg], *events.COMMON_FIELDS}
            found.append((record.msg, record.levelno, fields))

    logger = logging.getLogger("worker.job")
    collector, level = Collector(), logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.removeHandler(collector)
    logger.setLevel(level)


@pytest.fixture
def log() -> JobLog:
    """A log whose clock stands still."""
    return JobLog(clock=lambda: 1.0)


def decided(action: str, **changes: Any) -> Decision:
    """Make a decision."""
    return Decision(action=action, error_class="ambiguous", why="it failed", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (decided("retry", delay_ms=5, counted=True), ["job.retry_scheduled"]),
        (decided("retry", delay_ms=5), ["job.snoozed"]),
        (decided("retry", throttle_site_ms=60_000), ["job.snoozed", "site.throttled"]),
        (decided("fail", counted=True), ["job.failed", "job.dead_lettered"]),
        (decided("expire"), ["job.expired"]),
        (decided("hold"), ["job.held"]),
        (decided("reissue", delay_ms=5, counted=True), ["job.reissued"]),
        (decided("trip_site", trip_reason="http_401"), ["job.snoozed", "site.tripped"]),
    ],
)
def test_job_log_names_what_was_decided(
    log: JobLog, lines: Lines, decision: Decision, expected: list[str]
) -> None:
    """Each decision has its event, with all fields that the event is documented with."""
    error = RejectedError("http_status", status=400, api_error_code="x", param="a[b]")
    log.decided(JOB, decision, attempt=3, duration_ms=700, error=error)
    assert [event for event, _, _ in lines] == expected
    for event, _, fields in lines:
        assert set(fields) == set(events.EVENTS[event])
        assert fields["site"] == "acme-test"
    assert lines[0][2]["job_id"] == "j1"


def test_job_log_speaks_louder_of_what_needs_a_person(log: JobLog, lines: Lines) -> None:
    """Repeats are information; ends without a page are warnings; a tripped site is an error."""
    for action in ("retry", "fail", "hold", "expire", "reissue"):
        log.decided(JOB, decided(action), attempt=1, duration_ms=1)
    log.decided(JOB, decided("trip_site", trip_reason="settings"), attempt=1, duration_ms=1)
    levels = {event: level for event, level, _ in lines}
    assert levels.pop("site.tripped") == logging.ERROR
    assert levels.pop("job.snoozed") == logging.INFO
    assert set(levels.values()) == {logging.WARNING}


def test_job_log_says_once_that_a_site_waits(lines: Lines) -> None:
    """Fifty calls in flight are told to wait at once: two lines, and then how many there were."""
    now = [1.0]
    log = JobLog(clock=lambda: now[0])
    error = ThrottledError("http_status", status=429)
    for _ in range(50):
        decision = decided("retry", throttle_site_ms=60_000)
        log.decided(JOB, decision, attempt=1, duration_ms=1, error=error)
    assert [event for event, _, _ in lines].count("site.throttled") == 2
    assert [event for event, _, _ in lines].count("job.snoozed") == 50
    now[0] += 1
    log.decided(JOB, decided("retry", throttle_site_ms=1), attempt=1, duration_ms=1)
    assert lines[-1][2]["suppressed"] == 48


def test_job_log_tells_of_start_call_and_success(log: JobLog, lines: Lines) -> None:
    """The good way: three lines with their figures."""
    log.started(JOB, attempt=1, waited_ms=4)
    log.called(JOB, attempt=1, path="/api/v2/x", duration_ms=80, status=200)
    log.succeeded(JOB, attempts=1, duration_ms=85, replayed=False)
    assert [event for event, _, _ in lines] == ["job.started", "api.call", "job.succeeded"]
    assert lines[1][2]["status"] == 200
    assert lines[2][2] == {**JOB.fields(), "attempts": 1, "duration_ms": 85, "replayed": False}


def test_job_log_tells_why_a_call_failed(log: JobLog, lines: Lines) -> None:
    """Of an error of the API its codes are shown, of a stranger's its class."""
    error = AmbiguousError("read_timeout")
    log.called(JOB, attempt=2, path="/api/v2/x", duration_ms=30_000, error=error)
    log.called(JOB, attempt=2, path="/api/v2/x", duration_ms=1, error=KeyError("Maria"))
    assert [fields["reason"] for _, _, fields in lines] == ["read_timeout", None]
    assert [fields["error_class"] for _, _, fields in lines] == ["ambiguous", "internal"]
    assert "Maria" not in str(lines)
