"""An outage: Redis is unreachable. Its beginning and its end are logged, not each try."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from worker.errors import BrokerError, BrokerUnavailableError
from worker.logs.events import BROKER_RECOVERED, BROKER_UNAVAILABLE, emit

__all__ = ["Outage"]

_log = logging.getLogger("worker.broker")

#: Seconds between two lines while it lasts.
REPEAT_S: Final = 10.0


class Outage:
    """Whether Redis is unreachable, as one process sees it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._said = 0.0

    def is_lasting(self) -> bool:
        """Say whether Redis is unreachable now."""
        return self._since is not None

    def began(self, error: BrokerError) -> None:
        """Note that Redis did not serve."""
        now = time.monotonic()
        with self._lock:
            if self._since is None:
                self._since = now
            elif now - self._said < REPEAT_S:
                return
            self._said = now
        # A worker goes on by itself: the advice to an app is not for it.
        problem = error.problem if isinstance(error, BrokerUnavailableError) else str(error)
        emit(_log, BROKER_UNAVAILABLE, level=logging.ERROR, problem=problem)

    def over(self) -> None:
        """Note that Redis served."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            unavailable_ms = round((time.monotonic() - since) * 1000)
            emit(_log, BROKER_RECOVERED, level=logging.WARNING, unavailable_ms=unavailable_ms)
