"""Worker processes tell that they are there: every five seconds, into Redis, idle ones too.

    <prefix>workers        sorted set: worker to when it was last seen
    <prefix>worker:<id>    what it said of itself then, JSON; gone ten minutes after its last word

On shard 0. What Redis does not take is said again five seconds later.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from worker.engine.clock_watch import ClockWatch
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import queue_now_ms, redis_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.errors import BrokerError

__all__ = ["BEAT_S", "LOST_S", "Heartbeat", "Seen", "read_heartbeats"]

_log = logging.getLogger("worker.heartbeat")

#: Seconds between two words of a worker.
BEAT_S: Final = 5.0
#: Seconds of silence after which a worker counts as lost: it was killed, or cannot reach Redis.
LOST_S: Final = 20.0
#: Milliseconds by which Redis time may differ from what was expected: replies may be slow.
STEP_MS: Final = 5_500
#: Seconds that a lost worker is remembered.
KEEP_S: Final = 600
#: Seconds that the end waits for the last word.
LAST_S: Final = 1.0
#: Workers that are read, those seen last.
LOOK_MAX: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A worker process by its own word.

    Attributes:
        worker: host, process id and a random part, such as `app-1:4711:0f3c...`.
        seen_ms: Unix ms of its last word.
        started_ms: Unix ms of its start.
        version: of Largesse.
        concurrency: jobs that it runs at the same time.
        running: jobs that it ran then.
        silence_ms: ms since its slowest consumer had last heard from Redis while it had room.
        ready: whether it took jobs then.
        why: what its `/readyz` said, such as "ready" or "stopping".
        keys: site to the mark of the key that it held then and what was wrong with it: "",
            "missing" or "refused".
        encryption_keys: ids of the keys that it has, the one that encrypts first.
    """

    worker: str
    seen_ms: int
    started_ms: int
    version: str
    concurrency: int
    running: int
    silence_ms: int
    ready: bool
    why: str
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    encryption_keys: tuple[str, ...] = ()

    def is_lost(self, now_ms: int) -> bool:
        """Say whether it has said nothing for longer than it should."""
        return now_ms - self.seen_ms > LOST_S * 1000


class Heartbeat:
    """Tells every few seconds that a process is there, from a thread of its own.

    The thread goes on while the consumer is stuck: that is what makes a stuck one show.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        worker: id of the process.
        facts: gives what it says of itself: the attributes of `Seen` from `version` on.
        beside: what else is done at each beat, with the queue's time in Unix ms.
        stepped: told when Redis time has stepped, with the ms by which it is later.
    """

    def __init__(
        self,
        client: redis.Redis,
        keyspace: Keyspace,
        worker: str,
        facts: Callable[[], Mapping[str, Any]],
        *,
        beside: Callable[[int], None] = lambda _: None,
        stepped: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._stepped = stepped
        self._clock = ClockWatch()
        self._client = client
        self._keyspace = keyspace
        self._names = f"{keyspace.prefix(0)}workers"
        self._key = f"{keyspace.prefix(0)}worker:{worker}"
        self._worker = worker
        self._facts = facts
        self._beside = beside
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="largesse-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def stop(self) -> None:
        """Take leave, if Redis takes it soon, and end."""
        self._stopped.set()
        self._thread.join(LAST_S)

    def beat(self) -> None:
        """Tell once; what Redis does not take is told at the next beat."""
        self._try(self._tell)

    def leave(self) -> None:
        """Tell that the process ends in order: it is not lost."""
        self._try(self._forget)

    def _tell(self) -> None:
        redis_ms = redis_now_ms(self._client)
        if abs(step_ms := self._clock.note(redis_ms)) > STEP_MS:
            self._stepped(step_ms)
        now_ms = queue_now_ms(self._client, self._keyspace, redis_ms)
        lived_ms = round((time.monotonic() - self._started) * 1000)
        word = {"started_ms": now_ms - lived_ms, **self._facts()}
        pipe = self._client.pipeline(transaction=False)
        pipe.set(self._key, json.dumps(word, separators=(",", ":")), ex=KEEP_S)
        pipe.zadd(self._names, {self._worker: now_ms})
        pipe.zremrangebyscore(self._names, 0, now_ms - KEEP_S * 1000)
        pipe.expire(self._names, KEEP_S)
        pipe.execute()
        self._beside(now_ms)

    def _forget(self) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.delete(self._key)
        pipe.zrem(self._names, self._worker)
        pipe.execute()

    def _try(self, do: Callable[[], None]) -> None:
        try:
            with speaking_to_redis():
                do()
        except BrokerError as error:
            _log.debug("a heartbeat is lost: %s", error)

    def _run(self) -> None:
        self.beat()
        while not self._stopped.wait(BEAT_S):
            self.beat()
        self.leave()


def read_heartbeats(client: redis.Redis, keyspace: Keyspace) -> list[Seen]:
    """Give the workers that were seen in the last ten minutes, by name.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    prefix = keyspace.prefix(0)
    with speaking_to_redis():
        rows: Any = client.zrange(f"{prefix}workers", 0, LOOK_MAX - 1, desc=True, withscores=True)
        pipe = client.pipeline(transaction=False)
        for raw, _ in rows:
            pipe.get(f"{prefix}worker:{raw.decode()}")
        words = pipe.execute()
    found = [
        Seen(worker=raw.decode(), seen_ms=int(at_ms), **_known(json.loads(word)))
        for (raw, at_ms), word in zip(rows, words, strict=True)
        if word is not None
    ]
    return sorted(found, key=lambda one: one.worker)


_SAID: Final = (
    "started_ms", "version", "concurrency", "running", "silence_ms", "ready", "why",
)  # fmt: skip


def _known(word: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a newer version says beside; the rest it must say, keys aside."""
    encryption = tuple(word.get("encryption_keys") or ())
    keys = word.get("keys", {})
    said = {name: word[name] for name in _SAID}
    return {**said, "keys": keys, "encryption_keys": encryption}
