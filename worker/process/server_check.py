"""Says loudly when a worker starts on a Redis that may lose what it accepted."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from worker.engine.connection import WORKER, connect
from worker.logs.events import BROKER_UNSAFE, emit
from worker.process.redis_checks import check_redis
from worker.settings import Settings

__all__ = ["ServerCheck"]

_log = logging.getLogger("worker.broker")

#: The checks of the doctor that tell whether accepted jobs are safe.
_TELLING: Final = ("eviction", "persistence", "role")
#: Seconds until the next look while Redis is unreachable.
RETRY_S: Final = 2.0


class ServerCheck(Middleware):
    """Looks at Redis once, when the worker starts or as soon as Redis is there.

    Args:
        settings: where Redis is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = threading.Event()

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        """Begin to look."""
        threading.Thread(target=self._look, name="largesse-server-check", daemon=True).start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        """Look no more."""
        self._stopped.set()

    def _look(self) -> None:
        client = connect(self._settings.redis, WORKER)
        try:
            while not self._stopped.is_set():
                found = list(check_redis(client, str(self._settings.redis)))
                if len(found) > 1:  # it answered
                    break
                self._stopped.wait(RETRY_S)
            else:
                return
        finally:
            client.close()
        for check in found:
            if check.name in _TELLING and check.status != "ok":
                emit(
                    _log,
                    BROKER_UNSAFE,
                    level=logging.ERROR,
                    check=check.name,
                    problem=check.found,
                    remedy=check.remedy,
                )
