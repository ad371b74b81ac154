"""At most two lines a second of a kind."""

from __future__ import annotations

import logging
from typing import Any

import dramatiq.errors
import pytest
import redis.exceptions

from worker.errors import BrokerUnavailableError
from worker.logs.log_rate import LinesPerSecond, RateFilter, RateLimited


class Clock:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Give the seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def record(name: str, text: str, *args: object, level: int = logging.WARNING) -> Any:
    """Make a record of the standard library."""
    return logging.LogRecord(name, level, "f.py", 1, text, args, None)


def test_lines_of_a_kind_are_limited_each_second(clock: Clock) -> None:
    """Two go through; the first of the next second says how many did not."""
    lines = LinesPerSecond(clock=clock)
    assert [lines.admit("a") for _ in range(5)] == [0, 0, None, None, None]
    assert lines.admit("b") == 0
    clock.now += 1
    assert [lines.admit("a") for _ in range(3)] == [3, 0, None]


def test_lines_forget_kinds_past_a_bound(clock: Clock) -> None:
    """Endlessly many kinds take no endless memory."""
    lines = LinesPerSecond(clock=clock)
    for number in range(5_000):
        lines.admit(str(number))
    assert len(lines._kinds) <= 1_000


def test_rate_limited_logger_says_what_it_left_out(clock: Clock) -> None:
    """Over ten seconds of a thousand lines each, twenty are written."""
    written: list[tuple[int, str, dict[str, Any]]] = []

    class Sink:
        def log(self, level: int, event: str, /, **fields: Any) -> None:
            written.append((level, event, fields))

    log = RateLimited(Sink(), clock=clock)
    for _ in range(10):
        for _ in range(1_000):
            log.warning("broker.unavailable", problem="away")
        clock.now += 1
    assert len(written) == 20
    assert written[0] == (logging.WARNING, "broker.unavailable", {"problem": "away"})
    assert written[2][2] == {"problem": "away", "suppressed": 998}
    log.info("broker.recovered", unavailable_ms=1)
    log.error("broker.unavailable")
    assert [level for level, _, _ in written[-2:]] == [logging.INFO, logging.ERROR]


def test_rate_filter_counts_every_part_that_notices_an_unreachable_broker_as_one(
    clock: Clock,
) -> None:
    """Fetcher, outbox and leases together write two lines a second while Redis is unreachable."""
    limit = RateFilter(clock=clock)
    away = {
        "worker.engine.fetcher": BrokerUnavailableError(),
        "worker.engine.leases": redis.exceptions.ConnectionError("away"),
        "dramatiq.worker.ConsumerThread": dramatiq.errors.ConnectionClosed(OSError("away")),
    }
    records = [
        record(name, f"{name} %s waits: %s", number, error)
        for number in range(100)
        for name, error in away.items()
    ]
    assert sum(limit.filter(one) for one in records) == 2
    clock.now += 1
    assert limit.filter(records[-1])
    assert records[-1].suppressed == 298


def test_rate_filter_leaves_events_and_quiet_levels_alone(clock: Clock) -> None:
    """A thousand jobs that fail in a second are a thousand lines; info is not limited."""
    limit = RateFilter(clock=clock)
    event = record("worker.process.actors", "job.failed")
    event.fields = {"job_id": "j"}
    assert all(limit.filter(event) for _ in range(10))
    assert all(limit.filter(record("x", "y", level=logging.INFO)) for _ in range(10))
    structured = record("x", "y")
    structured.msg = {"event": "job.failed"}
    assert all(limit.filter(structured) for _ in range(10))
    assert sum(limit.filter(record("x", "one %d", n)) for n in range(10)) == 2
    assert sum(limit.filter(record("x", "two %d", n)) for n in range(10)) == 2
