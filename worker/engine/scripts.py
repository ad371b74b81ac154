"""The Lua scripts: loaded from their files, run by their hash, sent whole when Redis lost them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from worker.engine.away import speaking_to_redis
from worker.engine.keys import Keyspace

__all__ = ["SCRIPT_NAMES", "AsyncScripts", "Script", "Scripts", "script"]

SCRIPT_NAMES: Final = (
    "enqueue", "fetch", "renew", "finish", "retry", "bury", "release", "reclaim",
    "cancel", "replay", "discard", "park", "resume", "configure", "rate", "flush", "depth",
)  # fmt: skip

#: What stands before every script, in this order.
PARTS: Final = ("keys", "site", "job")

Argument = str | bytes | int | float
_REAL_CLOCK: Final = "local NOW = clock_ms()"
_MOVED_CLOCK: Final = (
    "local NOW = tonumber(redis.call('GET', P .. 'stopped_at') or clock_ms())"
    " + tonumber(redis.call('GET', P .. 'clock') or 0)"
)


@dataclass(frozen=True, slots=True)
class Script:
    """One script.

    Attributes:
        source: the whole text, the shared parts included.
        sha: SHA-1 of the source, by which Redis knows it.
    """

    source: str
    sha: str


@cache
def script(name: str, moved_clock: bool = False) -> Script:
    """Read a script from its file.

    Args:
        name: one of `SCRIPT_NAMES`.
        moved_clock: for tests: time is that under the key `<prefix>stopped_at` (Unix ms), or
            Redis time without it, plus the milliseconds under `<prefix>clock`.
    """
    folder = resources.files("worker.engine") / "lua"
    source = "".join((folder / f"{part}.lua").read_text("utf-8") for part in (*PARTS, name))
    if moved_clock:
        source = source.replace(_REAL_CLOCK, _MOVED_CLOCK)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class Scripts:
    """Runs scripts on one client.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        moved_clock: see `script`.
    """

    def __init__(
        self, client: redis.Redis, keyspace: Keyspace, *, moved_clock: bool = False
    ) -> None:
        self.client = client
        self.keyspace = keyspace
        self._moved_clock = moved_clock

    def run(self, name: str, shard: int, args: Sequence[Argument]) -> Any:
        """Run a script on a shard.

        Returns:
            What the head of the script's file says.

        Raises:
            BrokerUnavailableError: Redis is away; the state change may or may not have happened,
            and
                running it again is safe.
            QueueFullError: Redis is full; nothing happened.
        """
        one = script(name, self._moved_clock)
        prefix = self.keyspace.prefix(shard)
        with speaking_to_redis():
            try:
                return self.client.evalsha(one.sha, 1, prefix, *args)
            except NoScriptError:
                return self.client.eval(one.source, 1, prefix, *args)


class AsyncScripts:
    """The same as `Scripts` on an asyncio client."""

    def __init__(
        self, client: redis.asyncio.Redis, keyspace: Keyspace, *, moved_clock: bool = False
    ) -> None:
        self.client = client
        self.keyspace = keyspace
        self._moved_clock = moved_clock

    async def run(self, name: str, shard: int, args: Sequence[Argument]) -> Any:
        """Run a script on a shard; see `Scripts.run`."""
        one = script(name, self._moved_clock)
        prefix = self.keyspace.prefix(shard)
        with speaking_to_redis():
            try:
                return await self.client.evalsha(one.sha, 1, prefix, *args)
            except NoScriptError:
                return await self.client.eval(one.source, 1, prefix, *args)
