"""The connections of a process to Redis, shared by all its producers and readers.

A process has one `Connections` for each address. It lives as long as somebody holds it, so a
producer that is dropped without `close()` leaves nothing behind. Threads share one pool. Each
event loop of the app has connections of its own, which end with it. Waits of threads run on one
background loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import redis
import redis.asyncio

from worker.engine.background_loop import BackgroundLoop
from worker.engine.connection import PRODUCER, connect, connect_async
from worker.engine.keys import Keyspace
from worker.engine.redis_errors import only_our_errors
from worker.engine.waiters import Waiters
from worker.errors import ArgumentError
from worker.settings import Settings
from worker.settings.redis_address import RedisAddress

__all__ = ["Lease", "LoopSide"]

#: Enqueues of one loop at the same moment. Each takes a connection, and a thousand tasks that
#: start together would open a thousand.
ENQUEUES: Final = 16

T = TypeVar("T")
_Sides = dict[asyncio.AbstractEventLoop, "LoopSide"]


class LoopSide:
    """What belongs to one event loop: an asyncio client, and the waiters of each namespace.

    Attributes:
        room: bounds the enqueues at the same moment.
    """

    def __init__(self, address: RedisAddress) -> None:
        self.room = asyncio.Semaphore(ENQUEUES)
        self._address = address
        self._making = threading.Lock()
        self._client: redis.asyncio.Redis | None = None
        self._waiters: dict[Keyspace, Waiters] = {}
        self._end: AsyncGenerator[None, None] | None = None

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

    async def end_with_loop(self) -> None:
        """Close all connections when the running loop ends."""

        async def close_at_end() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                await self.close()

        # `asyncio.run` and its like close the generators that are open as the last thing.
        self._end = close_at_end()
        await anext(self._end)

    async def close(self) -> None:
        """Close all connections; the next use opens them anew."""
        waiters, self._waiters = self._waiters, {}
        client, self._client = self._client, None
        closing = [one.close() for one in waiters.values()]
        if client is not None:
            closing.append(client.aclose())
        await asyncio.gather(*closing, return_exceptions=True)


class Connections:
    """All connections of this process to one address."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self.client = connect(address, PRODUCER)
        self.side = LoopSide(address)
        self.pid = os.getpid()
        #: Who holds them, and how many calls are under way on a loop.
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        self.calls = 0
        self._lock = threading.Lock()
        self._loop: BackgroundLoop | None = None
        self._sides: _Sides = {}
        weakref.finalize(self, _close, self.client, self._sides).atexit = False

    @property
    def loop(self) -> BackgroundLoop:
        """The background loop, started by its first use."""
        with self._lock:
            if self._loop is None:
                self._loop = BackgroundLoop(self.side.close)
            return self._loop

    async def side_here(self) -> LoopSide:
        """Give what belongs to the running loop."""
        loop = asyncio.get_running_loop()
        side = self._sides.get(loop)
        if side is None:
            with self._lock:
                for gone in [one for one in self._sides if one.is_closed()]:
                    del self._sides[gone]
                side = self._sides[loop] = LoopSide(self._address)
            await side.end_with_loop()
        return side

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Hold the connections for one call; meanwhile a close by another holder waits."""
        with self._lock:
            self.calls += 1
        try:
            yield
        finally:
            with self._lock:
                self.calls -= 1

    async def close_here(self) -> None:
        """Close what belongs to the running loop."""
        side = self._sides.pop(asyncio.get_running_loop(), None)
        if side is not None:
            await side.close()

    def close(self) -> None:
        """Close them all."""
        if self._loop is not None:
            self._loop.close()
        _close(self.client, self._sides)


def _close(client: redis.Redis, sides: _Sides) -> None:
    client.close()
    while sides:
        loop, side = sides.popitem()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_close_soon, loop, side)


def _close_soon(loop: asyncio.AbstractEventLoop, side: LoopSide) -> None:
    task = loop.create_task(side.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


#: A loop holds no task by itself.
_closing: Final[set[asyncio.Task[None]]] = set()


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


def _give_back(address: RedisAddress, held: Connections, lease: Lease) -> bool:
    """End a hold; says whether it was the last one, so that they are to be closed."""
    with _opening:
        held.leases.discard(lease)
        if held.leases or held.calls or held.pid != os.getpid():
            return False  # a call that is under way holds them; they close when it is over
        if _open.get(address) is held:
            del _open[address]
    return True


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

    @contextmanager
    def asking(self) -> Iterator[redis.Redis]:
        """Give the client for threads, for one call of the app; replies are bytes."""
        with only_our_errors():
            yield self.connections().client

    @contextmanager
    def holding(self) -> Iterator[Connections]:
        """Hold the connections for one call of the app."""
        held = self.connections()
        with held.calling(), only_our_errors():
            yield held

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
        with self.holding() as held:
            return held.loop.call(lambda: make(held.side), timeout_s=timeout_s)

    async def run(self, make: Callable[[LoopSide], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the running loop."""
        with self.holding() as held:
            return await make(await held.side_here())

    async def aclose(self) -> None:
        """Give the connections back; those of the running loop are closed when it returns."""
        held = self._let_go()
        if held is not None:
            await held.close_here()
            held.close()

    def close(self) -> None:
        """Give the connections back. The next use takes them anew."""
        held = self._let_go()
        if held is not None:
            held.close()

    def _let_go(self) -> Connections | None:
        held, self._held = self._held, None
        if self._warning is not None:
            self._warning.detach()
        return held if held is not None and _give_back(self._address, held, self) else None

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
