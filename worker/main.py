"""The only place where the parts are put together.

dramatiq worker.main:setup -p 2 -t 32      dramatiq's processes and threads
largesse worker -p 2 --concurrency 128     processes with an event loop each
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
import time
from typing import Any, Final

import dramatiq
import uvloop
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.broker import Broker
from dramatiq.middleware import AsyncIO, Middleware, default_middleware

from worker.encryption import Cipher
from worker.engine.async_worker import AsyncWorker
from worker.engine.broker import EngineBroker
from worker.engine.bulkhead import OVERFLOW
from worker.engine.connection import WORKER, connect
from worker.engine.exclusions import Exclusions
from worker.errors import BrokerError
from worker.logs import pipeline
from worker.logs.events import (
    SETTING_UNKNOWN,
    WORKER_RESTARTED,
    WORKER_STARTED,
    WORKER_STOPPED,
    emit,
)
from worker.logs.sentry_reports import open_reports
from worker.process import actors
from worker.process.actors import CONNECTIONS, Caller
from worker.process.budgets import BudgetKeeper
from worker.process.monitor import Monitor
from worker.process.server_check import ServerCheck
from worker.process.site_keys import SiteKeys, require_key
from worker.process.stream_keeper import StreamKeeper
from worker.settings import Settings
from worker.settings.unknown_variables import unknown_variables
from worker.traces.otlp import open_traces
from worker.version import __version__

__all__ = ["build", "serve", "setup"]

_log = logging.getLogger("worker.process")

#: Objects made and not yet freed after which cycles are looked for. Hundreds of jobs in flight are
#: some ten thousand objects that reference counts free; to look through them after every 700 took
#: 5 to 8 % of a worker's CPU.
COLLECT_AFTER: Final = 10_000
#: Seconds from a second SIGTERM to the exit, at most.
HURRY_S: Final = 0.5


class _ClientLifetime(Middleware):
    """Closes the API client on the loop it lives on, under dramatiq's threads."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        thread = get_event_loop_thread()
        if thread is not None:
            thread.run_coroutine(self._caller.client.aclose())


def build(settings: Settings, *, concurrency: int = CONNECTIONS) -> tuple[EngineBroker, Caller]:
    """Make the broker with its middleware and actors.

    Args:
        settings: all settings.
        concurrency: most calls at the same time.

    Returns:
        The broker, and what makes the calls.

    Raises:
        SettingsError: no key of any site can be read.
    """
    require_key(settings)
    traces = open_traces(settings)
    exclusions = Exclusions()
    keys = SiteKeys(settings, exclusions)
    caller = Caller(settings, connections=concurrency, keys=keys)
    if traces is not None:
        caller.client = traces.traced(caller.client)
    broker = EngineBroker(
        client=connect(settings.redis, WORKER),
        namespace=settings.namespace,
        shards=settings.shards,
        cipher=Cipher.of(settings),
        middleware=[
            *(one() for one in default_middleware),
            AsyncIO(),
            _ClientLifetime(caller),
            BudgetKeeper(settings, keys),
            ServerCheck(settings),
            StreamKeeper(settings),
            Monitor(settings, caller.counts, keys),
            *([] if traces is None else [traces]),
        ],
        lease_ms=settings.lease_ms,
        renew_ms=max(100, settings.lease_ms // 3),
        max_deliveries=settings.max_deliveries,
        outcome_ttl_ms=settings.result_ttl_s * 1000,
        exclusions=exclusions,
    )
    actors.register(broker, caller)
    return broker, caller


def _lay_out(broker: EngineBroker) -> None:
    """Compare the layout of the queue while nothing runs yet; later when Redis is away.

    Raises:
        LayoutError: the queue is laid out in another way.
    """
    with contextlib.suppress(BrokerError):
        broker.scripts.lay_out(as_worker=True)


def _warn_of_unknown(settings: Settings) -> None:
    for name, remedy in unknown_variables(os.environ, settings).items():
        emit(_log, SETTING_UNKNOWN, level=logging.WARNING, variable=name, remedy=remedy)


def setup() -> Broker:
    """Set up a process of `dramatiq worker.main:setup`, in which it runs after the fork.

    Returns:
        The broker, which is dramatiq's global one from now on.

    Raises:
        SettingsError: a setting is missing or wrong, or differs from the queue's layout.
    """
    settings = Settings.from_env()
    pipeline.configure(settings)
    open_reports(settings)
    _warn_of_unknown(settings)
    broker, _ = build(settings)
    _lay_out(broker)
    dramatiq.set_broker(broker)
    return broker


def serve(
    settings: Settings,
    *,
    concurrency: int,
    grace_s: float,
    processes: int = 1,
    place: int = 0,
    after: int | None = None,
) -> None:
    """Run the worker of one process on an event loop until SIGTERM, SIGINT or the parent's death.

    Args:
        settings: all settings.
        concurrency: most jobs at the same time.
        grace_s: seconds that running jobs get at shutdown.
        processes: size of the fleet that this process belongs to, for the log.
        place: its place there.
        after: exit code of the process that died in this place before; None = there was none.
    """
    pipeline.configure(settings)
    open_reports(settings)
    if place == 0 and after is None:  # one process speaks for the fleet
        _warn_of_unknown(settings)
    if after is not None:
        emit(_log, WORKER_RESTARTED, level=logging.ERROR, worker=f"place {place}", exit_code=after)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, concurrency, grace_s, processes))


async def _serve(settings: Settings, concurrency: int, grace_s: float, processes: int) -> None:
    broker, caller = build(settings, concurrency=concurrency * OVERFLOW)
    _lay_out(broker)
    dramatiq.set_broker(broker)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            # The leases lapse, or their releases have just gone out.
            threading.Timer(HURRY_S, os._exit, args=(1,)).start()
            for task in asyncio.all_tasks():
                if task is not main:
                    task.cancel()
        stopping.set()

    main = asyncio.current_task()
    started = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    gc.freeze()  # what is there now stays: no collection looks at it again
    gc.set_threshold(COLLECT_AFTER, 10, 10)
    worker = AsyncWorker(broker, settings.redis, concurrency=concurrency, grace_s=grace_s)
    me = f"{socket.gethostname()}:{os.getpid()}"
    emit(
        _log, WORKER_STARTED, worker=me, version=__version__, processes=processes,
        concurrency=concurrency,
    )  # fmt: skip
    try:
        await worker.run(stopping)
    finally:
        lived_ms = round((time.monotonic() - started) * 1000)
        emit(_log, WORKER_STOPPED, worker=me, duration_ms=lived_ms, jobs=worker.ended)
        await caller.client.aclose()
        broker.close()
