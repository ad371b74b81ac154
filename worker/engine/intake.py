"""Taking entries in: thousands of jobs in a few round trips, each accepted by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from typing import Any, Final

from worker.engine.connection import over_within
from worker.engine.enqueue import Accepted, Entry, batches
from worker.engine.scripts import Argument, AsyncScripts, Scripts
from worker.errors import BrokerUnavailableError

__all__ = ["CALL_S", "take_in", "take_in_async"]

#: Seconds of one call of a producer, connecting and a repeat included: a web request waits for it.
CALL_S: Final = 0.95

#: The entries of one call, each with its place among all.
Batch = list[tuple[int, Entry]]


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
        BrokerUnavailableError: Redis is away.
        QueueFullError: Redis is full.
    """
    words: dict[int, Accepted] = {}
    made: deque[Batch] = deque()
    with closing(scripts.run_each("enqueue", _calls(entries, made))) as replies:
        while True:
            with over_within(call_s) if call_s else nullcontext():
                reply = next(replies, None)
            if reply is None:
                return [words[place] for place in range(len(words))]
            _note(words, made.popleft(), reply)


async def take_in_async(scripts: AsyncScripts, entries: Iterable[Entry]) -> list[Accepted]:
    """Take in entries; see `take_in`."""
    words: dict[int, Accepted] = {}
    made: deque[Batch] = deque()
    for shard, args in _calls(entries, made):
        try:
            async with asyncio.timeout(CALL_S):
                reply = await scripts.run("enqueue", shard, args)
        except TimeoutError:
            raise BrokerUnavailableError("Redis did not answer in time") from None
        _note(words, made.popleft(), reply)
    return [words[place] for place in range(len(words))]


def _calls(entries: Iterable[Entry], made: deque[Batch]) -> Iterator[tuple[int, list[Argument]]]:
    """Give shard and arguments of each call; what it takes in is put into `made`."""
    for batch in batches(entries):
        made.append(batch)
        yield batch[0][1].shard, [part for _, entry in batch for part in entry.arguments()]


def _note(words: dict[int, Accepted], batch: Batch, reply: Sequence[Any]) -> None:
    for (place, _), pair in zip(batch, reply, strict=True):
        words[place] = Accepted.of(pair)
