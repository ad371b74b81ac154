"""The clock that can be moved."""

from __future__ import annotations

from worker.sandbox.clock import Clock


class Wall:
    """A machine's clock that the test turns."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        """Unix ms."""
        return self.ms


def test_clock_runs_with_the_wall() -> None:
    """Unmoved, it is the machine's own time; moved, it runs on from there."""
    wall = Wall()
    clock = Clock(wall_ms=wall)
    assert clock.now_ms() == 1_000_000
    clock.advance(500)
    wall.ms += 250
    assert clock.now_ms() == 1_000_750
    assert clock.now_s() == 1000
    clock.set(5_000)
    wall.ms += 1
    assert clock.now_ms() == 5_001


def test_clock_freezes_and_goes_on() -> None:
    """Frozen it stands still but can be moved; thawed it goes on from where it stood."""
    wall = Wall()
    clock = Clock(wall_ms=wall)
    clock.freeze(True)
    wall.ms += 9_999
    assert clock.now_ms() == 1_000_000
    clock.advance(7)
    assert clock.now_ms() == 1_000_007
    clock.freeze(False)
    wall.ms += 3
    assert clock.now_ms() == 1_000_010
    assert clock.as_json() == {
        "now_ms": 1_000_010,
        "now": 1000,
        "offset_ms": -9_992,
        "frozen": False,
    }
    clock.reset()
    assert clock.now_ms() == wall.ms
