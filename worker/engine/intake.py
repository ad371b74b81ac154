"""Taking entries in: thousands of jobs in a few round trips, each accepted by itself."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.entry import Accepted, Entry, batches
from worker.engine.scripts import Argument, AsyncScripts, Scripts

__all__ = ["take_in", "take_in_async"]


def take_in(scripts: Scripts, entries: Sequence[Entry]) -> list[Accepted]:
    """Take in entries; when a call fails, those of earlier calls are in, and a repeat is safe.

    Returns:
        What became of each, in the order of the entries.

    Raises:
        BrokerUnavailableError: Redis is away.
        QueueFullError: Redis is full.
    """
    places = _places(entries)
    words: list[Accepted | None] = [None] * len(entries)
    for batch in batches(entries):
        reply = scripts.run("enqueue", batch[0].shard, _arguments(batch))
        for entry, pair in zip(batch, reply, strict=True):
            words[places[id(entry)]] = Accepted.of(pair)
    return [word for word in words if word is not None]


async def take_in_async(scripts: AsyncScripts, entries: Sequence[Entry]) -> list[Accepted]:
    """Take in entries; see `take_in`."""
    places = _places(entries)
    words: list[Accepted | None] = [None] * len(entries)
    for batch in batches(entries):
        reply = await scripts.run("enqueue", batch[0].shard, _arguments(batch))
        for entry, pair in zip(batch, reply, strict=True):
            words[places[id(entry)]] = Accepted.of(pair)
    return [word for word in words if word is not None]


def _places(entries: Sequence[Entry]) -> dict[int, int]:
    return {id(entry): place for place, entry in enumerate(entries)}


def _arguments(batch: Sequence[Entry]) -> list[Argument]:
    return [part for entry in batch for part in entry.arguments()]
