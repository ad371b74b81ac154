"""The consumer that feeds dramatiq's worker threads."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, cast

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import ConnectionClosed

from worker.engine import crash_points
from worker.engine.batching import Batching
from worker.engine.bulkhead import LOOK_S as CHOOSY_S
from worker.engine.bulkhead import Bulkhead
from worker.engine.clock_watch import ClockWatch
from worker.engine.delivery import Batch, Delivery, Undecodable, Unreadable
from worker.engine.endings import SCRIPT_OF, Ending, Release
from worker.engine.leases import LeaseBook
from worker.engine.options import EngineOptions
from worker.engine.outage import Outage
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import Argument, Scripts
from worker.errors import BrokerError

__all__ = ["EngineConsumer"]

_log = logging.getLogger(__name__)

#: Most jobs of one fetch: bounds the length of the script.
FETCH_MAX: Final = 64
#: Longest block on the bell, s: a bell rung for a worker that died then is made up for.
LOOK_S: Final = 1.0
#: Longest wait for more room, s: threads that end jobs one after the other share a fetch.
GATHER_S: Final = 0.005

_Ended = tuple[Delivery | Undecodable | Unreadable, Ending]


class EngineConsumer(Consumer):
    """Iterates over deliveries; gives None after each idle wait.

    Args:
        scripts: fetch and end.
        book: the leases of this process on the queue.
        options: numbers of the scripts.
        outage: told when Redis does not answer, and when it does again.
        bulkhead: divides the threads of the process among sites.
        prefetch: most deliveries that are out at the same time.
        timeout_ms: longest idle wait.
    """

    def __init__(
        self,
        scripts: Scripts,
        book: LeaseBook,
        options: EngineOptions,
        outage: Outage,
        bulkhead: Bulkhead,
        *,
        prefetch: int,
        timeout_ms: int,
    ) -> None:
        self._scripts = scripts
        self._keyspace = scripts.keyspace
        self._book = book
        self._options = options
        self._outage = outage
        self._bulkhead = bulkhead
        self._clocks = [ClockWatch() for _ in range(self._keyspace.shards)]
        self._choosy = False  # whether the last fetch left out a site
        self._prefetch = prefetch
        self._timeout_s = timeout_ms / 1000
        self._cache: deque[Delivery] = deque()
        self._unreclaimed = set(range(self._keyspace.shards))
        self._next_shard = 0
        self._endings: Batching[_Ended] = Batching(
            self._end, most=FETCH_MAX, alike=_script_and_shard
        )

    def __next__(self) -> MessageProxy | None:
        """Give the next delivery, or None when the wait was idle.

        Raises:
            ConnectionClosed: Redis is unreachable; dramatiq makes a new consumer after a while.
        """
        if self._cache:
            return self._cache.popleft()
        self._book.looked_at = time.monotonic()
        self._recall()
        room = self._room()
        if room <= 0:
            self._book.room.clear()
            if self._room() <= 0:
                self._book.room.wait(self._timeout_s)
            return None
        room = self._gather(room)
        try:
            wait_ms = self._fetch(room)
            if not self._cache:
                self._wait(wait_ms)
        except BrokerError as error:
            self._outage.began(error)
            raise ConnectionClosed(error) from None
        self._outage.over()
        self._book.looked_at = time.monotonic()
        return self._cache.popleft() if self._cache else None

    def _recall(self) -> None:
        """Let jobs of sites that have gone quiet leave the threads' queue when they come up."""
        for delivery in self._bulkhead.look():
            delivery.recalled = not delivery.sent

    def _room(self) -> int:
        return min(FETCH_MAX, self._prefetch - len(self._book))

    def _gather(self, room: int) -> int:
        """Wait a moment for more room when there is little; what is held keeps threads busy."""
        ends_at = time.monotonic() + GATHER_S
        while room < self._prefetch // 2:
            self._book.room.clear()
            left_s = ends_at - time.monotonic()
            if left_s <= 0 or not self._book.room.wait(left_s):
                break
            room = self._room()
        return max(1, self._room())

    def _fetch(self, room: int) -> int | None:
        """Fill the cache from the shards in turn; give the ms until something comes by itself."""
        waits: list[int] = []
        limits = self._bulkhead.limits()
        self._choosy = bool(limits)
        shards = self._keyspace.shards
        for step in range(shards):
            shard = (self._next_shard + step) % shards
            self._reclaim(shard)
            self._unreclaimed.add(shard)
            reply = self._scripts.run(
                "fetch",
                shard,
                self._options.fetch_arguments(
                    self._book.queue,
                    self._book.worker,
                    room,
                    limits,
                    expected_ms=self._clocks[shard].expected_ms(),
                ),
            )
            self._clocks[shard].note(int(reply[0]))
            self._unreclaimed.discard(shard)
            batch = Batch(
                reply, queue=self._book.queue, shard=shard, lease_ms=self._options.lease_ms,
                cipher=self._keyspace.cipher,
            )  # fmt: skip
            if batch.deliveries:
                crash_points.point("after_fetch")
            for broken in batch.broken:
                self._endings.put((broken, broken.resolve()))
            self._take(batch.deliveries)
            room -= len(batch.deliveries)
            if batch.wait_ms is not None:
                waits.append(batch.wait_ms)
            if room <= 0:
                break
        self._next_shard = (self._next_shard + 1) % shards
        return min(waits, default=None)

    def _take(self, deliveries: list[Delivery]) -> None:
        """Cache what the threads may get now; give the rest back."""
        fitting, surplus = self._bulkhead.split(deliveries)
        self._book.add(fitting)
        self._cache.extend(fitting)
        self._release(surplus)

    def _reclaim(self, shard: int) -> None:
        """After a lost reply: give back the leases that never arrived here."""
        if shard in self._unreclaimed:
            args = [self._book.queue, self._book.worker, *self._book.known(shard)]
            given = self._scripts.run("reclaim", shard, args)
            if given:
                _log.warning("gave back %d jobs whose delivery was lost", len(given))

    def _wait(self, wait_ms: int | None) -> None:
        limit_s = min(CHOOSY_S if self._choosy else LOOK_S, self._timeout_s)
        wait_s = limit_s if wait_ms is None else min(limit_s, max(wait_ms, 1) / 1000)
        bells = [
            self._keyspace.bell(shard, self._book.queue, choosy=self._choosy)
            for shard in range(self._keyspace.shards)
        ]
        with speaking_to_redis():
            if getattr(self._scripts.client, "nodes_manager", None) is None:
                self._scripts.client.blpop(bells, timeout=wait_s)
            else:  # a Cluster takes only keys of one slot at a time
                for bell in bells:
                    self._scripts.client.blpop([bell], timeout=wait_s / len(bells))

    def ack(self, message: MessageProxy) -> None:
        """End a delivery; dramatiq repeats this while Redis is unreachable.

        Raises:
            ConnectionClosed: Redis is unreachable.
        """
        delivery = cast("Delivery", message)
        ending = delivery.resolve()
        try:
            self._endings.put((delivery, ending))
        except BrokerError as error:
            raise ConnectionClosed(error) from None
        self._bulkhead.ended(delivery, ending)
        self._book.drop(delivery)

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give deliveries that never started back to the heads of their lines, in their order.

        Raises:
            ConnectionClosed: Redis is unreachable; the leases lapse by themselves.
        """
        deliveries = cast("list[Delivery]", list(messages))
        for delivery in deliveries:
            self._bulkhead.ended(delivery, Release())
        self._release(deliveries)

    def _release(self, deliveries: list[Delivery]) -> None:
        by_shard: dict[int, list[Delivery]] = {}
        for delivery in deliveries:
            by_shard.setdefault(delivery.shard, []).append(delivery)
        for shard, some in by_shard.items():
            args: list[Argument] = []
            for one in some:
                args += Release(unsure=one.sent).arguments(one.job_id, one.fence)
            try:
                self._scripts.run("release", shard, args)
            except BrokerError as error:
                raise ConnectionClosed(error) from None
            for one in some:
                self._book.drop(one)

    def close(self) -> None:
        """Give back what was fetched and not handed on."""
        cached = list(self._cache)
        self._cache.clear()
        self.requeue(cached)

    def _end(self, batch: Sequence[_Ended]) -> None:
        name, shard = _script_and_shard(batch[0])
        crash_points.point(_POINT_BEFORE[name])
        args = self._options.ending_arguments(name)
        for delivery, ending in batch:
            args += ending.arguments(delivery.job_id, delivery.fence)
        reply = self._scripts.run(name, shard, args)
        crash_points.point("after_finish" if name == "finish" else "while_delayed")
        for (delivery, _), taken in zip(batch, reply, strict=True):
            if not taken:
                _log.info("the ending of job %s was refused: its lease is over", delivery.job_id)


def _script_and_shard(ended: _Ended) -> tuple[str, int]:
    delivery, ending = ended
    return SCRIPT_OF[type(ending)], delivery.shard


_POINT_BEFORE: Final = {
    "finish": "before_finish",
    "retry": "in_retry",
    "bury": "in_bury",
    "release": "in_drain",
}
