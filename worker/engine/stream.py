"""Following the stream of outcomes with a consumer group: at least once, shared, resumable."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any, Final

import redis.asyncio
from redis.exceptions import ResponseError

from worker.engine.keys import Keyspace
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import AsyncScripts
from worker.errors import BrokerError, OutcomesMissedError

__all__ = ["Follower"]

_log = logging.getLogger(__name__)

#: Entries of one read.
READ_MAX: Final = 100
#: Longest block of one read, ms: below the time the producer's side waits for an answer.
BLOCK_MS: Final = 400
#: Seconds after which an entry that a consumer took and did not handle goes to another.
CLAIM_S: Final = 60.0
#: Seconds between two looks for outcomes that were cut.
MISSED_LOOK_S: Final = 5.0
#: Seconds between tries while Redis is unreachable.
RETRY_S: Final = 0.5

Entries = list[tuple[bytes, dict[bytes, bytes]]]


class Follower:
    """Follows the outcomes as one consumer of a group.

    Args:
        keyspace: names of the keys.
        group, consumer: who follows.
        start: where a new group starts.
        claim_after_s: seconds after which what another consumer took and did not handle is taken.
    """

    def __init__(
        self,
        keyspace: Keyspace,
        *,
        group: str,
        consumer: str,
        start: str,
        claim_after_s: float = CLAIM_S,
    ) -> None:
        self._streams = [keyspace.stream(shard) for shard in range(keyspace.shards)]
        self._cipher = keyspace.cipher
        self._group = group
        self._consumer = consumer
        self._start = start
        # What this consumer took before and never handled comes first.
        self._cursor = dict.fromkeys(self._streams, b"0")
        self._claim_after_s = claim_after_s
        #: Monotonic seconds at which each stream is next looked through for what others left.
        self._claim_at = dict.fromkeys(self._streams, 0.0)
        self._keyspace = keyspace
        self._missed_look_at = 0.0

    async def follow(
        self, client: redis.asyncio.Redis, timeout_s: float | None
    ) -> AsyncGenerator[bytes, None]:
        """Give outcomes; one is acknowledged when the next is asked for.

        Args:
            client: a client whose replies are bytes.
            timeout_s: end after so many seconds without an outcome; None never ends.

        Raises:
            OutcomesMissedError: outcomes were cut before the group had handled them; told once.
            EncryptionError: an outcome cannot be decrypted here; it comes again to who follows
                next.
        """
        self._client = client
        await self._make_groups()
        heard = time.monotonic()
        # Silence counts once there was a look: what is there already is given in any case.
        looked = False
        while not looked or timeout_s is None or time.monotonic() - heard < timeout_s:
            await self._tell_missed()
            looked = self._reads_what_is_new()
            for stream in self._streams:
                try:
                    with speaking_to_redis():
                        entries = await self._next(stream)
                except BrokerError as error:
                    _log.warning("not following outcomes: %s", error)
                    looked = True
                    await asyncio.sleep(RETRY_S)
                    continue
                except ResponseError as error:
                    if not _is_group_gone(error):
                        raise
                    self._start = "0"  # all there is now came after what was lost
                    with contextlib.suppress(BrokerError):
                        await self._make_groups()
                    continue
                for entry_id, fields in entries:
                    yield self._outcome(fields)
                    heard = time.monotonic()
                    await self._handled(stream, entry_id)

    def _outcome(self, fields: dict[bytes, bytes]) -> bytes:
        job_id = fields[b"job_id"].decode(errors="replace")
        return self._cipher.decrypt(fields[b"outcome"], job_id=job_id, part="outcome")

    async def _tell_missed(self) -> None:
        if time.monotonic() < self._missed_look_at:
            return
        self._missed_look_at = time.monotonic() + MISSED_LOOK_S
        scripts = AsyncScripts(self._client, self._keyspace)
        missed: list[tuple[int, int]] = []
        for shard in range(self._keyspace.shards):
            with contextlib.suppress(BrokerError):  # told by a later look
                if found := await scripts.run("missed", shard, [self._group]):
                    count, since_ms = found
                    if await self._is_to_tell(scripts, shard, count):
                        missed.append((count, since_ms))
        if missed:
            total, first_ms = sum(one for one, _ in missed), min(one for _, one in missed)
            raise OutcomesMissedError(self._group, total, first_ms)

    async def _is_to_tell(self, scripts: AsyncScripts, shard: int, count: int) -> bool:
        """Say whether this consumer tells it; better twice than never when Redis goes away."""
        try:
            found: int = await scripts.run("missed", shard, [self._group, count])
        except BrokerError:
            return True
        return found == 1

    async def _make_groups(self) -> None:
        scripts = AsyncScripts(self._client, self._keyspace)
        for shard in range(self._keyspace.shards):
            await scripts.run("join", shard, [self._group, self._start])

    async def _next(self, stream: str) -> Entries:
        if self._claim_is_due(stream):
            reply: Any = await self._client.xautoclaim(**self._claim_arguments(stream))
            if entries := self._claimed(stream, reply):
                return entries
        reply = await self._client.xreadgroup(**self._read_arguments(stream))
        return self._entries_of(stream, reply)

    async def _handled(self, stream: str, entry_id: bytes) -> None:
        try:
            with speaking_to_redis():
                await self._client.xack(stream, self._group, entry_id)
        except BrokerError as error:
            _log.warning("an outcome will come again: %s", error)

    def _reads_what_is_new(self) -> bool:
        """Say whether the next read is for more than what this consumer took before."""
        return all(cursor == b">" for cursor in self._cursor.values())

    def _block_ms(self) -> int:
        return max(1, BLOCK_MS // len(self._streams))

    def _read_arguments(self, stream: str) -> dict[str, Any]:
        fresh = self._cursor[stream] == b">"
        return {
            "groupname": self._group,
            "consumername": self._consumer,
            "streams": {stream: self._cursor[stream]},
            "count": READ_MAX,
            "block": self._block_ms() if fresh else None,
        }

    def _entries_of(self, stream: str, reply: Any) -> Entries:
        pairs = list(reply.items()) if isinstance(reply, dict) else list(reply or [])
        entries: Entries = []
        for _, found in pairs:
            # RESP3 nests the entries of a stream once more than RESP2.
            rows = found[0] if found and isinstance(found[0], list) else found
            entries += [(one[0], one[1]) for one in rows]
        if self._cursor[stream] != b">":
            self._cursor[stream] = entries[-1][0] if entries else b">"
        return [(entry_id, fields) for entry_id, fields in entries if fields]

    def _claim_is_due(self, stream: str) -> bool:
        return time.monotonic() >= self._claim_at[stream]

    def _claimed(self, stream: str, reply: Any) -> Entries:
        """Read the reply to a claim; while it is a full one, the next read claims on."""
        if len(reply[1]) < READ_MAX:
            self._claim_at[stream] = time.monotonic() + self._claim_after_s
        return [(one[0], one[1]) for one in reply[1] if one[1]]

    def _claim_arguments(self, stream: str) -> dict[str, Any]:
        return {
            "name": stream,
            "groupname": self._group,
            "consumername": self._consumer,
            "min_idle_time": round(self._claim_after_s * 1000),
            "count": READ_MAX,
        }


def _is_group_gone(error: ResponseError) -> bool:
    return "NOGROUP" in str(error) or "no such key" in str(error)
