"""Reading results: get one, wait for one, follow them all.

reader = ResultReader.from_env()
reader.get(job_id)                     now
reader.wait(job_id, timeout=10)        once it has ended
for result in reader.follow("billing"):   every ending, at least once
    ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final, Self

from worker.client.arguments import job_id_of, job_ids_of, name_of, seconds_of, start_of
from worker.client.connections import Lease, LoopSide
from worker.engine.keys import Keyspace
from worker.engine.options import STREAM_MOST
from worker.engine.record import Record, read_records, read_records_async
from worker.engine.scripts import Argument, AsyncScripts, Scripts
from worker.engine.stream import CLAIM_S, Follower
from worker.engine.wait_reason import read_wait_reason
from worker.errors import BrokerError, ResultMissingError, ResultTimeoutError
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
#: Most seconds that a wait whose time is over asks why.
EXPLAIN_S: Final = 0.3


def events_of(record: Record) -> list[dict[str, Any]]:
    """Give the story of a record: enqueued, attempts, ending."""
    events: list[dict[str, Any]] = [{"event": "enqueued", "at": record.enqueued_at_ms}]
    events += [{"event": "attempt", **json.loads(text)} for text in record.history]
    if record.is_terminal:
        events.append(
            {"event": "published", "at": record.finished_at_ms, "state": record.state.value}
        )
    return events


#: Tells this start of a process from others of the same host and process id, as in containers.
_START: Final = uuid.uuid4().hex[:8]


def _consumer() -> str:
    """Name this process in a group; a fork has an id of its own."""
    return f"{socket.gethostname()}-{os.getpid()}-{_START}"


class _Reader:
    """What both readers share: all but the await."""

    def __init__(self, settings: Settings, *, lease: Lease | None = None) -> None:
        self._lease = lease or Lease(settings, type(self).__name__)
        self._settings = settings
        self._keyspace = Keyspace.of(settings)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a reader from environment variables; see docs/settings.md."""
        return cls(Settings.from_env(environ))

    def _follower(
        self, group: str, consumer: str | None, start: str, claim_after: float
    ) -> Follower:
        claim_s = seconds_of("claim_after", claim_after)
        return Follower(
            self._keyspace,
            group=name_of("group", group),
            consumer=name_of("consumer", consumer or _consumer()),
            start=start_of(start),
            claim_after_s=CLAIM_S if claim_s is None else claim_s,
        )

    async def _no_outcome(self, side: LoopSide, job_id: str) -> ResultTimeoutError:
        """Make the error that says why there is no outcome; without Redis it says less."""
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(EXPLAIN_S):
                found = await read_wait_reason(side.client, self._keyspace, job_id)
                return ResultTimeoutError(job_id, found.state, found.place, found.text)
        return ResultTimeoutError(job_id)

    def _cancelling(self, job_id: str) -> tuple[str, int, list[Argument]]:
        """Give the script, the shard and the arguments that cancel a job."""
        ttl_ms = self._settings.result_ttl_s * _MS
        arguments: list[Argument] = [job_id_of(job_id), ttl_ms, STREAM_MOST]
        return "cancel", self._keyspace.shard_of_job(job_id), arguments


def _known(job_id: str, record: Record | None) -> Record:
    if record is None:
        raise ResultMissingError(job_id)
    return record


def _results_of(records: Mapping[str, Record | None]) -> dict[str, JobResult | None]:
    return {
        job_id: None if record is None else JobResult.of_record(record)
        for job_id, record in records.items()
    }


def _cancelled(job_id: str, word: bytes) -> str:
    if word == b"missing":
        raise ResultMissingError(job_id)
    return word.decode()


class ResultReader(_Reader):
    """Reads results. Threads may share one.

    Args:
        settings: where Redis is.

    Raises:
        ArgumentError: from every method, for a value of the wrong type.
        BrokerUnavailableError: from every method, while Redis is unreachable; a wait that has
            begun goes on by itself.
        EncryptionError: from every method that gives an outcome which cannot be decrypted here;
            `EncryptionKeyMissingError` names the key.
    """

    def get(self, job_id: str) -> JobResult:
        """Read a job as it is now.

        Raises:
            ResultMissingError: it is not known.
        """
        return JobResult.of_record(self._record(job_id))

    def get_many(self, job_ids: Iterable[str]) -> dict[str, JobResult | None]:
        """Read many jobs in a few round trips; None for those that are not known."""
        ids = job_ids_of(job_ids)
        with self._lease.asking() as client:
            return _results_of(read_records(client, self._keyspace, ids))

    def wait(self, job_id: str, timeout: float | None = None) -> JobResult:
        """Wait until a job has ended or is held.

        Args:
            job_id: its id.
            timeout: most seconds to wait; None waits for ever.

        Raises:
            ResultTimeoutError: it goes on; the error says where it is and what it waits for.
            ResultMissingError: it is not known.
        """
        job_id, timeout = job_id_of(job_id), seconds_of("timeout", timeout)
        try:
            record = self._lease.call(
                lambda side: side.waiters(self._keyspace).wait(job_id), timeout_s=timeout
            )
        except TimeoutError:
            raise self._lease.call(lambda side: self._no_outcome(side, job_id)) from None
        return JobResult.of_record(_known(job_id, record))

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Read what happened to a job: `enqueued`, each `attempt`, `published`; oldest first."""
        return events_of(self.record(job_id))

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
        call = self._cancelling(job_id)
        with self._lease.asking() as client:
            return _cancelled(job_id, Scripts(client, self._keyspace).run(*call))

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
            consumer: name of this consumer; one of this process and its start when None.
            start: where a new group starts: "0" is the oldest kept, "$" only what comes.
            timeout: end after so many seconds without an ending, and never before a look at what
                is there; None never ends.
            claim_after: seconds after which a result that another consumer has in hand is taken
                over; longer than the handling of a hundred results takes.

        Yields:
            Results, in the order of their endings within a shard.

        Raises:
            OutcomesMissedError: endings were cut before the group had handled them: it was away
                for longer than `LARGESSE_STREAM_MAX_AGE_S`, or for more than
                `LARGESSE_STREAM_MAX_LEN` endings. Raised once; follow again to go on.
        """
        follower = self._follower(group, consumer, start, claim_after)
        timeout = seconds_of("timeout", timeout)
        with self._lease.holding() as held:
            outcomes = follower.follow(held.side.client, timeout)

            async def step() -> bytes | None:
                return await anext(outcomes, None)

            try:
                while (outcome := held.loop.call(step)) is not None:
                    yield JobResult.of_outcome(outcome)
            finally:
                held.loop.call(outcomes.aclose)

    def close(self) -> None:
        """Give the connections back. A later call takes them anew."""
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _record(self, job_id: str, *, history: bool = False) -> Record:
        ids = [job_id_of(job_id)]
        with self._lease.asking() as client:
            found = read_records(client, self._keyspace, ids, history=history)
        return _known(job_id, found[job_id])


class AsyncResultReader(_Reader):
    """The same for asyncio, on any event loop. Methods and errors as of `ResultReader`."""

    async def get(self, job_id: str) -> JobResult:
        """Read a job as it is now."""
        return JobResult.of_record(await self._record(job_id))

    async def get_many(self, job_ids: Iterable[str]) -> dict[str, JobResult | None]:
        """Read many jobs in a few round trips; None for those that are not known."""
        ids = job_ids_of(job_ids)
        return _results_of(
            await self._lease.run(
                lambda side: read_records_async(side.client, self._keyspace, ids)
            )
        )

    async def wait(self, job_id: str, timeout: float | None = None) -> JobResult:  # noqa: ASYNC109
        """Wait until a job has ended or is held; see `ResultReader.wait`."""
        job_id, timeout = job_id_of(job_id), seconds_of("timeout", timeout)

        async def wait(side: LoopSide) -> Record | None:
            async with asyncio.timeout(timeout):
                return await side.waiters(self._keyspace).wait(job_id)

        try:
            record = await self._lease.run(wait)
        except TimeoutError:
            raise await self._lease.run(lambda side: self._no_outcome(side, job_id)) from None
        return JobResult.of_record(_known(job_id, record))

    async def events(self, job_id: str) -> list[dict[str, Any]]:
        """Read what happened to a job."""
        return events_of(await self.record(job_id))

    async def record(self, job_id: str) -> Record:
        """Read the whole record of a job, history included."""
        return await self._record(job_id, history=True)

    async def cancel(self, job_id: str) -> str:
        """Cancel a job; see `ResultReader.cancel`."""
        call = self._cancelling(job_id)
        word: bytes = await self._lease.run(
            lambda side: AsyncScripts(side.client, self._keyspace).run(*call)
        )
        return _cancelled(job_id, word)

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
        follower = self._follower(group, consumer, start, claim_after)
        timeout = seconds_of("timeout", timeout)
        with self._lease.holding() as held:
            side = await held.side_here()
            async with aclosing(follower.follow(side.client, timeout)) as outcomes:
                async for outcome in outcomes:
                    yield JobResult.of_outcome(outcome)

    async def aclose(self) -> None:
        """Give the connections back. A later call takes them anew."""
        await self._lease.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def _record(self, job_id: str, *, history: bool = False) -> Record:
        ids = [job_id_of(job_id)]
        found = await self._lease.run(
            lambda side: read_records_async(side.client, self._keyspace, ids, history=history)
        )
        return _known(job_id, found[job_id])
