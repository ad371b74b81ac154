"""T27: one job kills every worker that takes it; the others must not pay for it."""

from __future__ import annotations

import signal
import time

import pytest
from rig.figures import Figures
from rig.stage import Stage
from rig.waiting import until


@pytest.mark.parametrize("kind", ["ours"])
@pytest.mark.parametrize(
    ("death", "number"), [("kill", signal.SIGKILL), ("segfault", signal.SIGSEGV)]
)
def test_poison_job_is_buried_and_its_neighbours_end(
    stage: Stage, figures: Figures, death: str, number: signal.Signals
) -> None:
    """T27: after three deaths at most the job is buried, and every job beside it ends well."""
    options = {"lease_ms": 1_000, "threads": 8}
    good = [f"good-{place}" for place in range(40)]
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
        dead_letters=stage.dead_letters(),
    )  # fmt: skip
    assert lost == []
    assert deaths <= 3
    assert stage.dead_letters() == 1
