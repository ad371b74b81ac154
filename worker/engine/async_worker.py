"""The worker that runs jobs as tasks on an event loop: hundreds in flight, no thread each.

The same broker, actors, middleware and signals as under dramatiq's own worker threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from worker.engine.ack_buffer import AckBuffer
from worker.engine.broker import EngineBroker
from worker.engine.bulkhead import LOOK_S as WATCH_S
from worker.engine.bulkhead import Bulkhead
from worker.engine.connection import WORKER, connect_async
from worker.engine.consumer import FETCH_MAX, LOOK_S
from worker.engine.delivery import Batch, Delivery, Undecodable, Unreadable
from worker.engine.endings import Ending, Finish, Release
from worker.engine.fetcher import Fetcher
from worker.engine.runner import Runner
from worker.engine.scripts import AsyncScripts
from worker.errors import BrokerError
from worker.settings.redis_address import RedisAddress

__all__ = ["AsyncWorker"]

_log = logging.getLogger(__name__)

#: Jobs that one process runs at the same time, unless told otherwise.
CONCURRENCY: Final = 128
#: Seconds that running jobs get at shutdown.
GRACE_S: Final = 25.0
#: Longest block on a bell, s, when a process has many of them: below the wait for an answer.
LOOK_MAX_S: Final = 4.0
#: Seconds for the last endings and releases once the grace is over.
LAST_S: Final = 1.0


class AsyncWorker:
    """Runs the jobs of a broker on the running event loop.

    Args:
        broker: the broker, its actors declared.
        address: where Redis is, for connections of the loop.
        concurrency: most jobs at the same time; up to twice as many while calls of a site hang.
        queues: the queues to serve; all declared ones when None.
        grace_s: seconds that running jobs get at shutdown.
    """

    def __init__(
        self,
        broker: EngineBroker,
        address: RedisAddress | str,
        *,
        concurrency: int = CONCURRENCY,
        queues: set[str] | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self.broker = broker
        self.concurrency = concurrency
        self._grace_s = grace_s
        self._runner = Runner(broker)
        self._client = connect_async(address, WORKER)
        self._bell = connect_async(address, WORKER)
        scripts = AsyncScripts(self._client, broker.keyspace, moved_clock=broker.moved_clock)
        self._ack_buffer = AckBuffer(broker, scripts, self._ended)
        self._tasks: dict[Delivery, asyncio.Task[None]] = {}
        self._bulkhead = Bulkhead(concurrency, overflow=True, exclusions=broker.exclusions)
        self._relief: asyncio.Future[None] | None = None
        #: Jobs whose endings Redis has taken.
        self.ended = 0
        self._asked = 0
        self._stopping: asyncio.Event | None = None
        self._room = asyncio.Event()
        self._room.set()
        names = sorted(queues or broker.get_declared_queues())
        places = [(name, shard) for name in names for shard in range(broker.keyspace.shards)]
        self._fetchers = {
            (queue, shard): Fetcher(
                broker,
                scripts=scripts,
                bell=self._bell,
                queue=queue,
                shard=shard,
                worker=f"{broker.broker_id}:{queue}",
                bulkhead=self._bulkhead,
                next_relief=self._next_relief,
                take_room=self._take_room,
                leave_room=self._leave_room,
                wait_for_room=self._wait_for_room,
                start=self._start,
                look_s=min(LOOK_MAX_S, LOOK_S * len(places)),
            )
            for queue, shard in places
        }

    def room(self) -> int:
        """Give how many more jobs may start now."""
        return self._bulkhead.room() - self._asked

    def _take_room(self) -> int:
        """Keep room for a fetch, so that two feeders never fill the same places."""
        room = max(0, min(FETCH_MAX, self.room()))
        self._asked += room
        return room

    def _leave_room(self, room: int) -> None:
        self._asked -= room
        self._room.set()

    def running(self) -> int:
        """Give how many jobs run now."""
        return len(self._tasks)

    def silence_s(self) -> float:
        """Give the seconds since the slowest feeder last heard from Redis while it had room.

        Room that is kept for a fetch counts as room: a fetch that never returns must show.
        """
        if not self._fetchers or self._bulkhead.room() <= 0:
            return 0.0
        return time.monotonic() - min(one.looked_at for one in self._fetchers.values())

    def is_stopping(self) -> bool:
        """Say whether it was told to stop."""
        return self._stopping is not None and self._stopping.is_set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop, then end or give back what runs.

        Args:
            stopping: set by the caller, for example on SIGTERM.
        """
        self._stopping = stopping
        self._runner.emit_after("process_boot")
        self._runner.emit_before("worker_boot", self)
        ack_buffer = asyncio.create_task(self._ack_buffer.run(), name="ack_buffer")
        renewal = asyncio.create_task(self._renew_on(), name="renewal")
        watch = asyncio.create_task(self._watch(), name="bulkhead")
        fetchers = [
            asyncio.create_task(one.run(stopping), name=f"fetcher {one.queue}:{one.shard}")
            for one in self._fetchers.values()
        ]
        self._runner.emit_after("worker_boot", self)
        try:
            await asyncio.gather(stopping.wait(), *fetchers)
            await self._drain()
        finally:
            self._runner.emit_before("worker_shutdown", self)
            for task in (*fetchers, watch, renewal, ack_buffer):
                task.cancel()
            await asyncio.gather(*fetchers, watch, renewal, ack_buffer, return_exceptions=True)
            self._runner.emit_after("worker_shutdown", self)
            await self._client.aclose()
            await self._bell.aclose()

    def _wait_for_room(self) -> asyncio.Task[None]:
        async def wait() -> None:
            self._room.clear()
            if self.room() <= 0:
                await self._room.wait()

        return asyncio.create_task(wait())

    def _next_relief(self) -> asyncio.Future[None]:
        """Give what is done as soon as a site may get more calls than now."""
        if self._relief is None or self._relief.done():
            self._relief = asyncio.get_running_loop().create_future()
        return self._relief

    async def _watch(self) -> None:
        """Look for sites whose calls do not come back: their slots are room for others."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self._bulkhead.look():
                self._room.set()

    def _start(self, batch: Batch) -> None:
        for broken in batch.broken:
            self._ack_buffer.put(broken, broken.resolve())
        fitting, surplus = self._bulkhead.split(batch.deliveries)
        for delivery in surplus:
            self._ack_buffer.put(delivery, Release())
        for delivery in sorted(fitting, key=self._priority):
            task = asyncio.create_task(self._work_on(delivery))
            self._tasks[delivery] = task

    def _priority(self, delivery: Delivery) -> int:
        actor = self.broker.actors.get(delivery.actor_name)
        return 0 if actor is None else actor.priority

    async def _work_on(self, delivery: Delivery) -> None:
        try:
            await self._runner.run(delivery)
            ending = self._resolve(delivery)
        except asyncio.CancelledError:
            ending = Release(unsure=delivery.sent)
        except Exception:  # noqa: BLE001 - see below
            # Nothing of a job may take the worker down; the delivery counts as one without an
            # ending.
            _log.critical("job %s broke its worker's task", delivery.job_id, exc_info=True)
            delivery.fail()
            ending = delivery.resolve()
        self._tasks.pop(delivery, None)
        relieved = self._bulkhead.ended(delivery, ending)
        if relieved and self._relief is not None and not self._relief.done():
            self._relief.set_result(None)
        self._room.set()
        if delivery.is_leased() or not isinstance(ending, Release):
            self._ack_buffer.put(delivery, ending)
        else:
            self._forget(delivery)

    def _resolve(self, delivery: Delivery) -> Ending:
        if not isinstance(delivery.ending, Release):
            self._runner.emit_before("nack" if delivery.failed else "ack", delivery)
            if delivery.failed:
                self.broker.take_failure(delivery)
        return delivery.resolve()

    def _ended(
        self, delivery: Delivery | Undecodable | Unreadable, ending: Ending, taken: bool
    ) -> None:
        if isinstance(delivery, Undecodable | Unreadable):
            return
        self._forget(delivery)
        self.ended += taken
        if not taken:
            _log.info("the ending of job %s was refused: its lease is over", delivery.job_id)
        elif isinstance(ending, Release):
            return
        elif isinstance(ending, Finish):
            self._runner.emit_after("ack", delivery)
        else:
            self._runner.emit_after("nack" if delivery.failed else "ack", delivery)
        delivery.clear_exception()

    def _forget(self, delivery: Delivery) -> None:
        held = self._fetchers[delivery.queue_name, delivery.shard].held
        if held.get(delivery.job_id) is delivery:
            del held[delivery.job_id]

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(self.broker.options.renew_ms / 1000)
            for fetcher in self._fetchers.values():
                try:
                    lost = await fetcher.renew()
                except BrokerError as error:
                    self.broker.outage.began(error)
                    continue
                for delivery in lost:
                    _log.warning(
                        "the lease of job %s is over: it is left to others", delivery.job_id
                    )
                    task = self._tasks.get(delivery)
                    if task is not None:
                        task.cancel()

    async def _drain(self) -> None:
        """Let running jobs end within the grace, give the rest back at once."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=self._grace_s)
        late = list(self._tasks.values())
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=LAST_S)
        if not await self._ack_buffer.drained(LAST_S):
            _log.warning("%d endings are left to the lapse of their leases", len(self._ack_buffer))
