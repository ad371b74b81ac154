"""Waiting for endings: any number of waiters of one process share one subscription.

A waiter is woken by the publication of its job's outcome. Because a published message can be lost
(it is not kept by Redis), the states of all waiting ids are also read once in a while, a few at a
time: what one loop does for a thousand waiters at a stretch, each of them waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

import redis.asyncio

from worker.encryption.jwe import is_encrypted
from worker.engine.keys import Keyspace
from worker.engine.record import JobState, Record, read_records_async, read_states_async
from worker.engine.redis_errors import speaking_to_redis
from worker.errors import BrokerError

__all__ = ["Waiters"]

#: What a waiter is given: the outcome as it was published, or the record that was read.
_Given = bytes | Record | None

_log = logging.getLogger(__name__)

#: Seconds between fall-back reads; with the read itself a lost message delays a waiter by 1 s.
FALL_BACK_S: Final = 0.8
#: Seconds to wait for the subscription before the first read goes ahead without it.
SUBSCRIBE_S: Final = 0.5
#: First reads at the same moment: each takes a connection, and a process has thousands of waiters.
FIRST_READS: Final = 16
#: States of one fall-back read: what is read at a stretch, each waiter may have to wait for.
SLICE: Final = 50
#: Seconds for which subscriptions that nobody needs are gathered before they are given up.
LEAVE_S: Final = 0.05
#: Seconds after which a task that is to end is told so again.
CANCEL_S: Final = 0.2
#: States that are waited out.
UNDER_WAY: Final = frozenset({b"queued", b"delayed", b"running"})


class Waiters:
    """Waits for jobs to end, on the running event loop.

    Args:
        client: an asyncio client whose replies are bytes; closed by `close`.
        keyspace: names of the keys.
    """

    def __init__(self, client: redis.asyncio.Redis, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace
        self._waiting: dict[str, set[asyncio.Future[_Given]]] = {}
        #: Subscriptions that are asked for, and those that nobody needs any more.
        self._wanted: set[str] = set()
        self._wanting = asyncio.Event()
        self._left: set[str] = set()
        self._leaving = asyncio.Event()
        self._confirmed: dict[bytes, asyncio.Event] = {}
        self._pubsub: Any = None
        # Two commands at once on a subscription that is not connected yet would connect it twice.
        self._commanding = asyncio.Lock()
        self._listening = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._due: set[str] = set()
        self._stirred = asyncio.Event()
        self._reading = asyncio.Semaphore(FIRST_READS)

    async def wait(self, job_id: str) -> Record | None:
        """Wait until a job has ended or is held.

        Returns:
            Its record; None when there is no such job, or none any more.

        Raises:
            BrokerUnavailableError: Redis is unreachable when the wait begins. A wait that has
                begun goes on through an outage.
            EncryptionError: this process cannot decrypt the outcome.
        """
        future: asyncio.Future[_Given] = asyncio.get_running_loop().create_future()
        cancelled = _cancellations()
        first = job_id not in self._waiting and job_id not in self._left
        self._left.discard(job_id)
        self._waiting.setdefault(job_id, set()).add(future)
        try:
            self._ensure_tasks()
            if first:
                await self._subscribe(job_id)
            async with self._reading:
                found = await read_records_async(self._client, self._keyspace, [job_id])
            record = found[job_id]
            if record is None or _is_over(record):
                return record
            if _cancellations() > cancelled:  # the client swallowed it while it read
                raise asyncio.CancelledError
            given = await future
            return (
                record.ended(given, self._keyspace.cipher) if isinstance(given, bytes) else given
            )
        finally:
            self._waiting[job_id].discard(future)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
                self._left.add(job_id)
                self._leaving.set()

    async def close(self) -> None:
        """Stop listening and close the connections."""
        tasks, self._tasks = self._tasks, []
        pending = set(tasks)
        while pending:  # a client that is just reading may swallow a cancellation
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_S)
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._commanding:
            pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            await pubsub.aclose()
        await self._client.aclose()

    def _ensure_tasks(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._listen(), name="waiters listen"),
                asyncio.create_task(self._answer(), name="waiters answer"),
                asyncio.create_task(self._fall_back(), name="waiters fall back"),
                asyncio.create_task(self._join(), name="waiters join"),
                asyncio.create_task(self._leave(), name="waiters leave"),
            ]
            for task in self._tasks:  # an app's loop may end at any time, and without a word
                setattr(task, "_log_destroy_pending", False)  # noqa: B010

    async def _subscribe(self, job_id: str) -> None:
        channel = self._keyspace.channel(job_id)
        confirmed = self._confirmed.setdefault(channel.encode(), asyncio.Event())
        self._wanted.add(job_id)
        self._wanting.set()
        with contextlib.suppress(TimeoutError):  # the fall-back read makes up for it
            async with asyncio.timeout(SUBSCRIBE_S):
                await confirmed.wait()

    async def _subscription(self) -> Any:
        if self._pubsub is None:
            await self._client.initialize()  # a Cluster's subscription needs to know its nodes
            self._pubsub = self._client.pubsub()
        return self._pubsub

    async def _move(self) -> None:
        """Take the subscription to another node: in a Cluster it stays with one that is gone."""
        if getattr(self._client, "nodes_manager", None) is None:
            return
        with contextlib.suppress(BrokerError), speaking_to_redis():
            async with self._commanding:
                if self._pubsub is not None:
                    await self._pubsub.aclose()
                self._pubsub = None
                self._left.clear()
                if self._waiting:
                    channels = [self._keyspace.channel(job_id) for job_id in self._waiting]
                    await (await self._subscription()).subscribe(*channels)

    async def _join(self) -> None:
        """Subscribe to what is asked for, many in one command, until Redis has taken it."""
        while not _is_told_to_end():
            await self._wanting.wait()
            self._wanting.clear()
            wanted, self._wanted = self._wanted & self._waiting.keys(), set()
            if not wanted:
                continue
            channels = [self._keyspace.channel(job_id) for job_id in wanted]
            try:
                with speaking_to_redis():
                    async with self._commanding:
                        await (await self._subscription()).subscribe(*channels)
            except BrokerError as error:
                _log.debug("subscriptions are asked for again: %s", error)
                self._wanted |= wanted
                self._wanting.set()
                await asyncio.sleep(FALL_BACK_S / 2)
            finally:
                self._listening.set()

    async def _leave(self) -> None:
        """Give up subscriptions that nobody needs, many in one command."""
        while not _is_told_to_end():
            await self._leaving.wait()
            await asyncio.sleep(LEAVE_S)
            self._leaving.clear()
            try:
                with speaking_to_redis():
                    async with self._commanding:
                        channels = [self._keyspace.channel(job_id) for job_id in self._left]
                        self._left.clear()
                        for channel in channels:
                            self._confirmed.pop(channel.encode(), None)
                        # A closed one must not connect again.
                        if channels and self._pubsub is not None:
                            await self._pubsub.unsubscribe(*channels)
            except BrokerError as error:
                _log.debug("subscriptions are left to the lost connection: %s", error)

    async def _listen(self) -> None:
        while not _is_told_to_end():
            if self._pubsub is None or not self._pubsub.subscribed:
                self._listening.clear()
                await self._listening.wait()
            try:
                with speaking_to_redis():
                    message = await self._pubsub.get_message(timeout=FALL_BACK_S)
            except BrokerError as error:
                _log.debug("not listening for endings: %s", error)
                await asyncio.sleep(FALL_BACK_S / 2)
                await self._move()
                continue
            if message is None:
                continue
            if message["type"] == "subscribe":
                confirmed = self._confirmed.get(message["channel"])
                if confirmed is not None:
                    confirmed.set()
            elif message["type"] == "message":
                self._hear(message["channel"].decode().rsplit("done:", 1)[1], message["data"])

    def _hear(self, job_id: str, published: bytes) -> None:
        """Hand on a published outcome; a bare word says that there is a record to read."""
        if published.startswith(b"{") or is_encrypted(published):
            for future in self._open(job_id):
                future.set_result(published)
        else:
            self._due.add(job_id)
            self._stirred.set()

    async def _fall_back(self) -> None:
        while not _is_told_to_end():
            if not self._waiting:
                self._listening.clear()
                await self._listening.wait()
            ids = list(self._waiting)
            slices = [ids[begin : begin + SLICE] for begin in range(0, len(ids), SLICE)]
            for one in slices:
                await asyncio.sleep(FALL_BACK_S / len(slices))
                try:
                    states = await read_states_async(self._client, self._keyspace, one)
                except BrokerError as error:
                    _log.debug("states are read again later: %s", error)
                    continue
                if over := {job_id for job_id, state in states.items() if state not in UNDER_WAY}:
                    self._due |= over
                    self._stirred.set()

    async def _answer(self) -> None:
        """Read the records that were announced, many in one round trip, and hand them out."""
        while not _is_told_to_end():
            await self._stirred.wait()
            self._stirred.clear()
            due, self._due = self._due & self._waiting.keys(), set()
            try:
                await self._hand_out(due)
            except BrokerError as error:
                _log.debug("endings are read again later: %s", error)

    async def _hand_out(self, job_ids: set[str]) -> None:
        try:
            records = await read_records_async(self._client, self._keyspace, job_ids)
        except ValueError as error:  # a record of a later version, or one that was tampered with
            if len(job_ids) > 1:
                for job_id in job_ids:
                    await self._hand_out({job_id})
                return
            for future in self._open(*job_ids):
                future.set_exception(error)
            return
        for job_id, record in records.items():
            if record is None or _is_over(record):
                for future in self._open(job_id):
                    future.set_result(record)

    def _open(self, job_id: str) -> list[asyncio.Future[_Given]]:
        return [future for future in self._waiting.get(job_id, ()) if not future.done()]


def _is_told_to_end() -> bool:
    """Say whether this task was cancelled: a client that is just reading may swallow that."""
    return _cancellations() > 0


def _cancellations() -> int:
    """Count the cancellations of this task that nobody has taken back."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _is_over(record: Record) -> bool:
    return record.is_terminal or record.state is JobState.HELD
