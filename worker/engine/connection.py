"""Redis clients, each bounded for its side: a producer gives up fast, a worker waits by itself.

redis-py would repeat commands by itself; here only what is safe to repeat is repeated, by those
who know that it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, cast

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.settings.redis_address import RedisAddress

__all__ = ["PRODUCER", "WORKER", "Patience", "connect", "connect_async", "over_within"]

#: When the call that is under way is to be over, monotonic s; None where nothing bounds it.
_until: ContextVar[float | None] = ContextVar("until", default=None)
#: Shortest wait, s: a wait of none would not even look.
LEAST_S: Final = 0.001


class Patience:
    """How long one side waits for Redis.

    Args:
        connect_s: seconds to wait for a connection.
        answer_s: seconds to wait for an answer.
        repeats: how often a command is sent again on a fresh connection after a broken one.
        connections: most connections of one process.
    """

    __slots__ = ("answer_s", "connect_s", "connections", "repeats")

    def __init__(
        self, *, connect_s: float, answer_s: float, repeats: int, connections: int
    ) -> None:
        self.connect_s = connect_s
        self.answer_s = answer_s
        self.repeats = repeats
        self.connections = connections


#: A web request waits behind a producer: it learns within 1 s that Redis is away. One repeat
#: takes a connection that went stale; the enqueue script makes a repeat safe.
PRODUCER: Final = Patience(connect_s=0.4, answer_s=0.9, repeats=1, connections=256)
#: A worker has time; it repeats by itself and never through redis-py.
WORKER: Final = Patience(connect_s=2.0, answer_s=5.0, repeats=0, connections=1024)


def connect(address: RedisAddress | str, patience: Patience = WORKER) -> redis.Redis:
    """Make a client; nothing is connected yet.

    Args:
        address: where Redis is, or its URL.
        patience: the bounds of this side.

    Returns:
        A client for one server, Sentinel's master, or a Cluster; replies are bytes.

    Raises:
        SettingsError: the URL cannot be read.
    """
    where = RedisAddress.parse(address) if isinstance(address, str) else address
    retry = Retry(NoBackoff(), patience.repeats, supported_errors=(redis.ConnectionError,))
    options = {**_options(where, patience), "retry": retry}
    if where.kind == "cluster":
        nodes = [redis.cluster.ClusterNode(host, port) for host, port in where.hosts]
        return cast("redis.Redis", redis.cluster.RedisCluster(startup_nodes=nodes, **options))
    if where.kind == "sentinel":
        sentinel = redis.sentinel.Sentinel(
            list(where.hosts), sentinel_kwargs=_sentinel_options(where, patience), **options
        )
        return cast("redis.Redis", sentinel.master_for(where.service or "", db=where.db))
    client = redis.Redis(**_location(where), **options)
    pool: Any = client.connection_pool
    pool.connection_class = _own(pool.connection_class)
    return client


def connect_async(address: RedisAddress | str, patience: Patience = WORKER) -> redis.asyncio.Redis:
    """Make the asyncio client of the same kind as `connect`."""
    where = RedisAddress.parse(address) if isinstance(address, str) else address
    retry = redis.asyncio.retry.Retry(
        NoBackoff(), patience.repeats, supported_errors=(redis.ConnectionError,)
    )
    options = {**_options(where, patience), "retry": retry}
    if where.kind == "cluster":
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in where.hosts]
        return cast(
            "redis.asyncio.Redis",
            redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, **options),
        )
    if where.kind == "sentinel":
        sentinel = redis.asyncio.sentinel.Sentinel(
            list(where.hosts), sentinel_kwargs=_sentinel_options(where, patience), **options
        )
        master = sentinel.master_for(where.service or "", redis_class=_WatchedMaster, db=where.db)
        master.sentinels = sentinel.sentinels
        return cast("redis.asyncio.Redis", master)
    client = redis.asyncio.Redis(**_location(where), **options)
    client.connection_pool.connection_class = _own_async(client.connection_pool.connection_class)
    return client


@contextmanager
def over_within(seconds: float) -> Iterator[None]:
    """Bound what a block does with a client of one server, connecting and repeats included.

    The bounds of a connection are for each wait: on a line that loses packets several of them
    would add up.

    Raises:
        redis.TimeoutError: from the client, when the time is over.
    """
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


def _left_s() -> float | None:
    until = _until.get()
    return None if until is None else max(LEAST_S, until - time.monotonic())


def _own(kind: Any) -> Any:
    """Make a connection that keeps to `over_within` and leaves a server turned replica.

    The name of such a server may point to the new master by now, and only a new connection asks
    for the address.
    """

    class Own(kind):  # type: ignore[misc]
        def _connect(self: Any) -> Any:
            given = self.socket_connect_timeout
            left_s = _left_s()
            if left_s is not None:
                self.socket_connect_timeout = min(given or left_s, left_s)
            try:
                return super()._connect()
            finally:
                self.socket_connect_timeout = given

        def read_response(self, *args: Any, **options: Any) -> Any:
            left_s = _left_s()
            if left_s is not None:
                options["timeout"] = min(self.socket_timeout or left_s, left_s)
            try:
                return super().read_response(*args, **options)
            except redis.ReadOnlyError:
                self.disconnect()
                raise

    return Own


def _own_async(kind: Any) -> Any:
    """Make the asyncio connection that leaves a server turned replica; see `_own`."""

    class Own(kind):  # type: ignore[misc]
        async def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return await super().read_response(*args, **options)
            except redis.ReadOnlyError:
                await self.disconnect(nowait=True)
                raise

    return Own


class _WatchedMaster(redis.asyncio.Redis):
    """The master that sentinels name; closing it closes the connections to them too."""

    sentinels: Sequence[redis.asyncio.Redis] = ()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for one in self.sentinels:
            await one.aclose()


def _location(where: RedisAddress) -> dict[str, Any]:
    if where.kind == "unix":
        return {"unix_socket_path": where.path, "db": where.db}
    host, port = where.hosts[0]
    return {"host": host, "port": port, "db": where.db}


def _options(where: RedisAddress, patience: Patience) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": where.username,
        "password": where.password,
        "socket_timeout": patience.answer_s,
        "socket_connect_timeout": patience.connect_s,
        "max_connections": patience.connections,
    }
    if where.kind != "unix":
        options["socket_keepalive"] = True
    if where.tls:
        options |= {
            "ssl": True,
            "ssl_ca_certs": where.ca_file,
            "ssl_certfile": where.cert_file,
            "ssl_keyfile": where.key_file,
            "ssl_cert_reqs": "required" if where.verify else "none",
            "ssl_check_hostname": where.verify and where.check_hostname,
        }
    return options


def _sentinel_options(where: RedisAddress, patience: Patience) -> dict[str, Any]:
    return {
        "username": where.sentinel_username,
        "password": where.sentinel_password,
        "socket_timeout": min(patience.connect_s, 1.0),
        "socket_connect_timeout": min(patience.connect_s, 1.0),
    }
