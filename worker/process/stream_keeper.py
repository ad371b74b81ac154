"""Lets go of outcomes that every group has handled, and tells what a group missed."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from worker.engine.broker import EngineBroker
from worker.errors import BrokerError
from worker.logs.events import FOLLOWER_MISSED, FOLLOWER_REMOVED, emit
from worker.settings import Settings

__all__ = ["StreamKeeper"]

_log = logging.getLogger("worker.stream")

#: Seconds between two looks of a process. Each look of any process serves all.
LOOK_S: Final = 5.0
#: Seconds that a look may take to end when the process stops.
LAST_S: Final = 1.0


class StreamKeeper(Middleware):
    """Trims the streams of outcomes.

    Args:
        settings: how many entries are kept, and for how long.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_len = settings.stream_max_len
        self._max_age_ms = settings.stream_max_age_s * 1000
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        """Begin to look."""
        self._thread = threading.Thread(
            target=self._keep, args=(broker,), name="largesse-stream", daemon=True
        )
        self._thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        """Look no more; a look that is under way ends with its script."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(LAST_S)

    def _keep(self, broker: EngineBroker) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                self._look(broker)
            except BrokerError as error:  # the consumer logs the outage
                _log.debug("the outcomes are not trimmed: %s", error)
            except Exception:  # noqa: BLE001 - without this thread the stream would only grow
                _log.exception("the outcomes are not trimmed")

    def _look(self, broker: EngineBroker) -> None:
        for trimmed in broker.trim_streams(self._max_len, self._max_age_ms):
            if self._stopped.is_set():
                return
            for group in trimmed.removed:
                emit(_log, FOLLOWER_REMOVED, level=logging.WARNING, group=group)
            for group, count in trimmed.missed.items():
                emit(_log, FOLLOWER_MISSED, level=logging.ERROR, group=group, entries=count)
