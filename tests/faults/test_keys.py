"""T32 and T37: keys that are missing, refused or changed, beside workers with a good one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rig.figures import Counts
from rig.invariants import PREFIX
from rig.tenants import Tenants
from rig.waiting import until
from rig.world import World

from worker.engine.connection import connect
from worker.engine.keys import Keyspace
from worker.process.heartbeat import read_heartbeats

#: Jobs of each site.
JOBS = 30


@contextmanager
def _trips(world: World, site: str) -> Iterator[list[str]]:
    """Note why the site trips, if it does, until the block ends."""
    found: list[str] = []
    done = threading.Event()

    def watch() -> None:
        with world.server.client() as client:
            while not done.wait(0.05):
                reason: Any = client.hget(f"{PREFIX}site:{site}", "tripped")
                if reason is not None:
                    found.append(reason)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _wait_for_outcomes(world: World, n: int) -> None:
    until(lambda: world.published() >= n, timeout_s=60, what="all outcomes")
    assert world.verdict().states == {"succeeded": n}


def _problems(world: World, site: str) -> dict[int, str]:
    """What each living worker says is wrong with its key of a site, by process id."""
    with connect(f"redis://127.0.0.1:{world.server.port}/0") as client:
        seen = read_heartbeats(client, Keyspace())
    return {int(one.worker.split(":")[1]): one.keys[site][1] for one in seen if site in one.keys}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("threads", [False, True], ids=["loop", "threads"])
@pytest.mark.parametrize("problem", ["missing", "refused"])
def test_worker_without_a_good_key_stops_nobody_else(
    world: World, figures: Counts, problem: str, threads: bool
) -> None:
    """T37: beside a worker whose key of one site is missing or wrong, all jobs are answered."""
    tenants = Tenants(world, {"one": {}, "two": {}})
    key = "" if problem == "missing" else "test_revoked_key"
    bad_env = {**tenants.env(), "TENANT_1": key}
    good = world.started(env=tenants.env(), size=1, concurrency=8, threads=threads)
    bad = world.started(env=bad_env, size=1, concurrency=8, threads=threads)
    with _trips(world, "two") as trips:
        for begin in range(3):
            for site in tenants.names:
                tenants.produce(site, JOBS, prefix=f"round-{begin}")
            _wait_for_outcomes(world, 2 * JOBS * (begin + 1))
    assert trips == []
    until(lambda: problem in _problems(world, "two").values(), what="a heartbeat that tells")
    told = _problems(world, "two")
    assert {pid for pid, said in told.items() if said} <= bad.pids()
    assert {pid for pid, said in told.items() if not said} <= good.pids()
    size = "full" if world.full else "quick"
    name = f"key {problem}, {'threads' if threads else 'loop'}"
    figures.note("T37", name, n=6 * JOBS, size=size, lost=0, trips=0, named=True)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("hasty", [False, True], ids=["both keys", "old one revoked first"])
def test_key_rotation_fails_no_job(
    world: World, figures: Counts, tmp_path: Path, hasty: bool
) -> None:
    """T32: hosts change to the new key one after the other, under load; nothing fails or waits."""
    tenants = Tenants(world, {"one": {}})
    files = [tmp_path / f"key-{host}" for host in range(3)]
    _let_in(world, "key_old", "key_new")
    for file in files:
        file.write_text("key_old")
        sites = file.with_suffix(".toml")
        sites.write_text(tenants.path.read_text().replace("env:TENANT_0", f"file:{file}"))
        world.started(env={**tenants.env(), "LARGESSE_SITES": str(sites)}, size=1, concurrency=8)
    n = 1200 if world.full else 300
    load = threading.Thread(
        target=tenants.produce,
        args=("one", n),
        kwargs={"every_s": 8 / n if not world.full else 0.03},
    )
    load.start()
    try:
        with _trips(world, "one") as trips:
            files[0].write_text("key_new")
            time.sleep(6)  # a worker looks at its keys every five seconds
            if hasty:
                _let_in(world, "key_new")
            for file in files[1:]:
                file.write_text("key_new")
            load.join()
            _let_in(world, "key_new")
            tenants.produce("one", 50, prefix="after")
            _wait_for_outcomes(world, n + 50)
    finally:
        load.join()
    assert trips == []
    size = "full" if world.full else "quick"
    name = f"API key, {'old one revoked first' if hasty else 'both keys valid'}"
    figures.note("T32", name, n=n + 50, size=size, failed=0, trips=0)


def _let_in(world: World, *keys: str) -> None:
    world.api.admin.post("sites", {"name": "one", "api_keys": list(keys)})
