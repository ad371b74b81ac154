"""A site as the queue sees it: budget, clock, backlog, and what holds it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from worker.engine.away import speaking_to_redis
from worker.engine.keys import Keyspace

__all__ = ["LANES", "SiteState", "read_sites"]

#: The two lines of a site, in the order in which they are served.
LANES: Final = ("interactive", "bulk")
#: Milliseconds in which a pace doubles once it climbs, as in site.lua.
DOUBLE_MS: Final = 3_500


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """A site as the queue sees it.

    Attributes:
        name: name of the site.
        interval_ms: milliseconds between two calls; 0 = no limit.
        burst_ms: how far calls may run ahead of that pace.
        max_in_flight: most calls at the same moment; 0 = no limit.
        in_flight: calls now.
        backlog: jobs in its lines.
        lanes: the same by lane.
        paused_until_ms: Unix ms until which nobody calls it, or None.
        parked: why nobody calls it until somebody resumes it, or None.
        parked_at_ms: since when.
        probe_at_ms: when one call is tried while it is parked, or None.
        hand_rate: calls a minute that a person set over the settings, or None.
        pace: part of its rate at which it is called: below 1 from a 429 until it has climbed back.
        next_at_ms: Unix ms of the next call that its pace allows; 0 = at once.
    """

    name: str
    interval_ms: float
    burst_ms: float
    max_in_flight: int
    in_flight: int
    backlog: int
    lanes: Mapping[str, int]
    paused_until_ms: int | None
    parked: str | None
    parked_at_ms: int | None
    probe_at_ms: int | None
    hand_rate: float | None
    pace: float
    next_at_ms: int

    @property
    def rate_per_minute(self) -> float | None:
        """Calls a minute that the queue hands out, or None when there is no limit."""
        return 60_000 / self.interval_ms if self.interval_ms > 0 else None

    def state(self, now_ms: int) -> str:
        """Say how it stands.

        Args:
            now_ms: Unix ms.

        Returns:
            "parked", "paused" (until a time), "full" (all its calls are in flight), "waiting"
            (for its pace) or "open".
        """
        if self.parked is not None:
            return "parked"
        if self.paused_until_ms is not None and self.paused_until_ms > now_ms:
            return "paused"
        if 0 < self.max_in_flight <= self.in_flight:
            return "full"
        return "waiting" if self.backlog and self.next_at_ms > now_ms else "open"

    def as_json(self, now_ms: int) -> dict[str, Any]:
        """Give it as one object of `largesse sites list --json`."""
        rate = self.rate_per_minute
        return {
            "site": self.name,
            "state": self.state(now_ms),
            "reason": self.parked,
            "parked_at": self.parked_at_ms,
            "probe_at": self.probe_at_ms,
            "paused_until": self.paused_until_ms,
            "rate_per_minute": None if rate is None else round(rate, 3),
            "hand_rate": self.hand_rate,
            "pace": round(self.pace, 4),
            "max_in_flight": self.max_in_flight or None,
            "in_flight": self.in_flight,
            "backlog": self.backlog,
            "lanes": dict(self.lanes),
            "next_at": self.next_at_ms or None,
        }


def read_sites(client: redis.Redis, keyspace: Keyspace) -> list[SiteState]:
    """Give every site that is configured, was parked or has had jobs, by name.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: Redis is away.
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
                for queue in ids:
                    for lane in LANES:
                        pipe.llen(f"{prefix}q:{queue}:line:{name}:{lane}")
            pipe.time()
            *replies, (seconds, micros) = pipe.execute()
        now_ms = seconds * 1000 + micros // 1000
        width = 1 + len(ids) * len(LANES)
        found += [
            _site(
                name,
                replies[place * width],
                replies[place * width + 1 : (place + 1) * width],
                now_ms,
            )
            for place, name in enumerate(sites)
        ]
    return sorted(found, key=lambda one: one.name)


def _site(name: str, raw: Mapping[bytes, bytes], lengths: Sequence[int], now_ms: int) -> SiteState:
    def number(field: bytes) -> float:
        return float(raw.get(field, 0))

    lanes = {lane: sum(lengths[place :: len(LANES)]) for place, lane in enumerate(LANES)}
    paused = int(number(b"paused_until"))
    turn_ms = int(number(b"tat") - number(b"burst_ms")) if number(b"interval_ms") else 0
    pace = 1.0
    if b"pace" in raw:
        climbed_ms = min(3_600_000, max(0.0, now_ms - number(b"pace_at") - number(b"climb_ms")))
        pace = min(1.0, number(b"pace") * 2 ** (climbed_ms / DOUBLE_MS))
    return SiteState(
        name=name,
        interval_ms=number(b"interval_ms"),
        burst_ms=number(b"burst_ms"),
        max_in_flight=int(number(b"max_in_flight")),
        in_flight=int(number(b"in_flight")),
        backlog=sum(lanes.values()),
        lanes=lanes,
        paused_until_ms=paused or None,
        parked=raw[b"parked"].decode(errors="replace") if b"parked" in raw else None,
        parked_at_ms=int(number(b"parked_at")) or None,
        probe_at_ms=int(number(b"probe_at")) or None,
        hand_rate=number(b"hand_rate") if b"hand_rate" in raw else None,
        pace=pace,
        next_at_ms=max(0, turn_ms, paused),
    )
