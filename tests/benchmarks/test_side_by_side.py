"""The side-by-side benchmark, small: its runs, its plan, its goals and its page."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import page, run
from benchmarks.driver import Driver
from benchmarks.goals import goals
from benchmarks.plan import FULL, PARTS, QUICK, steps
from benchmarks.proof import WrongPagesError
from benchmarks.results import Results
from benchmarks.run import Shape, idle, throughput
from benchmarks.server import Server
from benchmarks.setups import OURS, SETUPS, STOCK

#: The stock broker out of the environment of the tests, which has all that it needs.
STOCK_HERE = replace(STOCK, venv=None)
SHAPE = Shape(20, 1, 16)


@pytest.mark.parametrize("setup", [OURS, STOCK_HERE], ids=lambda setup: setup.name)
def test_run_has_proven_figures(bench_server: Server, setup: run.Setup) -> None:
    """A run of a few hundred jobs comes to its end, all pages in place, and gives its figures."""
    found = throughput(bench_server, setup, SHAPE, jobs=200)
    assert found["jobs"] >= 200
    # 16 calls of 20 ms are 800 a second at most; a few were begun before the clock.
    assert 20 < found["jobs_per_s"] < 1000
    assert found["in_flight_seen"] == 16
    assert found["worker_cpu_s_per_1000"] > found["redis_cpu_s_per_1000"] > 0
    assert 20 < found["peak_mib"] < 500
    assert found["enqueue_one_per_s"] > 0 < found["enqueue_many_per_s"]


def test_run_takes_the_time_of_single_jobs(bench_server: Server) -> None:
    """Single jobs to idle workers come back with their times, in order of size."""
    found = idle(bench_server, OURS, Shape(0, 1, 16), jobs=20)
    assert 0 < found["idle_p50_ms"] <= found["idle_p99_ms"] < 5000
    assert 0 < found["idle_api_ms"] < found["idle_p50_ms"]


@pytest.mark.parametrize("wrong", [[], ["twice", "twice"]], ids=["lost", "doubled"])
def test_run_fails_on_wrong_pages(
    bench_server: Server, monkeypatch: pytest.MonkeyPatch, wrong: list[str]
) -> None:
    """A run in which a page was lost or came twice has no figures."""
    read = Driver.pages
    monkeypatch.setattr(Driver, "pages", lambda self: read(self) | {5: wrong})
    with pytest.raises(WrongPagesError, match=r"such as \[5\]"):
        throughput(bench_server, OURS, SHAPE, jobs=100)


def _children() -> set[str]:
    """List the processes that this one has started and not seen the end of."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_run_leaves_no_process(bench_server: Server) -> None:
    """Workers, driver and stand-in have all gone with their run."""
    before = _children()
    throughput(bench_server, STOCK_HERE, SHAPE, jobs=100)
    assert before
    assert _children() == before


def test_plan_compares_us_and_stock_in_the_same_shapes() -> None:
    """Wherever stock dramatiq is measured, so are we; both forms have every setup and part."""
    for size in (QUICK, FULL):
        found = list(steps(size, SETUPS, PARTS))
        shapes = {
            setup.name: {one.shape for one in found if one.setup is setup} for setup in SETUPS
        }
        assert all(shapes.values())
        assert {one.part for one in found} == set(PARTS)
        assert all(one.jobs >= 50 for one in found)
    assert shapes[STOCK.name] <= shapes[OURS.name]
    settings = {(one.processes, one.in_flight) for one in shapes[OURS.name]}
    assert {processes for processes, _ in settings} == {1, 2, 4}
    assert {8, 256, 1024} <= {in_flight for _, in_flight in settings}


def _results(ours: float, stock: float) -> Results:
    shape = {"latency_ms": 0, "processes": 2, "in_flight": 256}
    shared = {
        "worker_cpu_s_per_1000": 0.2,
        "redis_cpu_s_per_1000": 0.1,
        "peak_mib": 100.0,
        "enqueue_one_ms": 0.3,
        "enqueue_one_per_s": 3e3,
        "enqueue_many_per_s": 2e4,
    }
    return Results(
        ["one machine"],
        [
            {"part": "main", "setup": name, "jobs_per_s": rate + turn, **shape, **shared}
            for turn in (-1, 0, 1)
            for name, rate in ((OURS.name, ours), (STOCK.name, stock))
        ],
    )


@pytest.mark.parametrize(("ours", "met"), [(2_500, True), (2_499, False)])
def test_goals_are_judged_by_the_figures(ours: float, met: bool) -> None:
    """The goal of jobs a second is met at 2.5 times the best peer, and not below."""
    found = {goal.what: goal for goal in goals(_results(ours, 1_000))}
    goal = found["jobs/s at 0 ms, 2 x 256, over the best peer"]
    assert goal.met is met
    assert "dramatiq threads, httpx 2 x 256: 1,000" in goal.measured
    assert not found["CPU of workers at 0 ms, of the best peer's"].met
    assert found["CPU of Redis at 0 ms, of stock dramatiq's"].met


def test_goals_show_two_processes_at_their_best() -> None:
    """Another setting of two processes that is quicker counts by itself; one of four does not."""
    results = _results(2_000, 1_000)
    for processes, in_flight, rate in ((2, 512, 2_600), (4, 256, 9_000)):
        run = {**results.runs[0], "processes": processes, "in_flight": in_flight}
        results.runs.append({**run, "jobs_per_s": rate})
    found = {goal.what: goal for goal in goals(results)}
    assert found["jobs/s at 0 ms, two processes at their best, over the best peer"].met
    assert not found["jobs/s at 0 ms, 2 x 256, over the best peer"].met


def test_page_shows_medians_goals_and_failures() -> None:
    """The page has the median with its spread, the goals, and the runs that failed."""
    results = _results(4_000, 1_000)
    results.runs.append(
        {"part": "main", "setup": STOCK.name, "latency_ms": 100, "processes": 2,
         "in_flight": 256, "error": "1 of 9 jobs never called"}
    )  # fmt: skip
    text = page.figures(results)
    assert "| **largesse** | 2 x 256 | 4,000 (0%) |" in text
    goal = "jobs/s at 0 ms, 2 x 256, over the best peer"
    assert f"| {goal} | at least 2.5 times | 4.00 times" in text
    assert f"- {STOCK.name}, main: 1 of 9 jobs never called" in text
