"""Fixtures of the engine's tests: the scripts as calls, on an empty server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from rig.crew import Crew
from rig.queue import Queue


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the empty database; replies are bytes."""
    with redis.Redis.from_url(redis_url) as made:
        yield made


@pytest.fixture
def queue(client: redis.Redis) -> Queue:
    """The scripts, on a clock of the test's."""
    return Queue(client)


@pytest.fixture(params=["threads", "loop"])
def crew(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Crew]:
    """A broker with either worker: dramatiq's threads, then the engine's loop."""
    made = Crew(request.param, redis_url)
    yield made
    made.close()


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Callable[..., Callable[..., Any]]:
    """Make a plain function an actor's function: as it is, or as a coroutine function."""

    def paint(function: Callable[..., Any]) -> Callable[..., Any]:
        if request.param == "sync":
            return function

        async def run(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return function(*args, **kwargs)

        run.__name__ = function.__name__
        return run

    return paint
