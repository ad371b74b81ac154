"""One message that cannot be decoded: what becomes of its neighbours."""

from __future__ import annotations

import time

from rig.figures import Counts
from rig.stage import Stage
from rig.waiting import until


def test_neighbours_of_a_malformed_message_run(stage: Stage, figures: Counts) -> None:
    """D3, F4: a stock consumer drops all that it fetched with the bad one, and keeps it taken."""
    good = [f"good-{number}" for number in range(11)]
    for job in good[:3]:
        stage.send(job)
    bad = stage.spoil(stage.send("bad"))
    for job in good[3:]:
        stage.send(job)
    worker = stage.worker(threads=4, env={"dramatiq_restart_delay": "200"})
    if stage.kind == "stock":
        until(lambda: "DecodeError" in worker.output(), what="the decode error")
        stage.send("later")
        stage.wait_ended(["later"])
        time.sleep(2)
        stranded = len(set(good) - stage.ended())
        assert worker.running
        assert stranded > 0
        assert stage.open_messages() == stranded + 1
        assert stage.dead_letters() == 0
        figures.note("D3", stage.kind, stranded_good=stranded, n=len(good))
        return
    stage.wait_ended(good)
    until(lambda: stage.dead_letters() == 1, what=f"the burial of {bad}")
    until(lambda: stage.open_messages() == 0, what="endings")
    assert [stage.runs(job) for job in good] == [1] * len(good)
    figures.note("D3", stage.kind, stranded_good=0, n=len(good))
