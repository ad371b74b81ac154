"""What watches a worker process: counts endings, opens the port, flushes the series, is present.

One dramatiq middleware, for both kinds of worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from worker.engine.async_worker import AsyncWorker
from worker.engine.broker import EngineBroker
from worker.engine.connection import PRODUCER, connect
from worker.engine.delivery import Delivery
from worker.engine.endings import Bury, Finish
from worker.logs.events import BROKER_CLOCK_STEPPED, emit
from worker.metrics.counts import Counts
from worker.metrics.flusher import Flusher
from worker.metrics.gauge_minutes import record_depth
from worker.metrics.prometheus import Metrics, ProcessCounts, QueueReading
from worker.process.health import Health
from worker.process.heartbeat import Heartbeat
from worker.process.http_port import Port
from worker.process.site_keys import SiteKeys
from worker.settings import Settings
from worker.version import __version__

__all__ = ["Monitor"]

_log = logging.getLogger("worker.watch")

#: Ports that the processes of dramatiq's command line choose from: they do not know their places.
SPAN: Final = 64


class Monitor(Middleware):
    """Watches one process.

    Args:
        settings: port and address; Redis.
        counts: what the actors count.
        keys: which sites the process has a good key for.
    """

    def __init__(self, settings: Settings, counts: Counts, keys: SiteKeys) -> None:
        self._keys = keys
        self._settings = settings
        self._counts = counts
        self._flusher: Flusher | None = None
        self._heartbeat: Heartbeat | None = None
        self._port: Port | None = None
        self._health: Health | None = None
        self._reader: Any = None

    def after_ack(self, broker: Broker, message: Any) -> None:  # noqa: ARG002
        """Count a job whose ending Redis has taken."""
        ending = message.ending if isinstance(message, Delivery) else None
        # Without a text the ending is no outcome, or a script wrote the outcome and counts it.
        if isinstance(ending, Finish) and ending.outcome:
            error_class = "" if ending.state == "succeeded" else ending.state
            self._count(message, ending.state, error_class)
        elif isinstance(ending, Bury) and (ending.outcome or ending.state == "held"):
            self._count(message, ending.state, ending.error_class)

    after_nack = after_ack

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Open the port, if there is to be one, begin to flush and to tell."""
        assert isinstance(broker, EngineBroker)  # noqa: S101 - added by main.build alone
        self._flusher = Flusher(broker.client, broker.keyspace, self._counts)
        self._flusher.start()
        health = self._health = _health_of(broker, worker)
        if isinstance(worker, AsyncWorker):
            health.watch_loop(asyncio.get_running_loop())
        self._heartbeat = Heartbeat(
            broker.client, broker.keyspace, broker.broker_id,
            lambda: {**_facts(broker, worker, health), "keys": self._keys.told()},
            beside=lambda now_ms: _record(broker, now_ms),
            stepped=self._note_step,
        )  # fmt: skip
        self._heartbeat.start()
        if self._settings.metrics_port:
            self._open(broker, worker, health)

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        """Flush what is left, take leave and close the port."""
        if self._flusher is not None:
            self._flusher.stop()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._health is not None:
            self._health.leave_loop()
        if self._port is not None:
            self._port.close()
            self._reader.close()

    def _note_step(self, step_ms: int) -> None:
        self._counts.clock_stepped()
        emit(_log, BROKER_CLOCK_STEPPED, level=logging.WARNING, step_ms=step_ms)

    def _count(self, message: Delivery, outcome: str, error_class: str) -> None:
        self._counts.ended(
            message.site, message.actor_name, outcome=outcome, error_class=error_class,
            duration_ms=message.now_ms() - message.enqueued_at_ms,
        )  # fmt: skip

    def _open(self, broker: EngineBroker, worker: Any, health: Health) -> None:
        settings = self._settings

        def gauges() -> Mapping[str, float]:
            return {
                "jobs_running": _running(broker, worker),
                "worker_concurrency": worker.concurrency if isinstance(worker, AsyncWorker) else 0,
                "worker_silence_seconds": health.silence_s(),
                "worker_ready": health.ready().ok,
                "outcomes_stream_max_length": settings.stream_max_len,
                "outcomes_stream_max_age_seconds": settings.stream_max_age_s,
            }

        # A client of its own and of little patience: a scrape must not wait for long.
        self._reader = connect(self._settings.redis, PRODUCER)
        metrics = Metrics(
            ProcessCounts(self._counts, gauges, version=__version__),
            QueueReading(self._reader, broker.keyspace),
        )
        self._port = Port(
            self._settings.metrics_host, self._settings.metrics_port,
            span=1 if isinstance(worker, AsyncWorker) else SPAN,
            live=health.live, ready=health.ready, metrics=metrics.render,
        )  # fmt: skip
        self._port.open()


def _health_of(broker: EngineBroker, worker: Any) -> Health:
    on_loop = isinstance(worker, AsyncWorker)
    return Health(
        silence_s=worker.silence_s if on_loop else broker.silence_s,
        is_unreachable=broker.outage.is_lasting,
        is_stopping=worker.is_stopping if on_loop else lambda: False,
    )


def _running(broker: EngineBroker, worker: Any) -> int:
    return worker.running() if isinstance(worker, AsyncWorker) else broker.held()


def _facts(broker: EngineBroker, worker: Any, health: Health) -> Mapping[str, Any]:
    """Give what a process says of itself; dramatiq's worker calls its threads by another name."""
    verdict = health.ready()
    return {
        "version": __version__,
        "concurrency": getattr(worker, "concurrency", 0) or getattr(worker, "worker_threads", 0),
        "running": _running(broker, worker),
        "silence_ms": round(health.silence_s() * 1000),
        "ready": verdict.ok,
        "why": verdict.why,
        "encryption_keys": broker.keyspace.cipher.key_ids,
    }


def _record(broker: EngineBroker, now_ms: int) -> None:
    record_depth(broker.client, broker.keyspace, now_ms)
