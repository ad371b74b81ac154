"""Live and ready: judged from silence, absence and the beat of the loop."""

from __future__ import annotations

import asyncio

import pytest

from worker.process.health import LIVE_S, READY_S, Health


class World:
    """What a health looks at, set by the test."""

    def __init__(self) -> None:
        self.now = 100.0
        self.silence_s = 0.0
        self.away = False
        self.stopping = False

    def health(self) -> Health:
        """Make the health of this world."""
        return Health(
            silence_s=lambda: self.silence_s,
            is_unreachable=lambda: self.away,
            is_stopping=lambda: self.stopping,
            clock=lambda: self.now,
        )


@pytest.fixture
def world() -> World:
    """A process that is well."""
    return World()


def test_health_is_ready_when_all_is_well(world: World) -> None:
    """Heard from Redis, not stopping: ready and live."""
    world.silence_s = READY_S
    health = world.health()
    assert (health.live().ok, health.ready().ok) == (True, True)


def test_health_without_redis_is_live_and_not_ready(world: World) -> None:
    """A restart would not bring Redis back."""
    world.away = True
    health = world.health()
    assert health.live().ok
    assert (health.ready().ok, health.ready().why) == (False, "Redis is unreachable")


def test_health_shows_a_stuck_consumer(world: World) -> None:
    """Silence beyond the longest wait is not ready, and says for how long."""
    world.silence_s = READY_S + 4
    assert world.health().live().ok
    assert world.health().ready().why == "nothing heard from Redis for 14 s"


def test_health_of_a_stopping_process(world: World) -> None:
    """It gives back what it holds, and takes no more."""
    world.stopping = True
    assert world.health().ready().why == "stopping"


def test_health_of_a_loop_that_stands_still(world: World) -> None:
    """A loop that does not turn is not live; once it is left, nobody expects it to turn."""

    async def run() -> None:
        health = world.health()
        health.watch_loop(asyncio.get_running_loop())
        assert health.live().ok
        world.now += LIVE_S + 1
        assert not health.live().ok
        assert "has not turned for 31 s" in health.ready().why
        health.leave_loop()
        assert health.live().ok

    asyncio.run(run())


def test_health_beats_with_the_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that turns beats again by itself."""
    monkeypatch.setattr("worker.process.health.BEAT_S", 0.001)

    async def run() -> None:
        health = world.health()
        health.watch_loop(asyncio.get_running_loop())
        world.now += LIVE_S + 1
        while not health.live().ok:
            await asyncio.sleep(0.001)
        health.leave_loop()

    asyncio.run(asyncio.wait_for(run(), 5))
