"""What a server tells, held against the clock of the process."""

from __future__ import annotations

from worker.engine.clock_watch import ClockWatch


def test_clock_watch_expects_what_time_has_passed() -> None:
    """Nothing before the first reply; a step is what differs from then on."""
    now = [100.0]
    watch = ClockWatch(clock=lambda: now[0])
    assert watch.expected_ms() is None
    assert watch.note(5_000) == 0
    now[0] += 2
    assert watch.expected_ms() == 7_000
    assert watch.note(7_000) == 0
    assert watch.note(607_000) == 600_000
    now[0] += 1
    assert watch.note(8_000) == -600_000
