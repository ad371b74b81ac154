"""Reading results: get one, wait for one, follow them all.

reader = ResultReader.from_env()
reader.get(job_id)                     now
reader.wait(job_id, timeout=10)        once it has ended
for result in reader.follow("billing"):   every ending, at least once
    ...
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Final, Self

import redis
import redis.asyncio

from worker.engine.background_loop import BackgroundLoop
from worker.engine.connection import PRODUCER, connect, connect_async
from worker.engine.keys import Keyspace
from worker.engine.record import Record, read_records, read_records_async
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import AsyncScripts, Scripts
from worker.engine.stream import CLAIM_S, AsyncFollower, Follower
from worker.engine.waiters import Waiters
from worker.errors import ResultMissingError, ResultTimeoutError
from worker.jobs.job_result import Failure, HostedPage, JobResult
from worker.settings import Settings

__all__ = [
    "AsyncResultReader",
    "Failure",
    "HostedPage",
    "JobResult",
    "ResultReader",
    "events_of",
]

_MS: Final = 1000


def _consumer_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def events_of(record: Record) -> list[dict[str, Any]]:
    """Give the story of a record: enqueued, attempts, ending."""
    events: list[dict[str, Any]] = [{"event": "enqueued", "at": record.enqueued_at_ms}]
    events += [{"event": "attempt", **json.loads(text)} for text in record.history]
    if record.is_terminal:
        events.append(
            {"event": "published", "at": record.finished_at_ms, "state": record.state.value}
        )
    return events


class ResultReader:
    """Reads results. Threads may share one.

    Args:
        settings: where Redis is.

    Raises:
        BrokerUnavailableError: from every method, while Redis is away; waits go on by themselves
            once they have begun.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyspace = Keyspace(settings.namespace, settings.shards)
        self._client: redis.Redis = connect(settings.redis, PRODUCER)
        self._loop = BackgroundLoop()
        self._waiters: Waiters | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a reader from environment variables; see docs/settings.md."""
        return cls(Settings.from_env(environ))

    def get(self, job_id: str) -> JobResult:
        """Read a job as it is now.

        Raises:
            ResultMissingError: it is not known.
        """
        return JobResult.of_record(self._record(job_id))

    def get_many(self, job_ids: Iterable[str]) -> dict[str, JobResult | None]:
        """Read many jobs in a few round trips; None for those that are not known."""
        records = read_records(self._client, self._keyspace, job_ids)
        return {
            job_id: None if record is None else JobResult.of_record(record)
            for job_id, record in records.items()
        }

    def wait(self, job_id: str, timeout: float | None = None) -> JobResult:
        """Wait until a job has ended or is held.

        Args:
            job_id: its id.
            timeout: most seconds to wait; None waits for ever.

        Raises:
            ResultTimeoutError: it goes on.
            ResultMissingError: it is not known.
        """
        try:
            record = self._loop.call(lambda: self._wait(job_id), timeout_s=timeout)
        except TimeoutError:
            raise ResultTimeoutError(job_id) from None
        if record is None:
            raise ResultMissingError(job_id)
        return JobResult.of_record(record)

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Read what happened to a job: `enqueued`, each `attempt`, `published`; oldest first."""
        return events_of(self._record(job_id, history=True))

    def record(self, job_id: str) -> Record:
        """Read the whole record of a job, history included."""
        return self._record(job_id, history=True)

    def cancel(self, job_id: str) -> str:
        """Cancel a job: a waiting one at once, a running one after its attempt.

        Returns:
            "cancelled", "cancelling", or the terminal state it already has.

        Raises:
            ResultMissingError: it is not known.
        """
        scripts = Scripts(self._client, self._keyspace)
        arguments = _cancel_arguments(self._settings, job_id)
        word: bytes = scripts.run("cancel", self._keyspace.shard_of_job(job_id), arguments)
        if word == b"missing":
            raise ResultMissingError(job_id)
        return word.decode()

    def follow(
        self,
        group: str,
        *,
        consumer: str | None = None,
        start: str = "0",
        timeout: float | None = None,
        claim_after: float = CLAIM_S,
    ) -> Iterator[JobResult]:
        """Follow every ending, at least once.

        A result counts as handled when the next one is asked for. Consumers of one group share the
        endings; what a consumer that died had not handled goes to the others after a while.

        Args:
            group: name of the group; it remembers what was handled.
            consumer: name of this consumer; host and process id when None.
            start: where a new group starts: "0" is the oldest kept, "$" only what comes.
            timeout: end after so many seconds without an ending, and never before a look at what
                is there; None never ends.
            claim_after: seconds after which a result that another consumer has in hand is taken
                over; longer than the handling of a hundred results takes.

        Yields:
            Results, in the order of their endings within a shard.
        """
        follower = Follower(
            connect(self._settings.redis, PRODUCER),
            self._keyspace,
            group=group,
            consumer=consumer or _consumer_name(),
            start=start,
            claim_after_s=claim_after,
        )
        try:
            for outcome in follower.follow(timeout):
                yield JobResult.of_outcome(outcome)
        finally:
            follower.close()

    def close(self) -> None:
        """Close the connections."""
        if self._waiters is not None and not self._loop.is_fresh():
            self._loop.call(self._waiters.close, timeout_s=2)
        self._loop.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _record(self, job_id: str, *, history: bool = False) -> Record:
        record = read_records(self._client, self._keyspace, [job_id], history=history)[job_id]
        if record is None:
            raise ResultMissingError(job_id)
        return record

    async def _wait(self, job_id: str) -> Record | None:
        # Made on the loop it lives on; a fork starts a new loop, and with it new waiters.
        if self._waiters is None or not self._waiters.is_here():
            self._waiters = Waiters(connect_async(self._settings.redis, PRODUCER), self._keyspace)
        return await self._waiters.wait(job_id)


class AsyncResultReader:
    """The same for asyncio. Methods and errors as of `ResultReader`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyspace = Keyspace(settings.namespace, settings.shards)
        self._client: redis.asyncio.Redis = connect_async(settings.redis, PRODUCER)
        self._waiters = Waiters(connect_async(settings.redis, PRODUCER), self._keyspace)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a reader from environment variables; see docs/settings.md."""
        return cls(Settings.from_env(environ))

    async def get(self, job_id: str) -> JobResult:
        """Read a job as it is now."""
        return JobResult.of_record(await self._record(job_id))

    async def get_many(self, job_ids: Iterable[str]) -> dict[str, JobResult | None]:
        """Read many jobs in a few round trips; None for those that are not known."""
        records = await read_records_async(self._client, self._keyspace, job_ids)
        return {
            job_id: None if record is None else JobResult.of_record(record)
            for job_id, record in records.items()
        }

    async def wait(self, job_id: str, timeout: float | None = None) -> JobResult:  # noqa: ASYNC109
        """Wait until a job has ended or is held; see `ResultReader.wait`."""
        waiting = self._waiters.wait(job_id)
        try:
            record = await _within(waiting, timeout)
        except TimeoutError:
            raise ResultTimeoutError(job_id) from None
        if record is None:
            raise ResultMissingError(job_id)
        return JobResult.of_record(record)

    async def events(self, job_id: str) -> list[dict[str, Any]]:
        """Read what happened to a job."""
        return events_of(await self._record(job_id, history=True))

    async def record(self, job_id: str) -> Record:
        """Read the whole record of a job, history included."""
        return await self._record(job_id, history=True)

    async def cancel(self, job_id: str) -> str:
        """Cancel a job; see `ResultReader.cancel`."""
        scripts = AsyncScripts(self._client, self._keyspace)
        arguments = _cancel_arguments(self._settings, job_id)
        word: bytes = await scripts.run("cancel", self._keyspace.shard_of_job(job_id), arguments)
        if word == b"missing":
            raise ResultMissingError(job_id)
        return word.decode()

    async def follow(
        self,
        group: str,
        *,
        consumer: str | None = None,
        start: str = "0",
        timeout: float | None = None,  # noqa: ASYNC109 - ends the iteration, raises nothing
        claim_after: float = CLAIM_S,
    ) -> AsyncIterator[JobResult]:
        """Follow every ending, at least once; see `ResultReader.follow`."""
        follower = AsyncFollower(
            connect_async(self._settings.redis, PRODUCER),
            self._keyspace,
            group=group,
            consumer=consumer or _consumer_name(),
            start=start,
            claim_after_s=claim_after,
        )
        try:
            async for outcome in follower.follow(timeout):
                yield JobResult.of_outcome(outcome)
        finally:
            await follower.close()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._waiters.close()
        with speaking_to_redis():
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def _record(self, job_id: str, *, history: bool = False) -> Record:
        found = await read_records_async(self._client, self._keyspace, [job_id], history=history)
        record = found[job_id]
        if record is None:
            raise ResultMissingError(job_id)
        return record


def _cancel_arguments(settings: Settings, job_id: str) -> list[str | int]:
    return [job_id, settings.result_ttl_s * _MS, settings.stream_max_len]


async def _within(
    waiting: Coroutine[Any, Any, Record | None], timeout_s: float | None
) -> Record | None:

    async with asyncio.timeout(timeout_s):
        return await waiting
