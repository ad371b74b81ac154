"""What living workers say of a site: the limits of their settings, and the keys that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace

__all__ = ["SiteConfig", "count_living", "limits_text", "read_site_config"]

#: Milliseconds for which a worker's word holds; it is said every 5 s. The scripts have the same.
LIVING_MS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """What living workers say of a site.

    Attributes:
        limits: each limit that is said ("interval_ms burst_ms max_in_flight"), with the last
            worker that said so; more than one while workers differ, and then the lowest hold.
        served_at_ms: Unix ms at which a worker last had a key for the site; None when none had
            one in the last day.
        refused: mark of each key that the API refused, with the reason.
    """

    limits: Mapping[str, str]
    served_at_ms: int | None
    refused: Mapping[str, str]

    def is_served(self, now_ms: int) -> bool:
        """Say whether a living worker has a key for the site."""
        return self.served_at_ms is not None and now_ms - self.served_at_ms <= LIVING_MS


def read_site_config(raw: Mapping[bytes, bytes], now_ms: int) -> SiteConfig:
    """Read the hash `config:<site>`.

    Args:
        raw: its fields.
        now_ms: Unix ms.
    """
    limits: dict[str, str] = {}
    refused: dict[str, str] = {}
    served: list[int] = []
    for field, value in raw.items():
        word, _, name = field.decode(errors="replace").partition(" ")
        at, _, text = value.decode(errors="replace").partition(" ")
        if word == "limits" and now_ms - int(at) <= LIVING_MS:
            limits[name] = text
        elif word == "refused":
            refused[name] = text
        elif word == "key" and name != "none":
            served.append(int(at))
    return SiteConfig(
        limits=dict(sorted(limits.items())),
        served_at_ms=max(served, default=None),
        refused=refused,
    )


def count_living(client: redis.Redis, keyspace: Keyspace, now_ms: int) -> int:
    """Count the workers that live: without any no site is served, and that alone is to be said.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        now_ms: Unix ms by the queue's clock.
    """
    found: Any = client.zcount(f"{keyspace.prefix(0)}workers", now_ms - LIVING_MS, "+inf")
    return int(found)


def limits_text(limits: str) -> str:
    """Write limits for a person.

    Args:
        limits: interval in ms, burst in ms and most calls at once, with blanks between.

    Returns:
        Such as "60 a minute, 5 at once".
    """
    interval_ms, _, most = limits.split(" ")
    rate = f"{60_000 / float(interval_ms):.4g} a minute" if float(interval_ms) else "no rate"
    return f"{rate}, {most} at once" if most != "0" else f"{rate}, any number at once"
