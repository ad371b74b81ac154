"""T31: workers and producers of this version and of the next, side by side, either way."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rig.figures import Counts
from rig.processes import ROOT, Processes
from rig.producing import AcceptedLog
from rig.waiting import until
from rig.world import World

from worker.engine.keys import RECORD_VERSION

NEXT = RECORD_VERSION + 1
#: What the next version writes that this one does not know.
FIELD = "next_field"


@pytest.fixture
def next_version(tmp_path: Path) -> Callable[[Sequence[str]], list[str]]:
    """The packages as the next version might have them; starts a program of that version."""
    folder = tmp_path / "next"
    for package in ("worker", "schemas"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    _edit(folder / "worker/engine/keys.py", f"RECORD_VERSION: Final = {RECORD_VERSION}",
          f"RECORD_VERSION: Final = {NEXT}")  # fmt: skip
    _edit(folder / "worker/engine/lua/job.lua", f"'v', '{RECORD_VERSION}'",
          f"'v', '{NEXT}', '{FIELD}', 'new'")  # fmt: skip

    def launch(words: Sequence[str]) -> list[str]:
        path = os.pathsep.join((str(folder), str(ROOT / "tests" / "support")))
        program = sys.executable if words[0] == "python" else words[0]
        return ["env", "-C", str(folder), f"PYTHONPATH={path}", program, *words[1:]]

    return launch


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has no {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def _versions(world: World, ids: Sequence[str], *, is_open: bool = False) -> Counter[str]:
    """Versions of the records, of those that have not ended or of all."""
    pipe = world.client.pipeline(transaction=False)
    for job_id in ids:
        pipe.hmget(f"{{largesse:0}}:job:{job_id}", "v", FIELD, "state")
    rows = pipe.execute()
    assert all((field == "new") == (version == str(NEXT)) for version, field, _ in rows)
    return Counter(
        version for version, _, state in rows if not is_open or state not in ("succeeded", None)
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["up", "down"])
def test_two_versions_lose_nothing_between_them(
    *,
    world: World,
    next_version: Callable[[Sequence[str]], list[str]],
    spawn: Processes,
    figures: Counts,
    way: str,
) -> None:
    """T31: one worker after the other becomes the other version, with jobs of both under way.

    On the way down the last worker of the next version stays until its records are done.
    """
    n = 5_000 if world.full else 300
    world.api.admin.set(latency_ms=200)
    launches = {"this": list, "next": next_version}
    first, second = ("this", "next") if way == "up" else ("next", "this")
    options = {"size": 1, "grace_s": 5, "concurrency": 16}
    olds = [world.started(launch=launches[first], **options) for _ in range(2)]
    logs = {}
    for version in (first, second):
        log = world.folder / f"{version}.jsonl"
        words = ["python", "-m", "rig.producing", "--log", str(log), "--prefix", version]
        producer = spawn(launches[version]([*words, "--n", str(n // 2)]), env=world.env())
        until(lambda path=log: len(AcceptedLog(path).rows) > n // 20, what="accepted jobs")
        if version == second:
            world.fleet(launch=launches[second], **options).start()
            assert olds[0].stop() == [0]
            world.fleet(launch=launches[second], **options).start()
        logs[version] = (producer, log)
    for version, (producer, log) in logs.items():
        assert producer.wait(120) == 0, version
        world.log.note_many(AcceptedLog(log).rows)
    ids = world.log.job_ids()
    assert len(ids) == n
    assert _versions(world, ids) == {str(RECORD_VERSION): n // 2, str(NEXT): n // 2}
    if way == "down":
        open_next = str(NEXT)
        until(lambda: not _versions(world, ids, is_open=True)[open_next], timeout_s=300,
              every_s=0.5, what="the records of the next version")  # fmt: skip
    assert olds[1].stop() == [0]
    world.wait(timeout_s=300)
    results = world.producer().results.get_many(ids)
    assert {one.state for one in results.values() if one} == {"succeeded"}
    assert not any(fleet.deaths for fleet in world.fleets)
    world.judge(figures, "T31", f"two versions, {way}", records_of_the_next=n // 2)
