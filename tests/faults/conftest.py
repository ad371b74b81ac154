"""Fixtures of the fault tests: a stage per broker, figures for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.brokers import Kind
from rig.figures import Counts
from rig.processes import Processes
from rig.proxy import ChaosProxy
from rig.sandbox import SandboxServer
from rig.server import RedisServer
from rig.stage import Stage
from rig.world import World


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of the quick set what only the full one has time for, and the stock broker.

    The faults of dramatiq's own broker prove why this one exists; they are no faults of ours.
    """
    if config.getoption("--faults") == "full":
        return
    left_out = [item for item in items if item.get_closest_marker("faults") or _is_stock(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def _is_stock(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("kind") == "stock"


@pytest.fixture(params=["stock", "ours"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """The broker under test: the one dramatiq brings, then the engine's."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def make_stage(kind: Kind, tmp_path: Path, spawn: Processes) -> Iterator[Callable[..., Stage]]:
    """Set a stage on a server: `make_stage(server, worker_port=...)`."""
    stages: list[Stage] = []

    def make(server: RedisServer, **options: Any) -> Stage:
        folder = tmp_path / f"stage-{len(stages)}"
        folder.mkdir()
        stages.append(Stage(kind, server, folder, spawn, **options))
        return stages[-1]

    yield make
    spawn.end(grace_s=0)
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(make_stage: Callable[..., Stage], redis_server: RedisServer) -> Stage:
    """A stage on a server of the test's own, AOF always."""
    return make_stage(redis_server)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[ChaosProxy]:
    """A chaos proxy before the test's server."""
    with ChaosProxy(redis_server.port) as chaos:
        yield chaos


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Counts:
    """Note measured figures for the reports: `figures.note("D9", kind, p50_ms=...)`."""
    return Counts(Path(request.config.rootpath) / "build" / "faults.jsonl")


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """True for the full size of the matrix."""
    return bool(pytestconfig.getoption("--faults") == "full")


@pytest.fixture
def world(
    tmp_path: Path, redis_server: RedisServer, sandbox_server: SandboxServer, full: bool
) -> Iterator[World]:
    """Server (AOF always), sandbox, producer and fleet of one test."""
    made = World(tmp_path / "world", redis_server, sandbox_server, full=full)
    yield made
    made.close()
