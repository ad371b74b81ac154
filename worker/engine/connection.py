"""Redis clients, each bounded for its side: a producer gives up fast, a worker waits by itself.

redis-py would repeat commands by itself; here only what is safe to repeat is repeated, by those
who know that it is.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
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

from worker.engine.redis_connection import async_connection, sync_connection
from worker.engine.redis_errors import speaking_to_redis
from worker.settings.redis_address import RedisAddress

__all__ = ["PRODUCER", "WORKER", "Patience", "connect", "connect_async"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one side waits for Redis.

    Args:
        connect_s: seconds to wait for a connection.
        answer_s: seconds to wait for an answer.
        repeats: how often a command is sent again on a fresh connection after a broken one.
        connections: most connections of one process.
        first_s: seconds to wait for an answer on a reused connection before the command is sent
            again on a new one; None where nothing is repeated.
    """

    connect_s: float
    answer_s: float
    repeats: int
    connections: int
    first_s: float | None = None


#: A web request waits behind a producer: it learns within 1 s that Redis is unreachable. One
#: repeat replaces a connection that went silent; the enqueue script makes a repeat safe.
PRODUCER: Final = Patience(connect_s=0.4, answer_s=0.9, repeats=1, connections=256, first_s=0.55)
#: A worker has time; it repeats by itself and never through redis-py.
WORKER: Final = Patience(connect_s=2.0, answer_s=5.0, repeats=0, connections=1024)


#: A probe after 10 s of rest keeps a firewall from forgetting the connection. One that is dead all
#: the same is given up after 25 s, with unsent data after 10 s. macOS knows some of these only.
_KEEPALIVE: Final[dict[int, int]] = {
    getattr(socket, name): value
    for name, value in (
        ("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 10_000),
    )
    if hasattr(socket, name)
}  # fmt: skip


def connect(address: RedisAddress | str, patience: Patience = WORKER) -> redis.Redis:
    """Make a client; only one of a Cluster connects at once.

    Args:
        address: where Redis is, or its URL.
        patience: the bounds of this side.

    Returns:
        A client for one server, Sentinel's master, or a Cluster; replies are bytes.

    Raises:
        SettingsError: the URL cannot be read.
        BrokerUnavailableError: no node of the Cluster answers.
    """
    where = RedisAddress.parse(address) if isinstance(address, str) else address
    retry = Retry(NoBackoff(), patience.repeats, supported_errors=(redis.ConnectionError,))
    options = {**_options(where, patience), "retry": retry}
    if where.kind == "cluster":
        nodes = [redis.cluster.ClusterNode(host, port) for host, port in where.hosts]
        with speaking_to_redis(str(where)):
            return cast("redis.Redis", redis.cluster.RedisCluster(startup_nodes=nodes, **options))
    if where.kind == "sentinel":
        sentinel = redis.sentinel.Sentinel(
            list(where.hosts), sentinel_kwargs=_sentinel_options(where, patience), **options
        )
        return cast("redis.Redis", sentinel.master_for(where.service or "", db=where.db))
    client = redis.Redis(**_location(where), **options)
    pool: Any = client.connection_pool
    pool.connection_class = sync_connection(pool.connection_class, str(where), patience.first_s)
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
    pool: Any = client.connection_pool
    pool.connection_class = async_connection(pool.connection_class, str(where), patience.first_s)
    return client


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
        options["socket_keepalive_options"] = _KEEPALIVE
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
