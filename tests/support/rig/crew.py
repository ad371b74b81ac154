"""A worker in this process, of either kind, on a broker of the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import dramatiq
import uvloop
from dramatiq.middleware import AsyncIO, Middleware, TimeLimit, default_middleware
from dramatiq.worker import Worker

from worker.engine.async_worker import AsyncWorker
from worker.engine.broker import EngineBroker

CrewKind = Literal["threads", "loop"]

#: Bounds how long a test waits for actors that ought to run at once.
JOIN_MS = 15_000


class Crew:
    """A broker and its worker.

    Args:
        kind: dramatiq's own worker threads, or the engine's event loop.
        url: the server.
    """

    def __init__(self, kind: CrewKind, url: str) -> None:
        self.kind = kind
        self.url = url
        self.broker = EngineBroker(url=url, middleware=self.middleware())
        self._stop: Callable[[], None] | None = None
        dramatiq.set_broker(self.broker)

    @staticmethod
    def middleware(*more: Middleware) -> list[Middleware]:
        """Dramatiq's default set, with a time limit that looks often, and more."""
        usual = [one() for one in default_middleware if one is not TimeLimit]
        return [*usual, TimeLimit(interval=50), AsyncIO(), *more]

    def add(self, *middleware: Middleware) -> None:
        """Add middleware to the broker."""
        for one in middleware:
            self.broker.add_middleware(one)

    def actor(self, function: Callable[..., Any], **options: Any) -> dramatiq.Actor[..., Any]:
        """Bind an actor; retries come quickly unless the options say otherwise."""
        given: dict[str, Any] = {"min_backoff": 1, "max_backoff": 20, **options}
        return dramatiq.actor(broker=self.broker, **given)(function)

    def start(self, *, size: int = 8, queues: Sequence[str] | None = None) -> None:
        """Start the worker."""
        chosen = set(queues) if queues else None
        if self.kind == "threads":
            self.broker.emit_after("process_boot")  # as dramatiq's command line does
            worker = Worker(self.broker, queues=chosen, worker_threads=size, worker_timeout=50)
            worker.start()
            self._stop = lambda: worker.stop(5_000)
        else:
            self._stop = _start_loop(self.broker, self.url, size, chosen)

    def stop(self) -> None:
        """Stop the worker; nothing happens when there is none."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def join(self, *queues: str) -> None:
        """Wait until no message waits, is delayed or runs."""
        for queue in queues or tuple(self.broker.get_declared_queues()):
            self.broker.join(queue, timeout=JOIN_MS, interval=5)

    def dead(self) -> list[str]:
        """Ids of dead letters."""
        found: Any = self.broker.client.zrange(self.broker.keyspace.prefix(0) + "dead", 0, -1)
        return [one.decode() for one in found]

    def stored(self, message_id: str) -> dramatiq.Message[Any]:
        """The message of a record, as it is stored."""
        data: Any = self.broker.client.get(self.broker.keyspace.message(message_id))
        message: dramatiq.Message[Any] = dramatiq.Message.decode(data)
        return message

    def close(self) -> None:
        """Stop and close."""
        self.stop()
        self.broker.close()


def _start_loop(
    broker: EngineBroker, url: str, size: int, queues: set[str] | None
) -> Callable[[], None]:
    stopping = asyncio.Event()
    started = threading.Event()
    loop = uvloop.new_event_loop()

    async def serve() -> None:
        worker = AsyncWorker(broker, url, concurrency=size, queues=queues, grace_s=5)
        started.set()
        await worker.run(stopping)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="loop-worker")
    thread.start()
    started.wait(5)

    def stop() -> None:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(15)
        assert not thread.is_alive(), "the loop worker did not stop"

    return stop
