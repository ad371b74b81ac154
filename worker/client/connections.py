"""The connections of a process to Redis, shared by all its producers and readers.

A process has one `Connections` for each address. It lives as long as somebody holds it, so a
producer that is dropped without `close()` leaves nothing behind. What is asynchronous runs on one
background loop: no connection belongs to a loop of the app, which may end at any time.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import redis
import redis.asyncio

from worker.engine.background_loop import BackgroundLoop
from worker.engine.connection import PRODUCER, connect, connect_async
from worker.engine.keys import Keyspace
from worker.engine.waiters import Waiters
from worker.errors import ArgumentError
from worker.settings import Settings
from worker.settings.redis_address import RedisAddress

__all__ = ["Lease", "LoopSide"]

T = TypeVar("T")


class LoopSide:
    """What lives on the background loop: an asyncio client, and the waiters of each namespace."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._making = threading.Lock()
        self._client: redis.asyncio.Redis | None = None
        self._waiters: dict[Keyspace, Waiters] = {}

    @property
    def client(self) -> redis.asyncio.Redis:
        """The asyncio client; replies are bytes."""
        with self._making:  # followers ask for it from their own threads
            if self._client is None:
                self._client = connect_async(self._address, PRODUCER)
            return self._client

    def waiters(self, keyspace: Keyspace) -> Waiters:
        """Give the waiters of a namespace."""
        if keyspace not in self._waiters:
            self._waiters[keyspace] = Waiters(connect_async(self._address, PRODUCER), keyspace)
        return self._waiters[keyspace]

    async def close(self) -> None:
        """Close all connections."""
        closing = [one.close() for one in self._waiters.values()]
        if self._client is not None:
            closing.append(self._client.aclose())
        await asyncio.gather(*closing, return_exceptions=True)


class Connections:
    """All connections of this process to one address."""

    def __init__(self, address: RedisAddress) -> None:
        self.client = connect(address, PRODUCER)
        self.side = LoopSide(address)
        self.pid = os.getpid()
        #: Who holds them, and how many calls are under way on the loop.
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        self.calls = 0
        self._lock = threading.Lock()
        self._loop: BackgroundLoop | None = None
        weakref.finalize(self, self.client.close).atexit = False

    @property
    def loop(self) -> BackgroundLoop:
        """The background loop, started by its first use."""
        with self._lock:
            if self._loop is None:
                self._loop = BackgroundLoop(self.side.close)
            return self._loop

    @contextmanager
    def calling(self) -> Iterator[BackgroundLoop]:
        """Give the loop for one call; meanwhile a close by another holder waits."""
        with self._lock:
            self.calls += 1
        try:
            yield self.loop
        finally:
            with self._lock:
                self.calls -= 1

    def close(self) -> None:
        """Close them all."""
        if self._loop is not None:
            self._loop.close()
        self.client.close()


_open: Final[weakref.WeakValueDictionary[RedisAddress, Connections]] = (
    weakref.WeakValueDictionary()
)
_opening = threading.Lock()
#: Connections that a fork inherited. They belong to the parent: nobody may use or close them.
_inherited: Final[list[Connections]] = []


def _take(address: RedisAddress, lease: Lease) -> Connections:
    with _opening:
        found = _open.get(address)
        if found is None:
            found = _open[address] = Connections(address)
        found.leases.add(lease)
        return found


def _give_back(address: RedisAddress, held: Connections, lease: Lease) -> None:
    with _opening:
        held.leases.discard(lease)
        if held.leases or held.calls or held.pid != os.getpid():
            return  # a call that is under way holds them; they close when it is over
        if _open.get(address) is held:
            del _open[address]
    held.close()


def _after_fork() -> None:
    global _opening  # noqa: PLW0603 - another thread may have held it
    _opening = threading.Lock()
    _inherited.extend(_open.values())
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)


class Lease:
    """One owner's hold on the connections: taken at the first use, given back by `close`.

    Args:
        settings: where Redis is.
        owner: name of the owner's class, for the warning.
    """

    def __init__(self, settings: Settings, owner: str) -> None:
        if not isinstance(settings, Settings):
            raise ArgumentError("settings", f"must be Settings, not {type(settings).__name__}")
        self._address = settings.redis
        self._owner = owner
        self._held: Connections | None = None
        self._warning: weakref.finalize[..., Lease] | None = None

    @property
    def client(self) -> redis.Redis:
        """The client for threads; replies are bytes."""
        return self.connections().client

    def call(
        self,
        make: Callable[[LoopSide], Coroutine[Any, Any, T]],
        *,
        timeout_s: float | None = None,
    ) -> T:
        """Run a coroutine on the background loop and wait for it.

        Raises:
            TimeoutError: the time is over.
        """
        held = self.connections()
        with held.calling() as loop:
            return loop.call(lambda: make(held.side), timeout_s=timeout_s)

    async def run(self, make: Callable[[LoopSide], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the background loop and await it from any loop."""
        held = self.connections()
        with held.calling() as loop:
            return await loop.run(lambda: make(held.side))

    def close(self) -> None:
        """Give the connections back. The next use takes them anew."""
        held, self._held = self._held, None
        if self._warning is not None:
            self._warning.detach()
        if held is not None:
            _give_back(self._address, held, self)

    def connections(self) -> Connections:
        """Give the connections of this process; they stay open while they are held."""
        held = self._held
        if held is None or held.pid != os.getpid():
            held = self._held = _take(self._address, self)
            if self._warning is None or not self._warning.alive:
                self._warning = weakref.finalize(self, _warn, self._owner)
                self._warning.atexit = False
        return held


def _warn(owner: str) -> None:
    warnings.warn(
        f"a {owner} was dropped without close(). Make one for the process, or use `with`.",
        ResourceWarning,
        stacklevel=2,
    )
