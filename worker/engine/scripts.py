"""The Lua scripts: loaded from their files, run by their hash, sent whole when Redis lost them."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from worker.engine.keys import RECORD_VERSION, Keyspace
from worker.engine.redis_errors import NoLayoutError, speaking_to_redis

__all__ = ["SCRIPT_NAMES", "AsyncScripts", "Script", "Scripts", "script"]

SCRIPT_NAMES: Final = (
    "enqueue", "fetch", "renew", "finish", "retry", "bury", "release", "reclaim",
    "cancel", "replay", "discard", "pause", "resume", "configure", "rate", "flush", "depth",
    "explain", "layout", "trim", "join", "missed", "behind",
)  # fmt: skip

#: What stands before every script, in this order.
PARTS: Final = ("keys", "site", "job")
#: What stands between these and one script, which would be too long otherwise.
OWN_PARTS: Final = {"fetch": ("sweep",)}

Argument = str | bytes | int | float
_REAL_CLOCK: Final = "local T = clock_ms()"
_MOVED_CLOCK: Final = (
    "local T = tonumber(redis.call('GET', P .. 'stopped_at') or clock_ms())"
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
    parts = (*PARTS, *OWN_PARTS.get(name, ()), name)
    source = "".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
    if moved_clock:
        source = source.replace(_REAL_CLOCK, _MOVED_CLOCK)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _layout(keyspace: Keyspace, as_worker: bool) -> tuple[int, int, int]:
    """Give the arguments of the layout script."""
    return keyspace.shards, RECORD_VERSION, int(as_worker)


def _unchecked(args: Sequence[Argument]) -> Sequence[Argument]:
    """Leave the layout out of an enqueue: a full Redis that evicts drops it at once."""
    return args[:-2]


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
            BrokerUnavailableError: Redis is unreachable. The state change may or may not have
                happened; running it again is safe.
            QueueFullError: Redis is full; nothing happened.
            LayoutError: the queue is laid out in another way; nothing happened.
        """
        try:
            return self._run(name, shard, args)
        except NoLayoutError:
            self.lay_out()
        try:
            return self._run(name, shard, args)
        except NoLayoutError:
            return self._run(name, shard, _unchecked(args))

    def lay_out(self, *, as_worker: bool = False) -> None:
        """Write down the layout of the queue, or learn that it is another one.

        Args:
            as_worker: say which records can be read, not which are written.

        Raises:
            BrokerError: Redis is unreachable or full.
            LayoutError: the queue is laid out in another way.
        """
        for shard in range(self.keyspace.shards):
            self._run("layout", shard, _layout(self.keyspace, as_worker))

    def _run(self, name: str, shard: int, args: Sequence[Argument]) -> Any:
        one = script(name, self._moved_clock)
        prefix = self.keyspace.prefix(shard)
        with speaking_to_redis():
            try:
                return self.client.evalsha(one.sha, 1, prefix, *args)
            except NoScriptError:
                return self.client.eval(one.source, 1, prefix, *args)

    def run_each(
        self, name: str, calls: Iterable[tuple[int, Sequence[Argument]]]
    ) -> Generator[Any, None, None]:
        """Run a script again and again, making each call ready while Redis works on the last.

        A call that breaks off is repeated by `run`: only for scripts that make a repeat safe.

        Args:
            name: one of `SCRIPT_NAMES`.
            calls: the shard and the arguments of each, taken one ahead of the replies.

        Yields:
            The reply of each call, in their order.

        Raises:
            BrokerError: as from `run`; calls after the failed one were not sent.
        """
        pool = getattr(self.client, "connection_pool", None)
        if pool is None:  # a Cluster: its client knows where each call goes
            for shard, args in calls:
                yield self.run(name, shard, args)
            return
        one = script(name, self._moved_clock)
        line = _Line(pool)
        last: tuple[int, Sequence[Argument]] | None = None
        try:
            for shard, args in calls:
                packed = line.pack("EVALSHA", one.sha, 1, self.keyspace.prefix(shard), *args)
                if last is not None:
                    yield self._reply(line, name, *last)
                with speaking_to_redis():
                    line.send(packed)
                last = shard, args
            if last is not None:
                yield self._reply(line, name, *last)
        finally:
            line.close()

    def _reply(self, line: _Line, name: str, shard: int, args: Sequence[Argument]) -> Any:
        try:
            with speaking_to_redis():
                return line.read()
        except (_BrokenLineError, NoLayoutError):
            return self.run(name, shard, args)


class _BrokenLineError(Exception):
    """The connection is gone, or the script is: the call is to be run anew."""


class _Line:
    """One connection of a pool, on which a command is under way while the next is made ready."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._connection: Any = None
        self._under_way = False

    def pack(self, *command: Argument) -> Any:
        """Give a command as it is sent; of a broken line, for the next one."""
        with speaking_to_redis():
            if self._connection is None:
                self._connection = self._pool.get_connection()
        return self._connection.pack_command(*command)

    def send(self, packed: Any) -> None:
        """Send a command; that it could not be sent is told by `read`."""
        try:
            self._connection.send_packed_command(packed)
            self._under_way = True
        except redis.ConnectionError:
            self._connection.disconnect()

    def read(self) -> Any:
        """Read the reply to the last command.

        Raises:
            _BrokenLineError: there is none.
        """
        if not self._under_way:
            raise _BrokenLineError
        self._under_way = False
        try:
            return self._connection.read_response()
        except NoScriptError:
            raise _BrokenLineError from None
        except redis.ResponseError:
            raise
        except redis.ConnectionError:
            self._connection.disconnect()
            raise _BrokenLineError from None
        except BaseException:
            self._connection.disconnect()
            raise

    def close(self) -> None:
        """Give the connection back, without a reply that nobody waits for."""
        if self._connection is not None:
            if self._under_way:
                self._connection.disconnect()
            self._pool.release(self._connection)


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
        try:
            return await self._run(name, shard, args)
        except NoLayoutError:
            for one in range(self.keyspace.shards):
                await self._run("layout", one, _layout(self.keyspace, as_worker=False))
        try:
            return await self._run(name, shard, args)
        except NoLayoutError:
            return await self._run(name, shard, _unchecked(args))

    async def _run(self, name: str, shard: int, args: Sequence[Argument]) -> Any:
        one = script(name, self._moved_clock)
        prefix = self.keyspace.prefix(shard)
        with speaking_to_redis():
            try:
                return await self.client.evalsha(one.sha, 1, prefix, *args)
            except NoScriptError:
                return await self.client.eval(one.source, 1, prefix, *args)
