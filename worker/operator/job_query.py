"""Finding jobs through the indexes that the queue keeps anyway: nothing is scanned.

Waiting jobs are in their lines, delayed and running ones in sorted sets, ended ones in the stream
of outcomes and among the dead; a key says the id of its job by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace
from worker.engine.record import TERMINAL, JobState, Record, read_records
from worker.engine.redis_errors import speaking_to_redis
from worker.errors import EncryptionError
from worker.jobs.job import job_id_of
from worker.operations import OPERATIONS
from worker.operator.dead_letters import DeadLetter
from worker.operator.filters import Condition, codes_of
from worker.operator.site_state import LANES

__all__ = ["Found", "JobQuery", "find_jobs"]

#: Ids of one page.
PAGE: Final = 500
#: Ids that one search looks at in each index; a search by page looks at the whole stream.
LOOK_MAX: Final = 20_000
#: Jobs that a search gives without a limit of its own.
LIMIT: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs; what is None lets every job through.

    Attributes:
        job_id: the job of this id alone.
        key: jobs of this key of the caller's.
        page_id: the job that made this hosted page.
        site, kind: exactly these.
        states: one of these.
        code: class, API error code or HTTP status of its outcome or its last attempt.
        where: conditions on `JOB_FIELDS`, all of which must be met.
        since_ms, until_ms: enqueued at this Unix ms or later, and before this one.
        limit: most jobs.
    """

    job_id: str | None = None
    key: str | None = None
    page_id: str | None = None
    site: str | None = None
    kind: str | None = None
    states: frozenset[JobState] = frozenset(JobState)
    code: str | None = None
    where: Sequence[Condition] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    limit: int = LIMIT

    @property
    def needs_history(self) -> bool:
        """Whether earlier attempts must be read to judge a job."""
        return self.code is not None or bool(self.where)

    def fits(self, record: Record | None) -> bool:
        """Say whether a record is meant; the page is looked for in the stream."""
        if record is None or record.state not in self.states:
            return False
        if self.key is not None and not self._has_key(record):
            return False
        wanted = ((self.site, record.site), (self.kind, record.kind))
        if any(value is not None and value != found for value, found in wanted):
            return False
        at_ms = record.enqueued_at_ms or 0
        if self.since_ms is not None and at_ms < self.since_ms:
            return False
        if self.until_ms is not None and at_ms >= self.until_ms:
            return False
        return not self.needs_history or self._fits_closely(record)

    def _has_key(self, record: Record) -> bool:
        # The id says so too, when the key cannot be decrypted here.
        own_id = job_id_of(record.site, record.kind, self.key)
        return self.key == record.key or own_id == record.job_id

    def _fits_closely(self, record: Record) -> bool:
        entry = {
            **DeadLetter(job_id=record.job_id, at_ms=0, record=record).as_json(),
            "lane": record.lane,
            "deliveries": record.deliveries,
            "due_at": record.due_at_ms,
            "deadline_at": record.deadline_at_ms,
            "finished_at": record.finished_at_ms,
        }
        if self.code is not None and self.code.lower() not in codes_of(entry):
            return False
        return all(condition.fits(entry) for condition in self.where)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        records: the jobs, enqueued last first.
        is_partial: True when there may be more: the limit or the bound of the search was met.
    """

    records: list[Record]
    is_partial: bool


def find_jobs(
    client: redis.Redis, keyspace: Keyspace, query: JobQuery, *, sites: Iterable[str] = ()
) -> Found:
    """Find jobs.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        query: which.
        sites: names of sites; a key is looked for in each.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    if query.job_id is not None or query.key is not None:
        ids = [query.job_id] if query.job_id is not None else _ids_of_key(query, sites)
        records = read_records(client, keyspace, ids, history=query.needs_history).values()
        return Found([one for one in records if one is not None and query.fits(one)], False)
    search = _Search(client, keyspace, query)
    for source in search.sources():
        search.take(source)
    found = sorted(search.found.values(), key=lambda one: -(one.enqueued_at_ms or 0))
    return Found(found[: query.limit], search.is_partial or len(found) > query.limit)


def _ids_of_key(query: JobQuery, sites: Iterable[str]) -> list[str]:
    names = [query.site] if query.site is not None else list(sites)
    kinds = [query.kind] if query.kind is not None else list(OPERATIONS)
    return [job_id_of(site, kind, query.key) for site in names for kind in kinds]


class _Search:
    """One search over all indexes that may hold what is asked for."""

    def __init__(self, client: redis.Redis, keyspace: Keyspace, query: JobQuery) -> None:
        self._client = client
        self._keyspace = keyspace
        self._query = query
        self.found: dict[str, Record] = {}
        self.is_partial = False

    def sources(self) -> Iterator[Iterator[list[str]]]:
        """Give the indexes, each as pages of ids, the newest first."""
        states = self._query.states
        for shard in self._shards():
            prefix = self._keyspace.prefix(shard)
            if self._query.page_id is not None:
                yield self._stream(prefix)
                continue
            with speaking_to_redis():
                queues: Any = self._client.smembers(f"{prefix}queues")
            for name in sorted(one.decode() for one in queues):
                if JobState.RUNNING in states:
                    yield self._sorted_set(f"{prefix}q:{name}:leases")
                if JobState.DELAYED in states:
                    yield self._sorted_set(f"{prefix}q:{name}:delayed")
                if JobState.QUEUED in states:
                    yield from self._lines(f"{prefix}q:{name}:")
            if JobState.HELD in states:
                yield self._sorted_set(f"{prefix}held")
            if JobState.FAILED in states:
                yield self._sorted_set(f"{prefix}dead")
            if states & TERMINAL:
                yield self._stream(prefix)

    def take(self, source: Iterator[list[str]]) -> None:
        """Take what fits out of one index, up to the limit."""
        looked = taken = 0
        bound = LOOK_MAX if self._query.page_id is None else None
        for page in source:
            looked += len(page)
            fresh = [one for one in page if one not in self.found]
            records = read_records(
                self._client, self._keyspace, fresh, history=self._query.needs_history
            )
            for job_id, record in records.items():
                if record is not None and self._query.fits(record):
                    self.found[job_id] = record
                    taken += 1
            if taken > self._query.limit or (bound is not None and looked >= bound):
                self.is_partial = True
                return

    def _shards(self) -> Iterable[int]:
        if self._query.site is not None:
            return (self._keyspace.shard_of_site(self._query.site),)
        return range(self._keyspace.shards)

    def _sorted_set(self, key: str) -> Iterator[list[str]]:
        start = 0
        while True:
            with speaking_to_redis():
                ids: Any = self._client.zrevrange(key, start, start + PAGE - 1)
            if ids:
                yield [one.decode() for one in ids]
            if len(ids) < PAGE:
                return
            start += PAGE

    def _lines(self, prefix: str) -> Iterator[Iterator[list[str]]]:
        names = [self._query.site] if self._query.site is not None else None
        if names is None:
            with speaking_to_redis():
                raw: Any = self._client.smembers(f"{prefix}lines")
            names = sorted(one.decode() for one in raw)
        for name in names:
            for lane in LANES:
                yield self._line(f"{prefix}line:{name}:{lane}")

    def _line(self, key: str) -> Iterator[list[str]]:
        end = -1
        while True:
            with speaking_to_redis():
                ids: Any = self._client.lrange(key, end - PAGE + 1, end)
            if ids:
                yield [one.decode() for one in reversed(ids)]
            if len(ids) < PAGE:
                return
            end -= PAGE

    def _outcome(self, row: dict[bytes, bytes]) -> bytes:
        """Give the outcome of an entry of the stream; nothing when it cannot be decrypted."""
        job_id = row[b"job_id"].decode(errors="replace")
        try:
            return self._keyspace.cipher.decrypt(row[b"outcome"], job_id=job_id, part="outcome")
        except EncryptionError:
            return b""

    def _stream(self, prefix: str) -> Iterator[list[str]]:
        page_id = None if self._query.page_id is None else self._query.page_id.encode()
        # What was enqueued since then has ended since then.
        low, high = str(self._query.since_ms or "-"), "+"
        while True:
            with speaking_to_redis():
                rows: Any = self._client.xrevrange(f"{prefix}outcomes", high, low, count=PAGE)
            ids = [
                row[b"job_id"].decode()
                for _, row in rows
                if page_id is None or b'"id":"' + page_id + b'"' in self._outcome(row)
            ]
            if ids:
                yield list(dict.fromkeys(ids))
            if len(rows) < PAGE:
                return
            high = f"({rows[-1][0].decode()}"
