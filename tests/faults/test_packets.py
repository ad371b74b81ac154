"""Packets are lost, late or dropped one way, between namespaces with a network of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.figures import Counts
from rig.namespaces import missing
from rig.processes import Processes
from rig.producing import AcceptedLog
from rig.sandbox import SandboxServer
from rig.server import RedisServer
from rig.waiting import until
from rig.wire import NEAR, Wire
from rig.world import World

SEED = 9
#: What the line does to packets: 30 % lost and up to 500 ms late, or nothing comes one way.
WEATHERS: dict[str, dict[str, Any]] = {
    "lossy": {"loss": 0.3, "jitter_ms": 500},
    "drop up": {"drop_up": True},
    "drop down": {"drop_down": True},
}
#: What the quick set has; the rest of it goes through a proxy there.
QUICK = {("workers", "lossy")}

CASES = [
    pytest.param(part, weather, marks=() if (part, weather) in QUICK else pytest.mark.faults)
    for part in ("producer", "workers", "API")
    for weather in WEATHERS
]


@pytest.fixture
def wire() -> Iterator[Wire]:
    """The line; servers and this process are at its near end."""
    if reason := missing("net"):
        pytest.skip(f"{reason}: the forms of T9 with real packets need it")
    with Wire(seed=SEED) as made:
        yield made


@pytest.fixture
def wired(wire: Wire, tmp_path: Path, full: bool) -> Iterator[World]:
    """A world at the near end, whose servers listen on the line too."""
    config = {"appendonly": "yes", "appendfsync": "always", "protected-mode": "no"}
    server = RedisServer(tmp_path / "redis", config={**config, "bind": f"127.0.0.1 {NEAR}"})
    api = SandboxServer(tmp_path / "sandbox", options=("--host", "0.0.0.0"))
    made = World(tmp_path / "world", server.start(), api.start(), full=full)
    yield made
    made.close()
    api.stop()
    server.stop()


def _far_env(world: World) -> dict[str, str]:
    return world.env(
        LARGESSE_REDIS_URL=f"redis://{NEAR}:{world.server.port}/0",
        CHARGEBEE_API_URL=f"http://{NEAR}:{world.api.port}",
        LARGESSE_ATTEMPT_TIMEOUT_S=2,
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("part", "weather"), CASES)
def test_lost_packets_lose_no_job(
    *, wired: World, wire: Wire, figures: Counts, spawn: Processes, part: str, weather: str
) -> None:
    """T9: real connections that lose packets lose no job; producers are told in time."""
    seconds = 300.0 if wired.full else 3.0
    wired.api.admin.set(latency_ms=100)
    port = wired.api.port if part == "API" else wired.server.port
    measured: dict[str, Any] = {"seconds": seconds}
    if part == "producer":
        fleet = wired.started()
        words = ["python", "-m", "rig.producing", "--log", str(wired.log.path)]
        words += ["--prefix", "order", "--n", "120", "--every-s", "0.02"]
        producer = spawn(wire.far(words), env=_far_env(wired), name="producer")
        until(lambda: len(AcceptedLog(wired.log.path).rows) >= 20, what="accepted jobs")
        wire.set(port=port, **WEATHERS[weather])
        time.sleep(seconds)
        wire.heal()
        assert producer.wait(120) == 0
        refused_s = json.loads(producer.output().splitlines()[-1])
        wired.log = AcceptedLog(wired.log.path)
        assert len(wired.log.job_ids()) == 120
        measured |= {"refused": len(refused_s), "slowest_refusal_s": round(max(refused_s), 2)}
    else:
        fleet = wired.started(env=_far_env(wired), launch=wire.far)
        wired.produce(60, prefix="before", every_s=0.005)
        wire.set(port=port, **WEATHERS[weather])
        wired.produce(60, prefix="during", every_s=0.01)
        time.sleep(seconds)
        ended = wired.published()
        wire.heal()
        measured |= {"ended_meanwhile": ended}
    wired.wait(timeout_s=180)
    measured["packets_lost"] = wire.lost
    assert wire.lost > 0
    assert not fleet.deaths
    wired.judge(figures, "T9", f"packets, {part}, {weather}", seed=SEED, **measured)
    assert measured.get("slowest_refusal_s", 0.0) <= 1.1
