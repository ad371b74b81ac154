"""Fixtures of the engine's tests: the scripts as calls, on an empty server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from rig.queue import Queue


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the empty database; replies are bytes."""
    with redis.Redis.from_url(redis_url) as made:
        yield made


@pytest.fixture
def queue(client: redis.Redis) -> Queue:
    """The scripts, on a clock of the test's."""
    return Queue(client)
