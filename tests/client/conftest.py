"""Fixtures of the producers' and readers' tests: settings, and a worker played by the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from rig.producing import GIFT
from rig.queue import Lease, Queue

from worker import Producer, Settings
from worker.jobs.job import QUEUE


class Hand:
    """Plays the worker by hand: fetches and ends jobs.

    Args:
        client: replies as bytes.
    """

    def __init__(self, client: redis.Redis) -> None:
        self.queue = Queue(client)

    def fetch(self, n: int = 10) -> list[Lease]:
        """Fetch jobs."""
        return self.queue.fetch(n, queue=QUEUE).leases

    def end(self, lease: Lease, state: str = "succeeded", **changes: Any) -> None:
        """End a job with an outcome as an actor writes it."""
        page = {"id": f"hp_{lease.id}", "url": "https://pay.example/x", "state": "created"}
        outcome = {
            "job_id": lease.id, "kind": "gift_checkout", "site": lease.site, "state": state,
            "attempts": 1, "hosted_page": page if state == "succeeded" else None, "offers": None,
            "brand": None, "expires_at": None, "replayed": False, "finished_at": 1,
            "error": None if state == "succeeded" else {"class": "rejected", "reason": "no"},
            **changes,
        }  # fmt: skip
        assert self.queue.finish(lease, state=state, outcome=json.dumps(outcome))

    def serve(self) -> list[str]:
        """End everything that waits; the ids."""
        leases = self.fetch(1000)
        for lease in leases:
            self.end(lease)
        return [one.id for one in leases]


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
def hand(client: redis.Redis) -> Hand:
    """The worker, played by hand."""
    return Hand(client)


@pytest.fixture
def make_hand() -> Iterator[Callable[[str], Hand]]:
    """A worker by hand on another server."""
    clients: list[redis.Redis] = []

    def make(url: str) -> Hand:
        clients.append(redis.Redis.from_url(url))
        return Hand(clients[-1])

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings of a producer that knows no site's details."""
    return Settings(redis_url=redis_url)


@pytest.fixture
def producer(settings: Settings) -> Iterator[Producer]:
    """A producer on the shared server."""
    with Producer(settings) as made:
        yield made


@pytest.fixture
def gift(producer: Producer) -> Callable[..., Any]:
    """Enqueue a gift: `gift(key=...)`."""

    def enqueue(**options: Any) -> Any:
        return producer.gift_checkout(GIFT, **{"site": "acme-test", **options})

    return enqueue
