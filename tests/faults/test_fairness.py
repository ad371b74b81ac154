"""T14: sites with backlogs of any size share the workers evenly."""

from __future__ import annotations

from collections import Counter

import pytest
from rig.figures import Counts
from rig.tenants import Tenants, gini
from rig.world import World

SITES = 50
#: Most that service may be uneven among sites that have jobs left.
GINI_MAX = 0.1


@pytest.mark.timeout(600)
def test_sites_share_the_workers_evenly(world: World, figures: Counts) -> None:
    """T14: 50 sites with 1 to 10,000 jobs: those with jobs left are served equally often."""
    most = 10_000 if world.full else 120
    backlog = {f"site-{n}": round(most ** (n / (SITES - 1))) for n in range(SITES)}
    tenants = Tenants(world, {name: {} for name in backlog})
    # The largest first: nobody is served in the order of arrival alone.
    for name in reversed(backlog):
        tenants.produce(name, backlog[name])
    world.api.admin.set(latency_ms=5)
    world.fleet(env=tenants.env(), size=2, concurrency=16).start()
    world.wait(timeout_s=500)
    requests = sorted(world.api.admin.requests(), key=lambda one: one["at_ms"])
    ginis = {}
    for part in (0.1, 0.25, 0.5, 0.75):
        served = Counter(one["site"] for one in requests[: round(len(requests) * part)])
        with_budget = [served[name] for name in backlog if served[name] < backlog[name]]
        # Of three calls each and one more for some, the Gini is 0.1 by counting alone.
        if len(with_budget) > 1 and sum(with_budget) >= 5 * len(with_budget):
            ginis[f"{part:.0%}"] = round(gini(with_budget), 4)
    world.judge(
        figures,
        "T14",
        "fairness",
        sites=SITES,
        largest_backlog=most,
        gini_after=ginis,
    )
    assert len(ginis) >= 3
    assert max(ginis.values()) <= GINI_MAX
