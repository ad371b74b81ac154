"""How Redis itself is: version, role, memory, persistence, how quickly it answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from worker.engine.redis_errors import speaking_to_redis

__all__ = ["BrokerHealth", "read_health"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerHealth:
    """One server, or the first of a Cluster.

    Attributes:
        server: name and version, such as "Valkey 9.1.2".
        role: "master" or "slave".
        took_ms: milliseconds of one PING.
        used_bytes, limit_bytes: memory; a limit of 0 is none.
        keeps: what it persists: "append-only file", "snapshots" or "nothing".
        evicts: its eviction policy.
        clients: connections.
        listening: connections that wait for a bell: idle workers.
        problem: what is wrong with it, or None.
    """

    server: str
    role: str
    took_ms: float
    used_bytes: int
    limit_bytes: int
    keeps: str
    evicts: str
    clients: int
    listening: int
    problem: str | None


def read_health(client: redis.Redis) -> BrokerHealth:
    """Ask Redis how it is.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    with speaking_to_redis():
        started = time.monotonic()
        client.ping()
        took_ms = (time.monotonic() - started) * 1000
        info = _of_one(client.info())
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", "unknown"))
    valkey = info.get("valkey_version")
    return BrokerHealth(
        server=f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', 'unknown')}",
        role=str(info.get("role", "unknown")),
        took_ms=took_ms,
        used_bytes=int(info.get("used_memory", 0)),
        limit_bytes=limit,
        keeps=_keeps(info),
        evicts=policy,
        clients=int(info.get("connected_clients", 0)),
        listening=int(info.get("blocked_clients", 0)),
        problem=_problem(info, limit, policy),
    )


def _of_one(reply: Any) -> Mapping[str, Any]:
    """Give the answer of one server; a Cluster answers with one for each node."""
    first = next(iter(reply.values()), None)
    found: Mapping[str, Any] = (
        first if isinstance(first, dict) and ":" in next(iter(reply)) else reply
    )
    return found


def _keeps(info: Mapping[str, Any]) -> str:
    if info.get("aof_enabled"):
        return "append-only file"
    return (
        "snapshots"
        if int(info.get("rdb_last_save_time", 0)) and info.get("rdb_saves")
        else "nothing"
    )


def _problem(info: Mapping[str, Any], limit: int, policy: str) -> str | None:
    if info.get("role") not in {"master", None}:
        return "it is a replica and takes no jobs"
    if "err" in {info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")}:
        return "it cannot write its disk"
    if limit and policy != "noeviction":
        return f"it drops jobs when it is full ({policy})"
    if limit and int(info.get("used_memory", 0)) > 0.9 * limit:
        return "its memory is nearly full"
    return None
