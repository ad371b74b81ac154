"""Enqueuing: an entry is one message in the form the enqueue script takes.

Thousands of entries go in with a few round trips; each is accepted by itself.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dramatiq import Message

from worker.encryption import PLAIN, Cipher
from worker.engine.keys import RECORD_VERSION, Keyspace
from worker.engine.redis_connection import over_within
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import Argument, AsyncScripts, Scripts
from worker.errors import EncryptionError, EncryptionKeyMissingError, JobConflictError

__all__ = [
    "CALL_S",
    "NO_SITE",
    "Accepted",
    "Entry",
    "batches",
    "entry_of",
    "take_in",
    "take_in_async",
]

#: The line of messages that belong to no site.
NO_SITE: Final = "-"
#: Entries and bytes of one script call: large enough to be cheap, small enough not to stall Redis,
#: and to be made ready while Redis works on the last.
BATCH_ENTRIES: Final = 250
BATCH_BYTES: Final = 1 << 20

#: Seconds of one call of a producer, connecting and a repeat included: a web request waits for it.
CALL_S: Final = 0.95

#: The entries of one call, each with its place among all.
Batch = list[tuple[int, "Entry"]]

Word = Literal["new", "known", "conflict", "again"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message on its way in.

    Attributes:
        id: id of the job; the message's id.
        mode: "job" (the mark is a digest of the request and the record outlives the run) or
            "message" (any other dramatiq message; the mark is the token of one send).
        mark: hex digest, keyed when there are keys, or token.
        queue, actor, site: where it goes; the site's line is first in, first out.
        lane: "interactive" is served before "bulk".
        key: the caller's key, encrypted when there are keys, or "".
        delay_ms: milliseconds until it may run.
        deadline_ms: milliseconds until it is too late to run; 0 = never.
        message: the encoded message, encrypted when there are keys.
        shard: shard of its site.
        parts: tells what differs from another request, encrypted when there are keys; never read
            by the engine.
        digest: the plain digest, which never leaves this process; "" for a message.
        cipher: made the mark.
    """

    id: str
    mode: Literal["job", "message"]
    mark: str
    queue: str
    actor: str
    site: str
    lane: str
    key: str | bytes
    delay_ms: int
    deadline_ms: int
    message: bytes
    shard: int
    parts: bytes = b""
    digest: str = field(default="", repr=False)
    cipher: Cipher = PLAIN

    def arguments(self) -> tuple[str | int | bytes, ...]:
        """Give the 11 arguments of one entry; the parts follow the mark, after a blank."""
        mark = b"%b %b" % (self.mark.encode(), self.parts) if self.parts else self.mark
        return (
            self.id, self.mode, mark, self.queue, self.actor, self.site, self.lane, self.key,
            self.delay_ms, self.deadline_ms, self.message,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an entry.

    Attributes:
        word: "new", "known" (the same job was there already), "conflict" (another payload holds
            the id) or "again" (it runs, and will run once more).
        state: state of the record.
        missing_key: id of the key that the job was enqueued with, when this process does not have
            it: then "conflict" only means that the payloads cannot be compared.
        parts: of the job that holds the id, with "conflict"; empty when they are not known.
    """

    word: str
    state: str
    missing_key: str | None = None
    parts: bytes = b""

    @classmethod
    def of(cls, reply: Any, entry: Entry) -> Accepted:
        """Read the enqueue script's reply to one entry.

        The script compares marks. After a rotation the same request has another mark, so a
        conflict is looked at again here, under the key that the stored mark names.
        """
        word, state, parts = reply[0].decode(), (reply[1] or b"").decode(), b""
        if word == "conflict" and len(reply) > 2:
            mark = reply[2].decode(errors="replace")
            try:
                if entry.cipher.is_mark_of(mark, entry.digest):
                    word = "known"
            except KeyError as error:
                return cls(word, state, str(error.args[0]))
            with suppress(EncryptionError):
                stored = reply[3] if len(reply) > 3 else b""
                parts = entry.cipher.decrypt(stored, job_id=entry.id, part="parts")
        return cls(word, state, parts=parts)

    def refusal(
        self, job_id: str, differs: Sequence[str] = ()
    ) -> JobConflictError | EncryptionKeyMissingError:
        """Make the error of a conflict.

        Args:
            job_id: id of the job.
            differs: paths in which the requests differ.
        """
        if self.missing_key is not None:
            return EncryptionKeyMissingError(job_id, self.missing_key)
        return JobConflictError(job_id, differs)


def entry_of(
    message: Message[Any], keyspace: Keyspace, *, delay_ms: int = 0, parts: bytes = b""
) -> Entry:
    """Make the entry of a message out of its options.

    Options read: `digest` (makes it a job), `site`, `budget` (of the site, if it is not the only
    one), `lane`, `key`, `deadline_ms`.

    Args:
        message: the message.
        keyspace: names of the keys.
        delay_ms: milliseconds until it may run.
        parts: of the request; see `Entry`.
    """
    options, job_id, cipher = message.options, message.message_id, keyspace.cipher
    digest = options.get("digest") or ""
    site = options.get("budget") or options.get("site")
    key = (options.get("key") or "").encode()
    body, key = cipher.encrypt_job(message.encode(), key, job_id=job_id)
    return Entry(
        id=job_id,
        mode="job" if digest else "message",
        mark=cipher.mark(digest) if digest else uuid.uuid4().hex,
        queue=message.queue_name,
        actor=message.actor_name,
        site=site or NO_SITE,
        lane="bulk" if options.get("lane") == "bulk" else "interactive",
        key=key,
        delay_ms=max(0, int(delay_ms)),
        deadline_ms=max(0, int(options.get("deadline_ms") or 0)),
        message=body,
        shard=keyspace.shard_of_job(job_id),
        parts=cipher.encrypt(parts, job_id=job_id, part="parts"),
        digest=digest,
        cipher=cipher,
    )


def batches(entries: Iterable[Entry]) -> Iterator[list[tuple[int, Entry]]]:
    """Cut entries into calls of one shard each, bounded in number and bytes.

    The order of the entries of one shard is kept; with each goes its place among all.
    """
    open_batches: dict[int, tuple[list[tuple[int, Entry]], int]] = {}
    for place, entry in enumerate(entries):
        batch, size = open_batches.get(entry.shard, ([], 0))
        batch.append((place, entry))
        size += len(entry.message)
        if len(batch) >= BATCH_ENTRIES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
        open_batches[entry.shard] = (batch, size)
    for batch, _ in open_batches.values():
        if batch:
            yield batch


def take_in(
    scripts: Scripts, entries: Iterable[Entry], *, call_s: float | None = None
) -> list[Accepted]:
    """Take in entries; when a call fails, those of earlier calls are in, and a repeat is safe.

    Args:
        scripts: where to.
        entries: the entries; taken while Redis works on earlier ones.
        call_s: most seconds of each call; the client's own bounds when None.

    Returns:
        What became of each, in the order of the entries.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
        QueueFullError: Redis is full.
        LayoutError: the queue is laid out in another way.
    """
    words: dict[int, Accepted] = {}
    made: deque[Batch] = deque()
    calls = _calls(entries, made, scripts.keyspace)
    with closing(scripts.run_each("enqueue", calls)) as replies:
        while True:
            with over_within(call_s) if call_s else nullcontext():
                reply = next(replies, None)
            if reply is None:
                return [words[place] for place in range(len(words))]
            _note(words, made.popleft(), reply)


async def take_in_async(
    scripts: AsyncScripts, entries: Iterable[Entry], *, room: asyncio.Semaphore
) -> list[Accepted]:
    """Take in entries; see `take_in`.

    Args:
        scripts: where to.
        entries: the entries.
        room: bounds the calls at the same moment; waiting for it counts to a call's time.
    """
    words: dict[int, Accepted] = {}
    made: deque[Batch] = deque()
    for shard, args in _calls(entries, made, scripts.keyspace):
        with speaking_to_redis():
            async with asyncio.timeout(CALL_S), room:
                reply = await scripts.run("enqueue", shard, args)
        _note(words, made.popleft(), reply)
    return [words[place] for place in range(len(words))]


def _calls(
    entries: Iterable[Entry], made: deque[Batch], keyspace: Keyspace
) -> Iterator[tuple[int, list[Argument]]]:
    """Give shard and arguments of each call; what it takes in is put into `made`."""
    for batch in batches(entries):
        made.append(batch)
        args: list[Argument] = [part for _, entry in batch for part in entry.arguments()]
        yield batch[0][1].shard, [*args, keyspace.shards, RECORD_VERSION]


def _note(words: dict[int, Accepted], batch: Batch, reply: Sequence[Any]) -> None:
    for (place, entry), part in zip(batch, reply, strict=True):
        words[place] = Accepted.of(part, entry)
