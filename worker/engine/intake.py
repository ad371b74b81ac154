"""Taking entries in: thousands of jobs in a few round trips, each accepted by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Final

from worker.engine.connection import over_within
from worker.engine.entry import Accepted, Entry, batches
from worker.engine.scripts import Argument, AsyncScripts, Scripts
from worker.errors import BrokerUnavailableError

__all__ = ["CALL_S", "take_in", "take_in_async"]

#: Seconds of one call of a producer, connecting and a repeat included: a web request waits for it.
CALL_S: Final = 0.95


def take_in(
    scripts: Scripts, entries: Sequence[Entry], *, call_s: float | None = None
) -> list[Accepted]:
    """Take in entries; when a call fails, those of earlier calls are in, and a repeat is safe.

    Args:
        scripts: where to.
        entries: the entries.
        call_s: most seconds of each call; the client's own bounds when None.

    Returns:
        What became of each, in the order of the entries.

    Raises:
        BrokerUnavailableError: Redis is away.
        QueueFullError: Redis is full.
    """
    places = _places(entries)
    words: list[Accepted | None] = [None] * len(entries)
    for batch in batches(entries):
        with over_within(call_s) if call_s else nullcontext():
            reply = scripts.run("enqueue", batch[0].shard, _arguments(batch))
        for entry, pair in zip(batch, reply, strict=True):
            words[places[id(entry)]] = Accepted.of(pair)
    return [word for word in words if word is not None]


async def take_in_async(scripts: AsyncScripts, entries: Sequence[Entry]) -> list[Accepted]:
    """Take in entries; see `take_in`."""
    places = _places(entries)
    words: list[Accepted | None] = [None] * len(entries)
    for batch in batches(entries):
        try:
            async with asyncio.timeout(CALL_S):
                reply = await scripts.run("enqueue", batch[0].shard, _arguments(batch))
        except TimeoutError:
            raise BrokerUnavailableError("Redis did not answer in time") from None
        for entry, pair in zip(batch, reply, strict=True):
            words[places[id(entry)]] = Accepted.of(pair)
    return [word for word in words if word is not None]


def _places(entries: Sequence[Entry]) -> dict[int, int]:
    return {id(entry): place for place, entry in enumerate(entries)}


def _arguments(batch: Sequence[Entry]) -> list[Argument]:
    return [part for entry in batch for part in entry.arguments()]
