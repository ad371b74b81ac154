"""T12: a server that may drop what was accepted is told of, by the worker and by the doctor."""

from __future__ import annotations

import json
import subprocess
import sys

from rig.figures import Counts
from rig.waiting import until
from rig.world import World


def test_evicting_server_is_told_of_loudly(world: World, figures: Counts) -> None:
    """A worker logs an error with the remedy, the doctor fails; with noeviction neither does."""
    world.client.config_set("maxmemory", "512mb")
    world.client.config_set("maxmemory-policy", "allkeys-lru")
    fleet = world.started(size=1)
    until(lambda: "broker.unsafe" in fleet.output(), what="the worker's warning")
    lines = [json.loads(line) for line in fleet.output().splitlines() if "broker.unsafe" in line]
    told = {line["check"]: line for line in lines}
    assert told["eviction"]["level"] == "error"
    assert "noeviction" in told["eviction"]["remedy"]
    codes = []
    for policy in ("allkeys-lru", "noeviction"):
        world.client.config_set("maxmemory-policy", policy)
        doctor = subprocess.run(
            [sys.executable, "-m", "worker.cli", "doctor", "--json"],
            env=world.env(), capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        checks = {
            one["name"]: one["status"] for one in map(json.loads, doctor.stdout.splitlines())
        }
        codes.append(checks["eviction"])
    assert codes == ["fail", "ok"]
    world.judge(figures, "T12", "allkeys-lru", told=sorted(told))
