"""The setups that take turns: the stock Redis broker and the engine, each with its workers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import dramatiq
import redis
import uvloop
from dramatiq import Worker
from dramatiq.broker import Broker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from worker.engine.async_worker import AsyncWorker
from worker.engine.broker import EngineBroker
from worker.engine.connection import connect
from worker.engine.delivery import current_delivery
from worker.engine.endings import Finish
from worker.settings import Settings

__all__ = [
    "JOB",
    "NOOP",
    "PAYLOAD",
    "SETUPS",
    "SITE",
    "STAMP",
    "Setup",
    "make_broker",
    "settings_of",
]

NOOP: Final = "noop"  # nothing at all
STAMP: Final = "stamp"  # notes how long ago it was sent
JOB: Final = "gift_checkout"  # ends with a hosted page, as the real actor without its HTTP call
QUEUE: Final = "chargebee"
SITE: Final = "acme-test"
THREADS: Final = 8  # dramatiq's default
CONCURRENCY: Final = 128  # the AsyncWorker's default

PAYLOAD: Final[dict[str, Any]] = {
    "gifter": {"customer_id": "cust_0001", "locale": "en"},
    "subscription_items": [
        {"item_price_id": "basic-USD-yearly", "quantity": 1},
        {"item_price_id": "gift-wrap-USD", "quantity": 2, "unit_price": 350},
    ],
    "coupon_ids": ["WELCOME10"],
    "redirect_url": "https://shop.example.com/thanks",
}


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to run jobs.

    Attributes:
        name: what the tables call it.
        database: its logical database, so that its commands and keys can be told from others'.
        is_ours: the engine, or the stock broker.
        on_loop: jobs are tasks on an event loop, not threads.
        idle_ms: longest sleep of dramatiq's consumer while idle.
    """

    name: str
    database: int
    is_ours: bool
    on_loop: bool = False
    idle_ms: int = 1000


SETUPS: Final = (
    Setup("stock", 1, is_ours=False),
    Setup("stock, tuned", 2, is_ours=False, idle_ms=20),
    Setup("engine, threads", 3, is_ours=True),
    Setup("engine, loop", 4, is_ours=True, on_loop=True),
)


def settings_of(url: str) -> Settings:
    """Give the settings of a producer on that database."""
    return Settings.from_env({"LARGESSE_REDIS_URL": url, "CHARGEBEE_SITE": SITE})


def make_broker(setup: Setup, url: str, *, results: bool = False) -> Broker:
    """Make the broker of a setup.

    Args:
        setup: which.
        url: its database.
        results: keep results; the engine always does.
    """
    if setup.is_ours:
        return EngineBroker(client=connect(url))
    if setup.idle_ms == 1000:
        broker = RedisBroker(url=url)
    else:
        where = redis.connection.parse_url(url)
        broker = RedisBroker(client=redis.Redis(**where, max_connections=1000))
    if results:
        broker.add_middleware(Results(backend=RedisBackend(client=broker.client)))
    return broker


class Notes:
    """What the actors of a worker saw.

    Attributes:
        ages_ns: from sending to start, of `STAMP`.
        count: jobs that started since `reset`.
        started_at_ns, last_at_ns: monotonic ns of the first and of the last start.
        cpu_s: CPU seconds of the process at the first start.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.ages_ns: list[int] = []
        self.starts_ns: list[int] = []
        self.cpu_s = 0.0

    def start(self) -> None:
        """Note that a job starts."""
        if not self.starts_ns:
            self.cpu_s = time.process_time()
        self.starts_ns.append(time.monotonic_ns())

    def report(self) -> dict[str, Any]:
        """Give what was seen since `reset`, and forget it."""
        starts = self.starts_ns
        found = {
            "count": len(starts),
            "wall_s": (starts[-1] - starts[0]) / 1e9 if starts else 0.0,
            "cpu_s": time.process_time() - self.cpu_s if starts else 0.0,
            "ages_ns": self.ages_ns,
        }
        self.reset()
        return found


def page_of(now_ns: int) -> dict[str, Any]:
    """Give a hosted page whose id says when its job ended."""
    return {
        "id": str(now_ns),
        "url": "https://acme-test.chargebee.com/pages/v3/Ro1ABCDEFGHIJKLMNOPQRSTUVWXYZ0/",
        "state": "created",
        "expires_at": 1893456000,
    }


def _outcome() -> str:
    delivery = current_delivery()
    return json.dumps(
        {
            "job_id": delivery.job_id, "kind": JOB, "site": delivery.site, "state": "succeeded",
            "attempts": delivery.attempts + 1, "hosted_page": page_of(time.monotonic_ns()),
            "offers": None, "brand": None, "expires_at": 1893456000, "replayed": False,
            "error": None, "finished_at": delivery.now_ms(),
        }
    )  # fmt: skip


def _finish() -> None:
    current_delivery().end(
        Finish(outcome=_outcome(), ttl_ms=7 * 86_400_000, attempt='{"at":1,"ms":2,"status":200}')
    )


def declare(setup: Setup, broker: Broker, notes: Notes, *, hold_s: float) -> None:
    """Bind the actors.

    Args:
        setup: decides between plain and async actors, and how a result is given.
        broker: where they are bound.
        notes: what they write to.
        hold_s: seconds that `JOB` takes.
    """

    def noop() -> None:
        notes.start()

    def stamp(sent_ns: int) -> None:
        notes.start()
        notes.ages_ns.append(time.monotonic_ns() - sent_ns)

    def job(*, payload: dict[str, Any], options: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ARG001
        notes.start()
        if hold_s:
            time.sleep(hold_s)
        if not setup.is_ours:
            return page_of(time.monotonic_ns())
        _finish()
        return None

    async def job_on_loop(*, payload: dict[str, Any], options: dict[str, Any]) -> None:  # noqa: ARG001
        notes.start()
        if hold_s:
            await asyncio.sleep(hold_s)
        _finish()

    async def noop_on_loop() -> None:
        notes.start()

    async def stamp_on_loop(sent_ns: int) -> None:
        stamp(sent_ns)

    functions: dict[str, Callable[..., Any]] = {NOOP: noop, STAMP: stamp, JOB: job}
    if setup.on_loop:
        functions = {NOOP: noop_on_loop, STAMP: stamp_on_loop, JOB: job_on_loop}
        # As dramatiq's AsyncIO middleware would have it; the AsyncWorker brings its own loop.
        broker.add_middleware(dramatiq.middleware.AsyncIO())
    storing = {"store_results": True} if broker_keeps_results(broker) else {}
    for name, function in functions.items():
        options = storing if name == JOB else {}
        dramatiq.actor(function, actor_name=name, queue_name=QUEUE, broker=broker, **options)


def broker_keeps_results(broker: Broker) -> bool:
    """Say whether the stock results middleware is there."""
    return any(isinstance(one, Results) for one in broker.middleware)


class Running:
    """A worker of one setup in this process.

    Args:
        setup: which.
        broker: with its actors.
        url: its database.
    """

    def __init__(self, setup: Setup, broker: Broker, url: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        if setup.on_loop:
            ready = threading.Event()
            self._thread = threading.Thread(target=self._serve, args=(broker, url, ready))
            self._thread.start()
            ready.wait()
        else:
            self._worker = Worker(broker, worker_threads=THREADS, worker_timeout=setup.idle_ms)
            self._worker.start()

    def _serve(self, broker: EngineBroker, url: str, ready: threading.Event) -> None:
        async def serve() -> None:
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await AsyncWorker(broker, url, concurrency=CONCURRENCY).run(self._stopping)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    def stop(self) -> None:
        """End it."""
        if self._loop is None:
            self._worker.stop(timeout=5000)
        else:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
