"""The leases that one process holds on one queue, and their renewal by a thread.

Only dramatiq's worker threads need it; jobs on an event loop are renewed there (`loop.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from worker.engine.delivery import Delivery
from worker.engine.options import EngineOptions
from worker.engine.outage import Outage
from worker.engine.scripts import Scripts
from worker.errors import BrokerError

__all__ = ["LeaseBook"]


class LeaseBook:
    """Leases of one process on one queue.

    Args:
        scripts: run the renewal.
        options: how long leases last.
        outage: told when Redis does not answer.
        queue: the queue.
        worker: who holds the leases.
    """

    def __init__(
        self, scripts: Scripts, options: EngineOptions, outage: Outage, *, queue: str, worker: str
    ) -> None:
        self._scripts = scripts
        self._options = options
        self._outage = outage
        self.queue = queue
        self.worker = worker
        self._held: dict[str, Delivery] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        #: Set whenever a delivery ends: a full consumer waits for it.
        self.room = threading.Event()
        #: Monotonic seconds at which the consumer last came round: fetched, or waited its time.
        self.looked_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Hold more leases; the first one starts the renewal."""
        with self._lock:
            self._held.update((one.job_id, one) for one in deliveries)
            if self._held and self._thread is None and not self._stopped.is_set():
                name = f"largesse-leases-{self.queue}"
                self._thread = threading.Thread(target=self._renew_on, name=name, daemon=True)
                self._thread.start()

    def drop(self, delivery: Delivery) -> None:
        """Hold a lease no more."""
        with self._lock:
            if self._held.get(delivery.job_id) is delivery:
                del self._held[delivery.job_id]
        self.room.set()

    def known(self, shard: int) -> list[str]:
        """Give the ids held on a shard."""
        with self._lock:
            return [job_id for job_id, one in self._held.items() if one.shard == shard]

    def close(self) -> None:
        """Stop renewing."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1)

    def _renew_on(self) -> None:
        while not self._stopped.wait(self._options.renew_ms / 1000):
            try:
                self.renew()
            except BrokerError as error:
                self._outage.began(error)

    def renew(self) -> None:
        """Extend every lease, and forget those that are somebody else's by now."""
        with self._lock:
            held = list(self._held.values())
        for shard in {one.shard for one in held}:
            mine = {one.job_id: one for one in held if one.shard == shard}
            asked = time.monotonic()
            args: list[str | int] = [self.queue, self._options.lease_ms]
            for one in mine.values():
                args += [one.job_id, one.fence]
            lost = {raw.decode() for raw in self._scripts.run("renew", shard, args)}
            for job_id, one in mine.items():
                if job_id in lost:
                    one.lease_until = 0.0
                else:
                    one.lease_until = asked + self._options.lease_ms / 1000
