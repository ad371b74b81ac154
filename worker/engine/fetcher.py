"""The feeder of one queue on one shard: fetches as many jobs as there is room for, else waits."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio

from worker.engine import crash_points
from worker.engine.bulkhead import Bulkhead
from worker.engine.clock_watch import ClockWatch
from worker.engine.consumer import LOOK_S
from worker.engine.delivery import Batch, Delivery
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import AsyncScripts
from worker.errors import BrokerError

if TYPE_CHECKING:
    from worker.engine.broker import EngineBroker

__all__ = ["Fetcher"]

_log = logging.getLogger(__name__)

#: Seconds between tries while Redis is unreachable.
RETRY_FIRST_S: Final = 0.1
RETRY_MAX_S: Final = 1.0
#: Shortest block on the bell, s: 0 would mean for ever.
WAIT_MIN_S: Final = 0.001


class Fetcher:
    """Fetches from one queue of one shard.

    Args:
        broker: for names and bounds.
        scripts: the connection for scripts.
        bell: a client of its own for blocking reads.
        queue, shard: what to fetch from.
        worker: who holds the leases; unique per fetcher.
        bulkhead: names the sites that may not have all of the room.
        next_relief: gives what is done as soon as one of these may have more.
        take_room: keeps room for a fetch and gives how many jobs fit; 0 when there is none.
        leave_room: gives kept room back once the jobs have started.
        wait_for_room: waits until there is some.
        start: takes a batch.
        look_s: longest block on the bell, s.
    """

    def __init__(
        self,
        broker: EngineBroker,
        *,
        scripts: AsyncScripts,
        bell: redis.asyncio.Redis,
        queue: str,
        shard: int,
        worker: str,
        bulkhead: Bulkhead,
        next_relief: Callable[[], asyncio.Future[None]],
        take_room: Callable[[], int],
        leave_room: Callable[[int], None],
        wait_for_room: Callable[[], asyncio.Future[None]],
        start: Callable[[Batch], None],
        look_s: float = LOOK_S,
    ) -> None:
        self._broker = broker
        self._scripts = scripts
        self._bell = bell
        self.queue = queue
        self.shard = shard
        self.worker = worker
        self._bulkhead = bulkhead
        self._next_relief = next_relief
        #: Of the last fetch, when some sites were limited.
        self._relief: asyncio.Future[None] | None = None
        self._take_room = take_room
        self._leave_room = leave_room
        self._wait_for_room = wait_for_room
        self._start = start
        self._look_s = look_s
        #: Deliveries in hand, by id, until Redis has taken their endings.
        self.held: dict[str, Delivery] = {}
        #: Monotonic seconds of the last answer of Redis to a fetch or a wait.
        self.looked_at = time.monotonic()
        self._unsure = True
        self._clock = ClockWatch()

    async def run(self, stopping: asyncio.Event) -> None:
        """Feed until told to stop."""
        retry_s = RETRY_FIRST_S
        stop = asyncio.ensure_future(stopping.wait())
        try:
            while not stopping.is_set():
                try:
                    if not await self._step(stop):
                        return
                    retry_s = RETRY_FIRST_S
                except BrokerError as error:
                    self._broker.outage.began(error)
                    await asyncio.wait([stop], timeout=retry_s * random.uniform(0.5, 1))
                    retry_s = min(RETRY_MAX_S, retry_s * 2)
        finally:
            stop.cancel()

    async def _step(self, stop: asyncio.Future[Any]) -> bool:
        """Fetch once, or wait once; False when it is time to stop."""
        room = self._take_room()
        if room <= 0:
            going_on = await _first_of(stop, self._wait_for_room())
            self.looked_at = time.monotonic()  # silence counts while there is room
            return going_on
        try:
            batch = await self.fetch(room)
        finally:
            self._leave_room(room)
        if batch.deliveries or batch.broken:
            return True
        wait_s = self._look_s
        if batch.wait_ms is not None:
            wait_s = min(wait_s, max(WAIT_MIN_S, batch.wait_ms / 1000))
        relief = self._relief
        bell = self._broker.keyspace.bell(self.shard, self.queue, choosy=relief is not None)
        ringing = asyncio.ensure_future(self._bell.blpop([bell], timeout=wait_s))
        with speaking_to_redis():
            going_on = await _first_of(stop, ringing, relief)
        self.looked_at = time.monotonic()
        return going_on

    async def fetch(self, room: int) -> Batch:
        """Fetch up to `room` jobs and start them."""
        if self._unsure:
            await self._reclaim()
        self._unsure = True
        relief = self._next_relief()
        limits = self._bulkhead.limits()
        self._relief = relief if limits else None
        args = self._broker.options.fetch_arguments(
            self.queue, self.worker, room, limits, expected_ms=self._clock.expected_ms()
        )
        reply = await self._scripts.run("fetch", self.shard, args)
        self._clock.note(int(reply[0]))
        self._unsure = False
        self._broker.outage.over()
        self.looked_at = time.monotonic()
        batch = Batch(
            reply, queue=self.queue, shard=self.shard, lease_ms=self._broker.options.lease_ms,
            cipher=self._broker.keyspace.cipher,
        )  # fmt: skip
        if batch.deliveries:
            crash_points.point("after_fetch")
        self.held.update((one.job_id, one) for one in batch.deliveries)
        self._start(batch)
        return batch

    async def _reclaim(self) -> None:
        """After a lost reply: give back the leases that never arrived here."""
        given = await self._scripts.run(
            "reclaim", self.shard, [self.queue, self.worker, *self.held]
        )
        if given:
            _log.warning("gave back %d jobs whose delivery was lost", len(given))

    async def renew(self) -> list[Delivery]:
        """Extend every lease in hand.

        Returns:
            The deliveries whose leases are somebody else's by now.
        """
        held = list(self.held.values())
        if not held:
            return []
        asked = time.monotonic()
        args: list[str | int] = [self.queue, self._broker.options.lease_ms]
        for one in held:
            args += [one.job_id, one.fence]
        reply = await self._scripts.run("renew", self.shard, args)
        lost_ids = {raw.decode() for raw in reply}
        lost = []
        for one in held:
            if one.job_id not in lost_ids:
                one.lease_until = asked + self._broker.options.lease_ms / 1000
            elif self.held.get(one.job_id) is one:
                one.lease_until = 0.0
                lost.append(one)
        return lost


async def _first_of(
    stop: asyncio.Future[Any],
    waiting: asyncio.Future[Any],
    relief: asyncio.Future[Any] | None = None,
) -> bool:
    """Wait for one of them; False when it is time to stop. What `waiting` raises is raised."""
    ends = [stop, waiting] if relief is None else [stop, waiting, relief]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
        return not stop.done()
    finally:
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait([waiting])
