"""T47: workers whose limits of a site differ never call it faster than the lowest allows."""

from __future__ import annotations

import time

import pytest
from rig.figures import Counts
from rig.tenants import Tenants
from rig.waiting import until
from rig.world import World

from worker.engine.connection import connect
from worker.engine.keys import Keyspace
from worker.operator.site_state import read_sites

#: Calls a minute that the two hosts have in their settings.
LOW, HIGH = 60, 1_200


@pytest.mark.timeout(120)
def test_lowest_limit_of_two_hosts_holds(world: World, figures: Counts) -> None:
    """T47: while one host still has the lower rate, the site is called at that one."""
    tenants = Tenants(world, {"shop": {"rate_per_minute": LOW}})
    changed = world.folder / "changed.toml"
    text = tenants.path.read_text()
    changed.write_text(text.replace(f"rate_per_minute = {LOW}", f"rate_per_minute = {HIGH}"))
    # The one with the higher rate comes last, and writes last of all every five seconds.
    world.started(env=tenants.env(), size=1, concurrency=8)
    world.started(env={**tenants.env(), "LARGESSE_SITES": str(changed)}, size=1, concurrency=8)
    seconds = 40 if world.full else 15
    tenants.produce("shop", 10 * seconds)
    began = time.time()
    time.sleep(seconds)
    calls = len(world.requests_since(began))
    took_s = time.time() - began
    with connect(f"redis://127.0.0.1:{world.server.port}/0") as client:
        (site,) = read_sites(client, Keyspace())
    assert sorted((site.limits_differ or {}).values()) == [
        "1175 a minute, any number at once",
        "58 a minute, any number at once",
    ]
    output = "".join(fleet.output() for fleet in world.fleets)
    until(lambda: '"site.limits_differ"' in output, timeout_s=1, what="a line in the log")
    allowed = took_s * LOW / 60
    size = "full" if world.full else "quick"
    figures.note(
        "T47", f"{LOW} and {HIGH} a minute", n=calls, size=size, allowed=round(allowed),
        seconds=round(took_s),
    )  # fmt: skip
    # Two may go at once in the beginning.
    assert seconds / 3 <= calls <= allowed + 2
