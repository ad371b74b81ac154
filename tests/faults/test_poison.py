"""T27: one job kills every worker that takes it; the others must not pay for it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.figures import Counts
from rig.stage import Stage
from rig.waiting import until

#: Where cgroups with a bound on memory are made: their first version, and the second.
CGROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
BOUND_MIB = 300
#: Address space of a worker where there is no cgroup; all its libraries are in it.
ADDRESS_MIB = 1_500


@pytest.fixture
def memory_group() -> Iterator[Path | None]:
    """A cgroup with a bound on memory: the kernel kills what goes beyond; None where none is."""
    made: Path | None = None
    for folder, bound in CGROUPS:
        group = folder / f"largesse-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            try:
                (group / bound).write_text(str(BOUND_MIB << 20))
                made = group
                break
            except OSError:
                group.rmdir()
    yield made
    if made is not None:
        until(lambda: not (made / "cgroup.procs").read_text(), what="the end of the cgroup")
        made.rmdir()


@pytest.mark.parametrize("kind", ["ours"])
def test_job_that_takes_all_memory_is_buried(
    memory_group: Path | None, stage: Stage, figures: Counts
) -> None:
    """T27: a job that asks for 2 GiB: the kernel kills its worker, three times at most."""
    if memory_group is not None:
        enter = f'echo $$ > {memory_group / "cgroup.procs"} && exec "$@"'
        stage.launch = lambda words: ["sh", "-c", enter, "sh", sys.executable, *words[1:]]
        by = "the kernel, cgroup"
    else:
        stage.launch = lambda words: [*words, "--address-mib", str(ADDRESS_MIB)]
        by = "the worker itself, RLIMIT_AS"
    _bury(stage, figures, "allocate", signal.SIGKILL, killed_by=by)


@pytest.mark.parametrize("kind", ["ours"])
@pytest.mark.parametrize(
    ("death", "number"),
    [
        ("segfault", signal.SIGSEGV),
        pytest.param("kill", signal.SIGKILL, marks=pytest.mark.faults),
    ],
)
def test_poison_job_is_buried_and_its_neighbours_end(
    stage: Stage, figures: Counts, death: str, number: signal.Signals
) -> None:
    """T27: after three deaths at most the job is buried, and every job beside it ends well."""
    _bury(stage, figures, death, number)


def _bury(
    stage: Stage, figures: Counts, death: str, number: signal.Signals, **measured: str
) -> None:
    options = {"lease_ms": 1_000, "threads": 8}
    good = [f"good-{place}" for place in range(24)]
    for job in good[:3]:
        stage.send(job, ms=400)
    stage.send("deadly", f"{death}-later", ms=200)
    for job in good[3:]:
        stage.send(job, ms=400)
    deaths = 0
    worker = stage.worker(wait=False, **options)
    began = time.monotonic()
    # Until the deadly one is buried too, which takes a worker that lives.
    while stage.open_messages() and time.monotonic() - began < 40:
        if not worker.running:
            assert worker.returncode == -number
            deaths += 1
            worker = stage.worker(wait=False, **options)
        time.sleep(0.05)
    until(lambda: stage.open_messages() == 0, what="the endings")
    lost = sorted(set(good) - stage.ended())
    figures.note(
        "T27", death, n=len(good), lost=len(lost), worker_deaths=deaths,
        dead_letters=stage.dead_letters(), **measured,
    )  # fmt: skip
    assert lost == []
    assert deaths <= 3
    assert stage.dead_letters() == 1
