"""The job record as readers see it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal

import redis
import redis.asyncio

from worker.encryption import PLAIN, Cipher
from worker.engine.keys import Keyspace
from worker.engine.redis_errors import speaking_to_redis
from worker.errors import EncryptionError

__all__ = [
    "TERMINAL",
    "JobState",
    "Record",
    "read_records",
    "read_records_async",
    "read_states_async",
]

#: Ids of one pipeline.
READ_MAX: Final = 500


class JobState(StrEnum):
    """Where a job is; drawn in docs/job_states.md."""

    QUEUED = "queued"
    DELAYED = "delayed"
    RUNNING = "running"
    HELD = "held"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


#: States after which nothing happens by itself, and for which one outcome is published.
TERMINAL: Final = frozenset(
    {JobState.SUCCEEDED, JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED}
)

_FIELDS: Final = (
    "state", "actor", "site", "lane", "key", "attempts", "deliveries", "enqueued_at", "due_at",
    "deadline_at", "first_delivery_at", "finished_at", "unsure_since", "reason", "epoch",
    "orphans", "cancel", "last",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One job, as it stands in Redis.

    Attributes:
        job_id, kind, site, lane, key: what it is; `key` is None when the caller gave none.
        state: where it is.
        attempts: attempts counted so far.
        deliveries: deliveries in a row without an ending.
        enqueued_at_ms, due_at_ms, deadline_at_ms, first_delivery_at_ms, finished_at_ms,
        unsure_since_ms: Redis time, Unix ms, or None.
        reason: why it was set aside, or None.
        epoch: how often it was given a new idempotency key.
        orphans: how many earlier attempts may have made a page that nobody was given.
        cancelling: True when it ends as cancelled after its attempt.
        history: JSON texts of its attempts, oldest first; only where they were asked for.
        outcome: JSON text of the outcome, or None.
        unreadable: why the outcome cannot be decrypted here; then `outcome` is None. Of a key, a
            reason or an attempt that cannot be decrypted, that stands in its place.
    """

    job_id: str
    kind: str
    site: str
    lane: str
    key: str | None
    state: JobState
    attempts: int
    deliveries: int
    enqueued_at_ms: int | None
    due_at_ms: int | None
    deadline_at_ms: int | None
    first_delivery_at_ms: int | None
    finished_at_ms: int | None
    unsure_since_ms: int | None
    reason: str | None
    epoch: int
    orphans: int
    cancelling: bool
    history: tuple[bytes, ...]
    outcome: bytes | None
    unreadable: EncryptionError | None = None

    @property
    def is_terminal(self) -> bool:
        """True when the outcome is there."""
        return self.state in TERMINAL

    def ended(self, published: bytes, cipher: Cipher = PLAIN) -> Record:
        """Give the record as it is since its outcome was published.

        Args:
            published: JSON text of the outcome, as it was published.
            cipher: decrypts it.

        Raises:
            ValueError, KeyError: it is no outcome.
            EncryptionError: it cannot be decrypted here.
        """
        outcome = cipher.decrypt(published, job_id=self.job_id, part="outcome")
        told: dict[str, Any] = json.loads(outcome)
        return replace(
            self, state=JobState(told["state"]), attempts=int(told.get("attempts") or 0),
            finished_at_ms=told.get("finished_at"), outcome=outcome,
        )  # fmt: skip

    @classmethod
    def of(
        cls, job_id: str, values: Sequence[bytes | None], outcome: bytes | None,
        earlier: Sequence[bytes] | None = None, *, cipher: Cipher = PLAIN,
    ) -> Record | None:  # fmt: skip
        """Read a record out of its fields; None when there is none.

        Args:
            job_id: its id.
            values: of the fields.
            outcome: as it is stored, or None.
            earlier: attempts before the last one; None leaves the history out.
            cipher: decrypts.
        """
        raw = dict(zip(_FIELDS, values, strict=True))
        if raw["state"] is None:
            return None

        def text(field: str) -> str | None:
            value = raw[field]
            return None if value is None else value.decode(errors="replace")

        def number(field: str) -> int | None:
            value = raw[field]
            return None if value is None else int(float(value))

        def shown(field: Literal["key", "reason"]) -> str | None:
            value = raw[field]
            return None if value is None else cipher.shown(value, job_id=job_id, part=field)

        attempts: list[bytes] = []
        if earlier is not None:
            attempts = [*earlier, *([] if raw["last"] is None else [raw["last"]])]
        unreadable = None
        if outcome is not None:
            try:
                outcome = cipher.decrypt(outcome, job_id=job_id, part="outcome")
            except EncryptionError as error:
                outcome, unreadable = None, error
        return cls(
            job_id=job_id, kind=text("actor") or "", site=(text("site") or "").partition("/")[0],
            lane=text("lane") or "", key=shown("key"),
            state=JobState(text("state") or ""),
            attempts=number("attempts") or 0, deliveries=number("deliveries") or 0,
            enqueued_at_ms=number("enqueued_at"), due_at_ms=number("due_at"),
            deadline_at_ms=number("deadline_at"),
            first_delivery_at_ms=number("first_delivery_at"),
            finished_at_ms=number("finished_at"), unsure_since_ms=number("unsure_since"),
            reason=shown("reason"), epoch=number("epoch") or 0, orphans=number("orphans") or 0,
            cancelling=raw["cancel"] is not None, outcome=outcome, unreadable=unreadable,
            history=tuple(_attempt(one, job_id, cipher) for one in attempts),
        )  # fmt: skip


def _attempt(text: bytes, job_id: str, cipher: Cipher) -> bytes:
    try:
        return cipher.decrypt(text, job_id=job_id, part="attempt")
    except EncryptionError as error:
        return json.dumps({"at": None, "error": error.brief}).encode()


def _ask(pipe: Any, keyspace: Keyspace, job_ids: Sequence[str], history: bool) -> None:
    for job_id in job_ids:
        pipe.hmget(keyspace.job(job_id), _FIELDS)
        pipe.get(keyspace.outcome(job_id))
        if history:
            pipe.lrange(keyspace.history(job_id), 0, -1)


def _understand(
    replies: Sequence[Any], job_ids: Sequence[str], history: bool, cipher: Cipher
) -> dict[str, Record | None]:
    width = 3 if history else 2
    found: dict[str, Record | None] = {}
    for place, job_id in enumerate(job_ids):
        fields, outcome, *earlier = replies[place * width : (place + 1) * width]
        found[job_id] = Record.of(job_id, fields, outcome, *earlier, cipher=cipher)
    return found


def _cut(job_ids: Iterable[str]) -> list[list[str]]:
    ids = list(job_ids)
    return [ids[start : start + READ_MAX] for start in range(0, len(ids), READ_MAX)]


def read_records(
    client: redis.Redis, keyspace: Keyspace, job_ids: Iterable[str], *, history: bool = False
) -> dict[str, Record | None]:
    """Read the records of jobs.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        job_ids: ids of jobs.
        history: read the earlier attempts too.

    Returns:
        id to record, or None where there is none.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    found: dict[str, Record | None] = {}
    with speaking_to_redis():
        for ids in _cut(job_ids):
            pipe = client.pipeline(transaction=False)
            _ask(pipe, keyspace, ids, history)
            found |= _understand(pipe.execute(), ids, history, keyspace.cipher)
    return found


async def read_records_async(
    client: redis.asyncio.Redis,
    keyspace: Keyspace,
    job_ids: Iterable[str],
    *,
    history: bool = False,
) -> dict[str, Record | None]:
    """Read the records of jobs; see `read_records`."""
    found: dict[str, Record | None] = {}
    with speaking_to_redis():
        for ids in _cut(job_ids):
            pipe = client.pipeline(transaction=False)
            _ask(pipe, keyspace, ids, history)
            found |= _understand(await pipe.execute(), ids, history, keyspace.cipher)
    return found


async def read_states_async(
    client: redis.asyncio.Redis, keyspace: Keyspace, job_ids: Iterable[str]
) -> dict[str, bytes | None]:
    """Read the states of jobs, as they are written; None where there is no record."""
    found: dict[str, bytes | None] = {}
    with speaking_to_redis():
        for ids in _cut(job_ids):
            pipe = client.pipeline(transaction=False)
            for job_id in ids:
                pipe.hget(keyspace.job(job_id), "state")
            found |= dict(zip(ids, await pipe.execute(), strict=True))
    return found
