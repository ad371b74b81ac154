"""Many sites on one sandbox: their keys, a sites file, and jobs that are noted as accepted."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from rig.figures import percentile
from rig.invariants import PREFIX
from rig.producing import GIFT
from rig.waiting import until
from rig.world import World
from worker import Producer

#: Jobs that have a p99.
BLOCK = 200


class Tenants:
    """Sites of one test, known to the sandbox and to the workers.

    Args:
        world: its sandbox, server and log of accepted jobs are used.
        sites: name to settings of the site, as in the sites file; no limits unless given.
    """

    def __init__(self, world: World, sites: Mapping[str, Mapping[str, Any]]) -> None:
        self.world = world
        self.names = list(sites)
        self._keys = {f"TENANT_{place}": name for place, name in enumerate(sites)}
        lines = [f'default_site = "{self.names[0]}"']
        for variable, name in self._keys.items():
            self.let_in(name)
            given = {
                "api_key": f"env:{variable}",
                "api_url": world.api.url,
                "rate_per_minute": 0,
                "max_in_flight": 0,
                **sites[name],
            }
            lines += [f"[sites.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in given.items())]
        self.path = world.folder / "sites.toml"
        self.path.write_text("\n".join(lines) + "\n")
        world.producer_env = self.env()
        self.producer: Producer = world.producer()

    def let_in(self, name: str, *, key: str | None = None) -> None:
        """Tell the sandbox of a site, or give it another key than the workers use."""
        self.world.api.admin.post("sites", {"name": name, "api_keys": [key or f"key_{name}"]})

    def env(self, **changes: Any) -> dict[str, str]:
        """Variables of workers and producers."""
        found = self.world.env(**changes)
        kept = {name: value for name, value in found.items() if not name.startswith("CHARGEBEE_")}
        keys = {variable: f"key_{name}" for variable, name in self._keys.items()}
        return {**kept, **keys, "LARGESSE_SITES": str(self.path)}

    def produce(self, site: str, n: int, *, prefix: str = "job", every_s: float = 0.0) -> None:
        """Enqueue n gifts of a site, in batches or one by one, and note them."""
        size = 1 if every_s else 1000
        for begin in range(0, n, size):
            keys = [f"{site}-{prefix}-{place}" for place in range(begin, min(n, begin + size))]
            specs = [
                {"kind": "gift_checkout", "payload": GIFT, "key": key, "site": site}
                for key in keys
            ]
            jobs = self.producer.enqueue_many(specs)
            self.world.log.note_many(
                [
                    {"key": key, "job_id": job.id, "site": site}
                    for key, job in zip(keys, jobs, strict=True)
                ]
            )
            if every_s:
                time.sleep(every_s)

    def ids(self, site: str, prefix: str = "") -> list[str]:
        """Ids of the accepted jobs of a site whose key begins so."""
        start = f"{site}-{prefix}"
        rows = self.world.log.rows
        return [row["job_id"] for row in rows if row["key"].startswith(start)]

    def waits_ms(self, ids: list[str]) -> list[float]:
        """Milliseconds from being enqueued to the first start, by the clock of Redis."""
        rows = [
            self.world.client.hmget(f"{PREFIX}job:{one}", "enqueued_at", "first_delivery_at")
            for one in ids
        ]
        return [float(start) - float(begin) for begin, start in rows]

    def took_ms(self, ids: list[str]) -> list[float]:
        """Milliseconds from being enqueued to the result, by the clock of Redis."""
        rows = [
            self.world.client.hmget(f"{PREFIX}job:{one}", "enqueued_at", "finished_at")
            for one in ids
        ]
        return [float(end) - float(begin) for begin, end in rows]

    def tail_ms(self, site: str, n: int, *, prefix: str, timeout_s: float = 60.0) -> float:
        """Send jobs one by one, 20 ms apart; the tail from enqueue to result, ms.

        The tail is the least of the p99s of each 200 jobs: what other programs of the machine
        take comes on top of it. Of fewer jobs it is the p90, as one would decide a p99.
        """
        self.produce(site, n, prefix=prefix, every_s=0.02)
        ids = self.ids(site, f"{prefix}-")
        until(
            lambda: self.world.client.exists(*(f"{PREFIX}out:{one}" for one in ids)) == n,
            timeout_s=timeout_s,
            what="the results",
        )
        took_ms = self.took_ms(ids)
        if n < BLOCK:
            return percentile(took_ms, 0.9)
        blocks = [took_ms[start : start + BLOCK] for start in range(0, n, BLOCK)]
        return min(percentile(one, 0.99) for one in blocks)

    def field(self, site: str, name: str) -> str | None:
        """One field of what the queue knows of a site."""
        found: str | None = self.world.client.hget(f"{PREFIX}site:{site}", name)
        return found

    def history(self, job_id: str) -> list[dict[str, Any]]:
        """Attempts of a job that did not end it."""
        found = self.world.client.lrange(f"{PREFIX}hist:{job_id}", 0, -1)
        return [json.loads(one) for one in found]

    def requests(self, site: str) -> list[dict[str, Any]]:
        """Requests of a site in the order in which the API saw them."""
        return [one for one in self.world.api.admin.requests() if one["site"] == site]


def gini(counts: list[int]) -> float:
    """Gini coefficient of counts (not empty): 0 when all are equal, near 1 when one has all."""
    ordered = sorted(counts)
    total = sum(ordered)
    if not total:
        return 0.0
    weighted = sum(place * count for place, count in enumerate(ordered, start=1))
    n = len(ordered)
    return 2 * weighted / (n * total) - (n + 1) / n
