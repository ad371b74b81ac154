"""A site as the queue sees it: budget, clock, backlog, and what holds it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from worker.engine.enqueue import NO_SITE
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import queue_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.site_config import SiteConfig, count_living, limits_text, read_site_config
from worker.engine.site_limits import adaptive_ratio, calls_at_once

__all__ = ["LANES", "SiteState", "read_sites"]

#: The two lines of a site, in the order in which they are served.
LANES: Final = ("interactive", "bulk")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """A site as the queue sees it.

    Attributes:
        name: name of the site.
        interval_ms: milliseconds between two calls; 0 = no limit.
        burst_ms: how far calls may run ahead of that rate.
        max_in_flight: most calls at the same moment; 0 = no limit.
        at_once: the same now: fewer until calls have gone well, while they fail or while it is
            probed; 0 = no limit.
        in_flight: calls now.
        backlog: jobs in its lines.
        lanes: the same by lane.
        oldest_at_ms: Unix ms at which the job at the head of a line that has waited longest was
            enqueued, or None when none waits.
        throttled_until_ms: Unix ms until which the API asked not to be called, or None.
        paused_reason: why a person paused it, or None.
        paused_at_ms: since when.
        tripped_reason: why its circuit breaker is tripped, or None.
        tripped_at_ms: since when.
        probe_at_ms: when one call is tried while it is tripped, or None.
        settings_rate: calls a minute as the settings say, or None when they set no limit.
        hand_rate: calls a minute that a person set over the settings, or None.
        adaptive_ratio: part of its rate at which it is called: below 1 from a 429 until it has
            climbed back.
        next_at_ms: Unix ms of the next call that its rate allows; 0 = at once.
        budget_used: 0.0 = a whole burst may go at once, 1.0 = calls are spaced by the rate.
        config: what living workers say of it: limits and keys.
        unserved_since_ms: Unix ms since which jobs wait and no living worker has a key for the
            site, or None; None, too, while no worker lives at all.
    """

    name: str
    interval_ms: float
    burst_ms: float
    max_in_flight: int
    at_once: int
    in_flight: int
    backlog: int
    lanes: Mapping[str, int]
    oldest_at_ms: int | None
    throttled_until_ms: int | None
    paused_reason: str | None
    paused_at_ms: int | None
    tripped_reason: str | None
    tripped_at_ms: int | None
    probe_at_ms: int | None
    settings_rate: float | None
    hand_rate: float | None
    adaptive_ratio: float
    next_at_ms: int
    budget_used: float
    config: SiteConfig
    unserved_since_ms: int | None

    @property
    def rate_per_minute(self) -> float | None:
        """Calls a minute that the queue hands out, or None when there is no limit."""
        return 60_000 / self.interval_ms if self.interval_ms > 0 else None

    @property
    def adaptive_rate(self) -> float | None:
        """Calls a minute that the API lets through now, or None when there is no limit."""
        rate = self.rate_per_minute
        return None if rate is None else rate * self.adaptive_ratio

    @property
    def reason(self) -> str | None:
        """Why it is paused or tripped, or None."""
        return self.paused_reason or self.tripped_reason

    def state(self, now_ms: int) -> str:
        """Say how it stands.

        Args:
            now_ms: Unix ms.

        Returns:
            "paused" (by a person), "tripped" (circuit breaker), "unserved" (no worker has a key
            for it), "throttled" (by the API, until a time), "full" (all the calls that it may
            have now are in flight), "waiting" (for its rate) or "open".
        """
        if self.paused_reason is not None:
            return "paused"
        if self.tripped_reason is not None:
            return "tripped"
        if self.unserved_since_ms is not None:
            return "unserved"
        if self.throttled_until_ms is not None and self.throttled_until_ms > now_ms:
            return "throttled"
        if 0 < self.at_once <= self.in_flight:
            return "full"
        return "waiting" if self.backlog and self.next_at_ms > now_ms else "open"

    def as_json(self, now_ms: int) -> dict[str, Any]:
        """Give it as one object of `largesse sites list --json`."""
        rate = self.rate_per_minute
        return {
            "site": self.name,
            "state": self.state(now_ms),
            "paused_reason": self.paused_reason,
            "paused_at": self.paused_at_ms,
            "tripped_reason": self.tripped_reason,
            "tripped_at": self.tripped_at_ms,
            "probe_at": self.probe_at_ms,
            "unserved_since": self.unserved_since_ms,
            "throttled_until": self.throttled_until_ms,
            "rate_per_minute": None if rate is None else round(rate, 3),
            "adaptive_rate": None if self.adaptive_rate is None else round(self.adaptive_rate, 3),
            "settings_rate": self.settings_rate and round(self.settings_rate, 3),
            "hand_rate": self.hand_rate,
            "adaptive_ratio": round(self.adaptive_ratio, 4),
            "max_in_flight": self.max_in_flight or None,
            "at_once": self.at_once or None,
            "in_flight": self.in_flight,
            "backlog": self.backlog,
            "lanes": dict(self.lanes),
            "oldest_ms": self.oldest_ms(now_ms),
            "next_at": self.next_at_ms or None,
            "budget_used": round(self.budget_used, 3),
            "limits_differ": self.limits_differ,
        }

    @property
    def limits_differ(self) -> dict[str, str] | None:
        """Give what workers say of its limits while they differ: worker to limits, or None."""
        said = self.config.limits
        if len(said) < 2:
            return None
        return {worker: limits_text(limits) for limits, worker in said.items()}

    def oldest_ms(self, now_ms: int) -> int:
        """Give how long the oldest waiting job has waited, ms; 0 when none waits."""
        return 0 if self.oldest_at_ms is None else max(0, now_ms - self.oldest_at_ms)


def read_sites(client: redis.Redis, keyspace: Keyspace) -> list[SiteState]:
    """Give every site that is configured, was paused or has had jobs, by name.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    found: list[SiteState] = []
    for shard in range(keyspace.shards):
        prefix = keyspace.prefix(shard)
        with speaking_to_redis():
            queues: Any = client.smembers(f"{prefix}queues")
            ids = sorted(one.decode() for one in queues)
            names: set[bytes] = set(cast("set[bytes]", client.smembers(f"{prefix}sites")))
            for queue in ids:
                # A job may wait for a site that no worker knows.
                names |= cast("set[bytes]", client.smembers(f"{prefix}q:{queue}:lines"))
            pipe = client.pipeline(transaction=False)
            sites = sorted(name.decode() for name in names if name)
            for name in sites:
                pipe.hgetall(f"{prefix}site:{name}")
                pipe.hgetall(f"{prefix}config:{name}")
                for queue in ids:
                    for lane in LANES:
                        pipe.llen(f"{prefix}q:{queue}:line:{name}:{lane}")
                        pipe.lindex(f"{prefix}q:{queue}:line:{name}:{lane}", 0)
            replies = pipe.execute()
            now_ms = queue_now_ms(client, keyspace)
            alive = count_living(client, keyspace, now_ms) > 0
            width = 2 + len(ids) * len(LANES) * 2
            rows = [replies[start : start + width] for start in range(0, len(replies), width)]
            oldest = _oldest(client, prefix, [row[3::2] for row in rows])
        found += [
            _site(
                name,
                raw,
                lengths[::2],
                read_site_config(said, now_ms),
                (at_ms, now_ms),
                alive=alive,
            )
            for name, (raw, said, *lengths), at_ms in zip(sites, rows, oldest, strict=True)
        ]
    return sorted(found, key=lambda one: one.name)


def _oldest(
    client: redis.Redis, prefix: str, heads: Sequence[Sequence[bytes | None]]
) -> list[int | None]:
    """Give when the oldest of the jobs at the heads of each site's lines was enqueued, Unix ms."""
    pipe = client.pipeline(transaction=False)
    for ids in heads:
        for job_id in ids:
            # A line that is empty asks for nobody, so that the answers stay in their places.
            pipe.hget(f"{prefix}job:{(job_id or b'').decode()}", "enqueued_at")
    times = iter(pipe.execute())
    found = [[next(times) for _ in ids] for ids in heads]
    return [min((int(at) for at in one if at is not None), default=None) for one in found]


def _site(
    name: str,
    raw: Mapping[bytes, bytes],
    lengths: Sequence[int],
    config: SiteConfig,
    times: tuple[int | None, int],
    *,
    alive: bool,
) -> SiteState:
    oldest_at_ms, now_ms = times

    def number(field: bytes) -> float:
        return float(raw.get(field, 0))

    def whole(field: bytes) -> int | None:
        return int(raw[field]) if field in raw else None

    def text(field: bytes) -> str | None:
        return raw[field].decode(errors="replace") if field in raw else None

    lanes = {lane: sum(lengths[place :: len(LANES)]) for place, lane in enumerate(LANES)}
    throttled_until = int(number(b"throttled_until"))
    turn_ms = int(number(b"tat") - number(b"burst_ms")) if number(b"interval_ms") else 0
    at_once = calls_at_once(
        int(number(b"max_in_flight")),
        probed=b"probe_at" in raw,
        failures=int(number(b"failures")),
        ramp=whole(b"ramp"),
        success_at=whole(b"success_at"),
        now_ms=now_ms,
    )
    backlog = sum(lanes.values())
    unserved = alive and backlog > 0 and name != NO_SITE and not config.is_served(now_ms)
    return SiteState(
        name=name,
        interval_ms=number(b"interval_ms"),
        burst_ms=number(b"burst_ms"),
        max_in_flight=int(number(b"max_in_flight")),
        at_once=at_once,
        in_flight=int(number(b"in_flight")),
        backlog=backlog,
        lanes=lanes,
        oldest_at_ms=oldest_at_ms,
        throttled_until_ms=throttled_until or None,
        paused_reason=text(b"paused"),
        paused_at_ms=whole(b"paused_at"),
        tripped_reason=text(b"tripped"),
        tripped_at_ms=whole(b"tripped_at"),
        probe_at_ms=whole(b"probe_at"),
        settings_rate=_rate(
            number(b"set_interval_ms" if b"set_interval_ms" in raw else b"interval_ms")
        ),
        hand_rate=number(b"hand_rate") if b"hand_rate" in raw else None,
        adaptive_ratio=adaptive_ratio(
            number(b"adaptive") if b"adaptive" in raw else None,
            number(b"adaptive_at"),
            number(b"climb_ms"),
            now_ms=now_ms,
        ),
        next_at_ms=max(0, turn_ms, throttled_until),
        budget_used=_budget_used(
            number(b"tat") - now_ms, number(b"burst_ms"), number(b"interval_ms")
        ),
        config=config,
        unserved_since_ms=(config.served_at_ms or oldest_at_ms or now_ms) if unserved else None,
    )


def _rate(interval_ms: float) -> float | None:
    return 60_000 / interval_ms if interval_ms > 0 else None


def _budget_used(ahead_ms: float, burst_ms: float, interval_ms: float) -> float:
    if not interval_ms:
        return 0.0
    return min(1.0, max(0.0, ahead_ms) / (burst_ms + interval_ms))
