"""Both brokers, made the same way: the one that dramatiq brings, and the engine's own."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend
from redis.backoff import NoBackoff
from redis.retry import Retry

Kind = Literal["stock", "ours"]

NAMESPACE = "largesse"
STOCK_NAMESPACE = "dramatiq"


def make_broker(
    kind: Kind,
    url: str,
    *,
    lease_ms: int = 15_000,
    heartbeat_ms: int = 60_000,
    maintenance: int = 1_000,
    retries: int | None = None,
    socket_timeout_s: float | None = None,
    results_url: str | None = None,
) -> dramatiq.Broker:
    """Make a broker with its default middleware.

    Args:
        kind: `stock` for dramatiq's RedisBroker, `ours` for the engine.
        url: the server.
        lease_ms: lease of the engine; it is renewed three times as often.
        heartbeat_ms: heartbeat timeout of the stock broker.
        maintenance: chance of maintenance of the stock broker, in a million.
        retries: redis-py's retries for the stock broker, without waits; its own ten when None.
        socket_timeout_s: socket timeout of the client; 5 s for both when None.
        results_url: stock results go to this server (dramatiq's Results middleware).
    """
    if kind == "ours":
        from worker.engine.broker import EngineBroker
        from worker.engine.connection import connect

        client = connect(url)
        if socket_timeout_s is not None:
            client.connection_pool.connection_kwargs["socket_timeout"] = socket_timeout_s
        return EngineBroker(
            client=client, namespace=NAMESPACE, lease_ms=lease_ms, renew_ms=lease_ms // 3
        )
    address = urlsplit(url)
    options: dict[str, Any] = {"host": address.hostname, "port": address.port}
    if retries is not None:
        options["retry"] = Retry(NoBackoff(), retries)
    if socket_timeout_s is not None:
        options["socket_timeout"] = socket_timeout_s
    broker = RedisBroker(heartbeat_timeout=heartbeat_ms, maintenance_chance=maintenance, **options)
    if results_url:
        broker.add_middleware(Results(backend=RedisBackend(url=results_url)))
    return broker
