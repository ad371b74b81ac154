"""Why a wait has no outcome yet: where the job is, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio

from worker.engine.enqueue import NO_SITE
from worker.engine.keys import Keyspace
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import AsyncScripts

__all__ = ["WaitReason", "read_wait_reason"]

#: Seconds after which a worker process without a heartbeat is not alive.
SILENT_S: Final = 20
_MS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReason:
    """Where a job is that has no outcome.

    Attributes:
        state: its state; None when it is not known any more.
        place: how many jobs of its site are before it; None unless it is in line.
        text: what it waits for, one or more clauses; "" when nothing holds it back.
    """

    state: str | None
    place: int | None
    text: str


async def read_wait_reason(
    client: redis.asyncio.Redis, keyspace: Keyspace, job_id: str
) -> WaitReason:
    """Ask Redis why a job has no outcome: one script, and one count of the living workers.

    Raises:
        BrokerError: Redis does not answer.
    """
    scripts = AsyncScripts(client, keyspace)
    reply = await scripts.run("explain", keyspace.shard_of_job(job_id), [job_id])
    if not reply:
        return WaitReason(state=None, place=None, text="")
    since_ms = int(reply[0]) - SILENT_S * _MS
    with speaking_to_redis():
        alive: int = await client.zcount(f"{keyspace.prefix(0)}workers", since_ms, "+inf")
    reason = keyspace.cipher.shown(reply[6], job_id=job_id, part="reason")
    return _read([*reply[:6], reason, *reply[7:]], alive)


def _read(reply: Sequence[Any], alive: int) -> WaitReason:
    words = [word.decode(errors="replace") if isinstance(word, bytes) else word for word in reply]
    (
        now,
        state,
        site,
        place,
        due,
        delivered,
        reason,
        paused,
        tripped,
        probe,
        throttled,
        interval,
        served,
    ) = words
    clauses: list[str] = []
    if state == "running" and delivered:
        clauses.append(f"running for {_length(int(now) - int(delivered))}")
    elif state == "delayed" and due:
        clauses.append(f"due in {_length(int(float(due)) - int(now))}")
    elif state == "held":
        clauses.append(f"held for a person: {reason}")
    if state in {"queued", "running", "delayed"} and not alive:
        clauses.append("no worker is alive")
    if state == "queued":
        held = (paused, tripped, probe, throttled)
        clauses += _site_clauses(int(now), site.partition("/")[0], held)
        if alive and not served and site != NO_SITE:
            clauses.append(f"no living worker has a key for site {site.partition('/')[0]}")
        if place and interval and float(interval) > 0:
            rate = round(60 * _MS / float(interval))
            jobs = "1 job is" if int(place) == 1 else f"{place} jobs are"
            clauses.append(f"{jobs} before it, at {rate} a minute")
    number = int(place) if place != "" else None
    return WaitReason(state=state, place=number, text="; ".join(clauses))


def _site_clauses(now_ms: int, site: str, held: Sequence[str]) -> list[str]:
    paused, tripped, probe, throttled = held
    clauses: list[str] = []
    if paused:
        clauses.append(f"site {site} is paused by a person ({paused})")
    if tripped:
        left = _length(int(float(probe)) - now_ms)
        clauses.append(f"site {site} is tripped ({tripped}): next probe in {left}")
    if throttled and float(throttled) > now_ms:
        left = _length(int(float(throttled)) - now_ms)
        clauses.append(f"the API throttles site {site} for {left}")
    return clauses


def _length(ms: int) -> str:
    seconds = max(0, ms) / _MS
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
