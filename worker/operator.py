"""The operator's moves: what is dead or held, which sites wait, and what to do about it.

    desk = Operator.from_env()
    for letter in desk.dead():
        desk.replay(letter.job_id)

Every move is one script; the ids, lines and results of jobs stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast

import redis

from worker.engine.away import speaking_to_redis
from worker.engine.connection import PRODUCER, connect
from worker.engine.keys import Keyspace
from worker.engine.record import Record, read_records
from worker.engine.scripts import Scripts
from worker.errors import ReplayRefusedError, ResultMissingError
from worker.settings import Settings

__all__ = ["Operator", "SetAside", "SiteState"]

#: Entries of one page of a listing.
PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A job that was set aside.

    Attributes:
        job_id: its id.
        at_ms: when, Unix ms.
        record: its record, or None when it has gone by age.
    """

    job_id: str
    at_ms: int
    record: Record | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """A site as the queue sees it.

    Attributes:
        name: name of the site.
        interval_ms: milliseconds between two calls; 0 = no limit.
        burst_ms: how far calls may run ahead of that pace.
        max_in_flight: most calls at the same moment; 0 = no limit.
        in_flight: calls now.
        backlog: jobs in its line.
        paused_until_ms: Unix ms until which nobody calls it, or None.
        parked: why nobody calls it until somebody resumes it, or None.
        parked_at_ms: since when.
    """

    name: str
    interval_ms: float
    burst_ms: float
    max_in_flight: int
    in_flight: int
    backlog: int
    paused_until_ms: int | None
    parked: str | None
    parked_at_ms: int | None


class Operator:
    """Looks after a queue.

    Args:
        settings: where Redis is, the window, how long results are kept.

    Raises:
        BrokerUnavailableError: from every method, while Redis is away.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyspace = Keyspace(settings.namespace, settings.shards)
        self._client: redis.Redis = connect(settings.redis, PRODUCER)
        self._scripts = Scripts(self._client, self._keyspace)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make one from environment variables; see docs/settings.md."""
        return cls(Settings.from_env(environ))

    def dead(self) -> Iterator[SetAside]:
        """Give the dead letters, oldest first within a shard."""
        return self._set_aside("dead")

    def held(self) -> Iterator[SetAside]:
        """Give the jobs held for a person, oldest first within a shard."""
        return self._set_aside("held")

    def replay(self, job_id: str, *, new_key: bool = False) -> None:
        """Run a job again that failed, expired, was cancelled or is held.

        The job keeps its id. While its idempotency window is open it keeps its idempotency key
        too, so a page that an unknown attempt made is found again instead of doubled.

        Args:
            job_id: its id.
            new_key: give it a new idempotency key. An unknown attempt may then have left a page
                behind that nobody was given; the record counts it as an orphan.

        Raises:
            ReplayRefusedError: it is not in such a state, or the window is over and `new_key` was
                not asked for.
            ResultMissingError: it is not known.
        """
        window_ms = round(self._settings.window_minutes * 60_000)
        word = self._move("replay", job_id, [window_ms, int(new_key)])
        if word != "queued":
            raise ReplayRefusedError(job_id, word)

    def discard(self, job_id: str) -> None:
        """Drop a dead letter for good, or end a held job as failed.

        Raises:
            ReplayRefusedError: the job is neither dead nor held.
            ResultMissingError: it is not known.
        """
        arguments = [self._settings.result_ttl_s * 1000, self._settings.stream_max_len]
        word = self._move("discard", job_id, arguments)
        if word != "discarded":
            raise ReplayRefusedError(job_id, word)

    def pause(self, site: str, *, reason: str = "paused by hand") -> None:
        """Hand out no more jobs of a site; they stay in their lines."""
        self._scripts.run("park", self._keyspace.shard_of_site(site), [site, reason])

    def resume(self, site: str) -> bool:
        """Hand out the jobs of a parked or paused site again; False when nothing held it back."""
        word = self._scripts.run("resume", self._keyspace.shard_of_site(site), [site])
        return cast("bytes", word) == b"resumed"

    def sites(self) -> list[SiteState]:
        """Give every site that is configured or was parked, by name."""
        found: list[SiteState] = []
        for shard in range(self._keyspace.shards):
            prefix = self._keyspace.prefix(shard)
            with speaking_to_redis():
                names = cast("set[bytes]", self._client.smembers(f"{prefix}sites"))
                queues = cast("set[bytes]", self._client.smembers(f"{prefix}queues"))
            ids = [one.decode() for one in queues]
            found += [self._site(prefix, name.decode(), ids) for name in names]
        return sorted(found, key=lambda one: one.name)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _set_aside(self, which: Literal["dead", "held"]) -> Iterator[SetAside]:
        for shard in range(self._keyspace.shards):
            key, start = f"{self._keyspace.prefix(shard)}{which}", 0
            while True:
                with speaking_to_redis():
                    rows: Any = self._client.zrange(key, start, start + PAGE - 1, withscores=True)
                entries = [(raw.decode(), int(score)) for raw, score in rows]
                records = read_records(
                    self._client, self._keyspace, [one for one, _ in entries], history=True
                )
                for job_id, at_ms in entries:
                    yield SetAside(job_id=job_id, at_ms=at_ms, record=records[job_id])
                if len(entries) < PAGE:
                    break
                start += PAGE

    def _move(self, script: str, job_id: str, arguments: list[int]) -> str:
        shard = self._keyspace.shard_of_job(job_id)
        word = cast("bytes", self._scripts.run(script, shard, [job_id, *arguments])).decode()
        if word == "missing":
            raise ResultMissingError(job_id)
        return word

    def _site(self, prefix: str, name: str, queues: list[str]) -> SiteState:
        lines = [
            f"{prefix}q:{queue}:line:{name}:{lane}"
            for queue in queues
            for lane in ("interactive", "bulk")
        ]
        with speaking_to_redis():
            raw = cast("dict[bytes, bytes]", self._client.hgetall(f"{prefix}site:{name}"))
            lengths = [self._client.llen(line) for line in lines]

        def number(field: bytes) -> float:
            return float(raw.get(field, 0))

        return SiteState(
            name=name,
            interval_ms=number(b"interval_ms"),
            burst_ms=number(b"burst_ms"),
            max_in_flight=int(number(b"max_in_flight")),
            in_flight=int(number(b"in_flight")),
            backlog=sum(lengths),
            paused_until_ms=int(number(b"paused_until")) or None,
            parked=raw[b"parked"].decode() if b"parked" in raw else None,
            parked_at_ms=int(number(b"parked_at")) or None,
        )
