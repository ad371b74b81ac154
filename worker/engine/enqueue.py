"""An entry: one message on its way into the queue, in the form the enqueue script takes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from dramatiq import Message

from worker.engine.keys import Keyspace

__all__ = ["NO_SITE", "Accepted", "Entry", "batches", "entry_of"]

#: The line of messages that belong to no site.
NO_SITE: Final = "-"
#: Entries and bytes of one script call: large enough to be cheap, small enough not to stall Redis,
#: and to be made ready while Redis works on the last.
BATCH_ENTRIES: Final = 250
BATCH_BYTES: Final = 1 << 20

Word = Literal["new", "known", "conflict", "again"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message on its way in.

    Attributes:
        id: id of the job; the message's id.
        mode: "job" (the mark is a digest of the request and the record outlives the run) or
            "message" (any other dramatiq message; the mark is the token of one send).
        mark: hex digest or token.
        queue, actor, site: where it goes; the site's line is first in, first out.
        lane: "interactive" is served before "bulk".
        key: the caller's key, or "".
        delay_ms: milliseconds until it may run.
        deadline_ms: milliseconds until it is too late to run; 0 = never.
        message: the encoded message.
        shard: shard of its site.
    """

    id: str
    mode: Literal["job", "message"]
    mark: str
    queue: str
    actor: str
    site: str
    lane: str
    key: str
    delay_ms: int
    deadline_ms: int
    message: bytes
    shard: int

    def arguments(self) -> tuple[str | int | bytes, ...]:
        """Give the 11 arguments of one entry."""
        return (
            self.id, self.mode, self.mark, self.queue, self.actor, self.site, self.lane, self.key,
            self.delay_ms, self.deadline_ms, self.message,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an entry.

    Attributes:
        word: "new", "known" (the same job was there already), "conflict" (another payload holds
            the id) or "again" (it runs, and will run once more).
        state: state of the record.
    """

    word: str
    state: str

    @classmethod
    def of(cls, reply: Any) -> Accepted:
        """Read one pair of the enqueue script's reply."""
        return cls(reply[0].decode(), (reply[1] or b"").decode())


def entry_of(message: Message[Any], keyspace: Keyspace, *, delay_ms: int = 0) -> Entry:
    """Make the entry of a message out of its options.

    Options read: `digest` (makes it a job), `site`, `budget` (of the site, if it is not the only
    one), `lane`, `key`, `deadline_ms`.

    Args:
        message: the message.
        keyspace: names of the keys.
        delay_ms: milliseconds until it may run.
    """
    options = message.options
    digest = options.get("digest")
    site = options.get("budget") or options.get("site")
    return Entry(
        id=message.message_id,
        mode="job" if digest else "message",
        mark=digest or uuid.uuid4().hex,
        queue=message.queue_name,
        actor=message.actor_name,
        site=site or NO_SITE,
        lane="bulk" if options.get("lane") == "bulk" else "interactive",
        key=options.get("key") or "",
        delay_ms=max(0, int(delay_ms)),
        deadline_ms=max(0, int(options.get("deadline_ms") or 0)),
        message=message.encode(),
        shard=keyspace.shard_of_job(message.message_id),
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
