"""Redis itself: reachable, version, role, persistence, eviction, memory, clock, scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import redis

from worker.engine.queue_clock import is_cluster
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import SCRIPT_NAMES, script
from worker.errors import BrokerError
from worker.process.check import Check, worst

__all__ = ["check_redis", "unreachable"]

#: The oldest server that the tests run on: Redis 6.2. Every Valkey is younger.
OLDEST_REDIS: Final = (6, 2)
#: Part of `maxmemory` from which a queue should be given more; at 1 every enqueue is refused.
MEMORY_WARNS_AT: Final = 0.75
MEMORY_FAILS_AT: Final = 0.95
#: Seconds two clocks may differ. Only times in logs depend on it: the queue uses Redis's clock.
CLOCK_WARNS_S: Final = 2.0

Info = Mapping[str, Any]


def check_redis(client: redis.Redis, address: str) -> Iterator[Check]:
    """Check a server, or all primaries of a Cluster, of which the worst is told.

    Args:
        client: connected or not; left open.
        address: where it is, without the password.
    """
    try:
        with speaking_to_redis():
            started = time.monotonic()
            client.ping()
            took_ms = (time.monotonic() - started) * 1000
            nodes = _nodes(client)
    except BrokerError as error:
        yield unreachable(address, error)
        return
    yield Check("redis", "ok", f"{address} answers in {took_ms:.1f} ms")
    for judge in (
        _check_version, _check_role, _check_persistence, _check_eviction, _check_memory,
    ):  # fmt: skip
        yield _worst_of(nodes, judge)
    yield worst(_check_clock(ahead_s) for _, _, ahead_s in nodes)
    yield _check_scripts(client)


def unreachable(address: str, error: BrokerError) -> Check:
    """Give the check of a server that cannot be reached."""
    remedy = "Start Redis, or correct LARGESSE_REDIS_URL."
    return Check("redis", "fail", f"{address}: {error.args[0]}", remedy)


def _nodes(client: redis.Redis) -> list[tuple[str, Info, float]]:
    """Give name, facts and clock of each primary; the name of a single server is empty."""
    if not is_cluster(client):
        return [("", client.info(), _ahead_s(client.time))]
    cluster: Any = client
    return [
        (
            f"{node.name}: ",
            cluster.info(target_nodes=node),
            _ahead_s(partial(cluster.time, target_nodes=node)),
        )
        for node in cluster.get_primaries()
    ]


def _ahead_s(ask: Callable[[], Any]) -> float:
    before = time.time()
    seconds, microseconds = ask()
    return float(seconds + microseconds / 1e6 - (before + time.time()) / 2)


def _worst_of(nodes: Sequence[tuple[str, Info, float]], judge: Callable[[Info], Check]) -> Check:
    found = [(name, judge(info)) for name, info, _ in nodes]
    one = worst(check for _, check in found)
    name = next(name for name, check in found if check is one)
    return one if one.status == "ok" else Check(one.name, one.status, name + one.found, one.remedy)


def _check_scripts(client: redis.Redis) -> Check:
    """Look whether scripts may be run, and how many of this version are loaded; loads none."""
    hashes = [script(name).sha for name in SCRIPT_NAMES]
    try:
        with speaking_to_redis():
            client.eval("return 1", 0)
            loaded = sum(map(bool, client.script_exists(*hashes)))
    except (BrokerError, redis.exceptions.ResponseError):
        remedy = "Let the user run scripts (ACL: +@scripting): Largesse cannot work without them."
        return Check("scripts", "fail", "this user may not run scripts", remedy)
    found = f"{loaded} of {len(hashes)} of this version are loaded"
    return Check("scripts", "ok", found + ("" if loaded == len(hashes) else "; the rest on use"))


def _check_version(info: Info) -> Check:
    text = str(info.get("redis_version", "0"))
    found = f"Redis {text}"
    if "valkey_version" in info:
        return Check("version", "ok", f"Valkey {info['valkey_version']}")
    if tuple(int(part) for part in text.split(".")[:2] if part.isdigit()) < OLDEST_REDIS:
        return Check("version", "warn", found, "Use Valkey, or Redis 6.2 or newer.")
    return Check("version", "ok", found)


def _check_role(info: Info) -> Check:
    if info.get("role") != "master":
        remedy = "Name the primary in LARGESSE_REDIS_URL, or use redis+sentinel://."
        return Check("role", "fail", "a replica: it takes no jobs", remedy)
    return Check("role", "ok", f"primary, {info.get('connected_slaves', 0)} replicas")


def _check_persistence(info: Info) -> Check:
    aof = bool(info.get("aof_enabled"))
    failed = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status")
        if aof and info.get(name, "ok") != "ok"
    ]
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        failed.append("rdb_last_bgsave_status")
    if failed:
        remedy = "Look at the server's log and its disk: Redis may refuse jobs (MISCONF)."
        return Check("persistence", "fail", f"the last write failed ({failed[0]})", remedy)
    if not aof:
        remedy = "Set appendonly yes: without it a restart of Redis loses accepted jobs."
        return Check("persistence", "warn", "no append-only file", remedy)
    return Check("persistence", "ok", "append-only file")


def _check_eviction(info: Info) -> Check:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction" and info.get("maxmemory"):
        remedy = "Set maxmemory-policy noeviction: a full Redis would silently drop jobs."
        return Check("eviction", "fail", policy, remedy)
    return Check("eviction", "ok", policy if policy == "noeviction" else "no memory limit")


def _check_memory(info: Info) -> Check:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    found = f"{used / 1e6:.1f} MB used"
    if not limit:
        return Check("memory", "ok", f"{found}, no limit")
    share = used / limit
    found = f"{found} of {limit / 1e6:.1f} MB ({share:.0%})"
    if share < MEMORY_WARNS_AT:
        return Check("memory", "ok", found)
    remedy = "Give it more memory (maxmemory): a full Redis refuses every new job."
    return Check("memory", "fail" if share >= MEMORY_FAILS_AT else "warn", found, remedy)


def _check_clock(ahead_s: float) -> Check:
    found = f"Redis is {abs(ahead_s) * 1000:.0f} ms {'ahead' if ahead_s > 0 else 'behind'}"
    if abs(ahead_s) > CLOCK_WARNS_S:
        return Check("clock", "warn", found, "Set both clocks by NTP: times in logs are wrong.")
    return Check("clock", "ok", found)
