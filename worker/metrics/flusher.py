"""The flusher: adds the figures of one process to the minutes of the series.

What Redis does not take is lost: a figure is never worth a second try that might count it twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace
from worker.engine.queue_clock import is_cluster, redis_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.errors import BrokerError
from worker.metrics.counts import Counts, Snapshot, Times
from worker.metrics.minutes import MINUTE_MS, TIMES, minute_key

__all__ = ["Flusher"]

_log = logging.getLogger("worker.minutes")

#: Seconds between two flushes: how old the newest figures are.
FLUSH_S: Final = 5.0
#: Seconds that a minute is kept after its last flush: two hours and a bit.
KEEP_S: Final = 7_500
#: Seconds that the end waits for the last flush.
LAST_S: Final = 1.0
#: Outcomes of attempts after which the job goes on.
_GOES_ON: Final = frozenset({"retry_scheduled", "snoozed", "reissued"})


class Flusher:
    """Adds the figures of one process to the minutes, from a thread of its own.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        counts: what is counted here.
        clock: gives this machine's Unix s; Redis time corrects it.
    """

    def __init__(
        self,
        client: redis.Redis,
        keyspace: Keyspace,
        counts: Counts,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._keyspace = keyspace
        self._counts = counts
        self._clock = clock
        self._before = Snapshot()
        self._ahead_ms: int | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="largesse-minutes", daemon=True)

    def start(self) -> None:
        """Begin to flush."""
        self._thread.start()

    def stop(self) -> None:
        """Flush a last time, if Redis takes it soon, and end."""
        self._stopped.set()
        self._thread.join(LAST_S)

    def flush(self) -> None:
        """Add what was counted since the last time; what Redis does not take is lost."""
        now = self._counts.snapshot()
        before, self._before = self._before, now
        changes = _changes(before, now)
        if not changes:
            return
        try:
            with speaking_to_redis():
                self._write(changes)
        except BrokerError as error:
            self._counts.lost_flush()
            _log.debug("figures of some seconds are lost: %s", error)

    def _write(self, changes: Mapping[tuple[str, str], Mapping[str, int]]) -> None:
        minute = self._now_ms() // MINUTE_MS
        pipe = self._client.pipeline(transaction=False)
        keys = set()
        for (site, kind), numbers in changes.items():
            key = minute_key(self._keyspace, self._keyspace.shard_of_site(site), minute)
            keys.add(key)
            for name, number in numbers.items():
                pipe.hincrby(key, f"{site}|{kind}|{name}", number)
        for key in keys:
            pipe.expire(key, KEEP_S)
        if not is_cluster(self._client):
            pipe.time()
        replies: list[Any] = pipe.execute()
        if not is_cluster(self._client):
            self._set_clock(replies[-1])

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_s()):
            self.flush()
        self.flush()

    def _pause_s(self) -> float:
        """Wait five seconds, or to the end of the minute, so that no figure is late."""
        left_s = (MINUTE_MS - self._now_ms(ask=False) % MINUTE_MS) / 1000
        return min(FLUSH_S, max(0.1, left_s - 0.2))

    def _now_ms(self, *, ask: bool = True) -> int:
        """Give Redis time: this machine's, corrected by what Redis said at the last flush."""
        if self._ahead_ms is None and ask and not is_cluster(self._client):
            self._ahead_ms = redis_now_ms(self._client) - int(self._clock() * 1000)
        return int(self._clock() * 1000) + (self._ahead_ms or 0)

    def _set_clock(self, reply: tuple[int, int]) -> None:
        self._ahead_ms = int(reply[0]) * 1000 + int(reply[1]) // 1000 - int(self._clock() * 1000)


def _changes(before: Snapshot, now: Snapshot) -> dict[tuple[str, str], dict[str, int]]:
    """Give what was counted between two moments: (site, kind) to name to number, no zeros."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for labels, total in now.counts.items():
        count = total - before.counts.get(labels, 0)
        names = _names(labels) if count else ()
        for name in names:
            numbers = found.setdefault((labels[1], labels[2]), {})
            numbers[name] = numbers.get(name, 0) + count
    for labels, times in now.times.items():
        short = TIMES.get(labels[0])
        change = times - before.times.get(labels, Times())
        if short is None or not change.count:
            continue
        numbers = found.setdefault((labels[1], labels[2]), {})
        numbers[f"{short}:ms"] = round(change.sum_s * 1000)
        for place, count in enumerate(change.buckets):
            if count:
                numbers[f"{short}:{place}"] = count
    return found


def _names(labels: tuple[str, ...]) -> list[str]:
    """Say which numbers of a minute a count belongs to."""
    match labels:
        case ("jobs_total", _, _, outcome, _):
            return [f"jobs:{outcome}"]
        case ("attempts_total", _, _, outcome):
            return ["attempts", "retries"] if outcome in _GOES_ON else ["attempts"]
        case ("api_calls_total", _, _, outcome, _, replayed):
            names = ["calls"]
            if outcome == "throttled":
                names.append("throttled")
            if replayed == "true":
                names.append("replayed")
            return names
    return []
