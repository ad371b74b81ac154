"""The queue at one moment, read from Redis: lines, leases, budgets. Three round trips, no scan.

gauges = read_queue(client, keyspace)
gauges.waiting, gauges.oldest_age_s, [site.paused_reason for site in gauges.sites]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from worker.engine.enqueue import NO_SITE
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import queue_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.site_config import count_living, read_site_config
from worker.engine.site_limits import adaptive_ratio

__all__ = ["LineGauges", "QueueGauges", "SiteGauges", "read_queue"]

LANES: Final = ("interactive", "bulk")
#: Sites that are read, the first by name: bounds the time of a scrape.
SITES_MAX: Final = 500
#: Commands of one pipeline.
PIPELINE_MAX: Final = 1_000

_SITE_FIELDS: Final = (
    "in_flight", "max_in_flight", "interval_ms", "burst_ms", "tat", "throttled_until",
    "adaptive_at", "climb_ms", "adaptive", "paused", "tripped",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LineGauges:
    """One lane of a site.

    Attributes:
        site: name of the site; "-" for messages that belong to none.
        lane: "interactive" or "bulk".
        waiting: jobs in it.
        oldest_age_s: seconds since the job at its head was enqueued; 0.0 when it is empty.
    """

    site: str
    lane: str
    waiting: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteGauges:
    """The budget of one site.

    Attributes:
        name: name of the site.
        in_flight: calls right now.
        max_in_flight: most of them; 0 = no limit.
        rate_per_minute: calls a minute that the fleet makes at most; 0.0 = no limit.
        adaptive_ratio: part of that rate at which it is called: below 1.0 after a 429.
        budget_used: 0.0 = a whole burst may go at once, 1.0 = calls are spaced by the rate.
        throttled_s: seconds until it may be called again, as the API asked; 0.0 = now.
        paused_reason: why a person paused it, or None.
        tripped_reason: why its circuit breaker is tripped, or None.
    """

    name: str
    in_flight: int
    max_in_flight: int
    rate_per_minute: float
    adaptive_ratio: float
    budget_used: float
    throttled_s: float
    paused_reason: str | None
    tripped_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueGauges:
    """All queues of a namespace.

    Attributes:
        now_ms: Redis time of the reading, Unix ms.
        lines: every lane of every site that is configured or has jobs, by name.
        sites: every site that is configured, paused or tripped, by name.
        unserved: site whose jobs wait while workers live and none has a key for it, to the seconds
            since one had, or since its oldest job was enqueued.
        delayed, leased, dead, held: jobs.
        overdue_s: seconds that the next delayed job is late; 0.0 when none is.
        outcomes: entries of the streams of outcomes.
        ended: (site, kind, outcome, class of the error) to jobs that Redis ended by itself.
    """

    now_ms: int
    lines: tuple[LineGauges, ...]
    sites: tuple[SiteGauges, ...]
    unserved: Mapping[str, float]
    delayed: int
    leased: int
    dead: int
    held: int
    overdue_s: float
    outcomes: int
    ended: Mapping[tuple[str, str, str, str], int]

    @property
    def waiting(self) -> int:
        """Jobs in all lines."""
        return sum(line.waiting for line in self.lines)

    @property
    def oldest_age_s(self) -> float:
        """Age of the oldest head of a line, seconds; lines of unserved sites aside."""
        served = (line.oldest_age_s for line in self.lines if line.site not in self.unserved)
        return max(served, default=0.0)


@dataclass(slots=True)
class _Counts:
    """What is summed over shards and queues."""

    delayed: int = 0
    leased: int = 0
    dead: int = 0
    held: int = 0
    outcomes: int = 0
    due_ms: float = float("inf")
    ended: dict[tuple[str, str, str, str], int] = field(default_factory=dict)


def read_queue(client: redis.Redis, keyspace: Keyspace) -> QueueGauges:
    """Read the queue.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    with speaking_to_redis():
        now_ms = queue_now_ms(client, keyspace)
        counts = _Counts()
        queues, sites = _read_shards(client, keyspace, counts)
        places = _read_queues(client, queues, counts)
        names = {(prefix, name) for prefix, _, name in places} | sites
        kept = sorted(names, key=lambda one: one[1])[:SITES_MAX]
        figures = _read_sites(client, kept, now_ms)
        lines = _read_lines(client, queues, kept, now_ms)
        alive = count_living(client, keyspace, now_ms)
        unserved = _read_unserved(client, kept, lines, now_ms) if alive else {}
    return QueueGauges(
        now_ms=now_ms,
        lines=tuple(lines),
        sites=tuple(one for one, where in zip(figures, kept, strict=True) if where in sites),
        unserved=unserved,
        delayed=counts.delayed,
        leased=counts.leased,
        dead=counts.dead,
        held=counts.held,
        overdue_s=max(0.0, (now_ms - counts.due_ms) / 1000),
        outcomes=counts.outcomes,
        ended=counts.ended,
    )


def _ask(client: redis.Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands in pipelines of a bounded length."""
    replies: list[Any] = []
    for start in range(0, len(commands), PIPELINE_MAX):
        pipe = client.pipeline(transaction=False)
        for command in commands[start : start + PIPELINE_MAX]:
            pipe.execute_command(*command)
        replies += pipe.execute()
    return replies


def _read_shards(
    client: redis.Redis, keyspace: Keyspace, counts: _Counts
) -> tuple[list[tuple[str, str]], set[tuple[str, str]]]:
    """Give (prefix, queue) of every queue and (prefix, site) of every site."""
    prefixes = [keyspace.prefix(shard) for shard in range(keyspace.shards)]
    commands: list[tuple[Any, ...]] = []
    for prefix in prefixes:
        commands += [
            ("SMEMBERS", f"{prefix}queues"), ("SMEMBERS", f"{prefix}sites"),
            ("ZCARD", f"{prefix}dead"), ("ZCARD", f"{prefix}held"),
            ("XLEN", f"{prefix}outcomes"), ("HGETALL", f"{prefix}ended"),
        ]  # fmt: skip
    replies = _ask(client, commands)
    queues: list[tuple[str, str]] = []
    sites: set[tuple[str, str]] = set()
    for place, prefix in enumerate(prefixes):
        names, configured, dead, held, outcomes, ended = replies[place * 6 : place * 6 + 6]
        queues += [(prefix, name.decode()) for name in sorted(names)]
        sites |= {(prefix, name.decode()) for name in configured}
        counts.dead += dead
        counts.held += held
        counts.outcomes += outcomes
        for raw, count in ended.items():
            site, kind, outcome, error_class = raw.decode(errors="replace").split("|", 3)
            # A budget of its own has the name of its site in front.
            labels = (site.partition("/")[0], kind, outcome, error_class)
            counts.ended[labels] = counts.ended.get(labels, 0) + int(count)
    return queues, sites


def _read_queues(
    client: redis.Redis, queues: Sequence[tuple[str, str]], counts: _Counts
) -> list[tuple[str, str, str]]:
    """Give (prefix, queue, site) of every line that is not empty."""
    commands: list[tuple[Any, ...]] = []
    for prefix, queue in queues:
        stem = f"{prefix}q:{queue}"
        commands += [
            ("SMEMBERS", f"{stem}:lines"), ("ZCARD", f"{stem}:delayed"),
            ("ZRANGE", f"{stem}:delayed", 0, 0, "WITHSCORES"), ("ZCARD", f"{stem}:leases"),
        ]  # fmt: skip
    replies = _ask(client, commands)
    found: list[tuple[str, str, str]] = []
    for place, (prefix, queue) in enumerate(queues):
        lines, delayed, due, leased = replies[place * 4 : place * 4 + 4]
        found += [(prefix, queue, name.decode()) for name in lines]
        counts.delayed += delayed
        counts.leased += leased
        if due:
            counts.due_ms = min(counts.due_ms, _score(due))
    return found


def _score(reply: Sequence[Any]) -> float:
    """Read the score of the first entry: beside the member, or in a pair with it (RESP 3)."""
    first = reply[0]
    return float(first[1] if isinstance(first, list | tuple) else reply[1])


def _read_sites(
    client: redis.Redis, sites: Sequence[tuple[str, str]], now_ms: int
) -> list[SiteGauges]:
    commands = [("HMGET", f"{prefix}site:{name}", *_SITE_FIELDS) for prefix, name in sites]
    return [
        _site(name, raw, now_ms)
        for (_, name), raw in zip(sites, _ask(client, commands), strict=True)
    ]


def _site(name: str, raw: Sequence[bytes | None], now_ms: int) -> SiteGauges:
    *numbers, adaptive, paused, tripped = raw
    in_flight, most, interval, burst, tat, until, *since = (float(one or 0) for one in numbers)
    ahead_ms = max(0.0, tat - now_ms)
    return SiteGauges(
        name=name,
        in_flight=int(in_flight),
        max_in_flight=int(most),
        rate_per_minute=60_000 / interval if interval else 0.0,
        adaptive_ratio=adaptive_ratio(
            None if adaptive is None else float(adaptive), *since, now_ms=now_ms
        ),
        budget_used=min(1.0, ahead_ms / (burst + interval)) if interval else 0.0,
        throttled_s=max(0.0, (until - now_ms) / 1000),
        paused_reason=None if paused is None else paused.decode(errors="replace"),
        tripped_reason=None if tripped is None else tripped.decode(errors="replace"),
    )


def _read_lines(
    client: redis.Redis,
    queues: Sequence[tuple[str, str]],
    sites: Sequence[tuple[str, str]],
    now_ms: int,
) -> list[LineGauges]:
    places = [(prefix, site, lane) for prefix, site in sites for lane in LANES]
    keys = [
        (place, f"{place[0]}q:{queue}:line:{place[1]}:{place[2]}")
        for place in places
        for prefix, queue in queues
        if prefix == place[0]
    ]
    replies = _ask(client, [one for _, key in keys for one in (("LLEN", key), ("LINDEX", key, 0))])
    waiting = dict.fromkeys(places, 0)
    heads: list[tuple[tuple[str, str, str], str]] = []
    for number, (place, _) in enumerate(keys):
        length, head = replies[number * 2 : number * 2 + 2]
        waiting[place] += length
        if head is not None:
            heads.append((place, f"{place[0]}job:{head.decode()}"))
    ages = dict.fromkeys(places, 0.0)
    since = _ask(client, [("HGET", key, "enqueued_at") for _, key in heads])
    for (place, _), at_ms in zip(heads, since, strict=True):
        if at_ms is not None:  # the head of the line may have been taken meanwhile
            ages[place] = max(ages[place], (now_ms - int(at_ms)) / 1000)
    return [
        LineGauges(site=place[1], lane=place[2], waiting=waiting[place], oldest_age_s=age)
        for place, age in ages.items()
    ]


def _read_unserved(
    client: redis.Redis,
    sites: Sequence[tuple[str, str]],
    lines: Sequence[LineGauges],
    now_ms: int,
) -> dict[str, float]:
    """Give the sites with waiting jobs that no living worker has a key for, to seconds."""
    oldest_s: dict[str, float] = {}
    for line in lines:
        if line.waiting and line.site != NO_SITE:
            oldest_s[line.site] = max(line.oldest_age_s, oldest_s.get(line.site, 0.0))
    waiting = [(prefix, name) for prefix, name in sites if name in oldest_s]
    said = _ask(client, [("HGETALL", f"{prefix}config:{name}") for prefix, name in waiting])
    found: dict[str, float] = {}
    for (_, name), raw in zip(waiting, said, strict=True):
        config = read_site_config(raw, now_ms)
        if not config.is_served(now_ms):
            since = config.served_at_ms
            found[name] = oldest_s[name] if since is None else (now_ms - since) / 1000
    return found
