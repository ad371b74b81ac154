"""This project beside what a user would pick instead, taking turns on one machine (Linux).

    python -m benchmarks.side_by_side --quick         under 5 minutes
    python -m benchmarks.side_by_side --full          writes docs/benchmarks.md
    python -m benchmarks.side_by_side --only largesse --latency-ms 0 --jobs 5000

`make bench` and `make bench-full` install the peers first. The results go to a file in build/.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import page
from benchmarks.machine import machine, versions
from benchmarks.plan import FULL, LATENCIES_MS, PARTS, QUICK, Step, jobs_of, steps
from benchmarks.proof import WrongPagesError
from benchmarks.results import Results
from benchmarks.run import Shape, idle, throughput
from benchmarks.server import Server, serving
from benchmarks.setups import BUILD, SETUPS, Setup

__all__ = ["main"]

#: Seconds that a single run is to take by expectation.
ONE_S: Final = 2.0
_PACKAGES: Final = (
    "aiohttp", "arq", "celery", "chargebee", "dramatiq", "gevent", "httpx", "huey", "redis", "rq",
    "taskiq", "taskiq-redis", "uvloop",
)  # fmt: skip
_LIST: Final = (
    "from importlib.metadata import distributions as d; import json;"
    "print(json.dumps({x.name.lower(): x.version for x in d()}))"
)


def main() -> None:
    """Read the arguments, measure, and write what was found."""
    given = _arguments()
    setups = [setup for setup in SETUPS if _is_wanted(setup, given.only)]
    missing = {setup.venv for setup in setups if not setup.is_installed}
    if not setups or missing:
        fault = f"build/{' and build/'.join(map(str, missing))} missing: run `make bench-peers`"
        sys.exit(fault if missing else f"no setup is called {given.only}")
    if not (given.quick or given.full):
        with serving() as server:
            sys.exit(_single(server, setups, given))
    sys.exit(_whole(setups, given))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true", help="one round of the most telling runs")
    form.add_argument("--full", action="store_true", help="all, and write docs/benchmarks.md")
    form.add_argument("--one", action="store_true", help="one run; so does --only by itself")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="first words of names"
    )
    whole = parser.add_argument_group("quick and full")
    whole.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    whole.add_argument("--rounds", type=int, help="turns of every run; of a single one too")
    whole.add_argument("--json", type=Path, help="file for the results")
    single = parser.add_argument_group("a single run")
    single.add_argument("--latency-ms", type=int, nargs="+", default=list(LATENCIES_MS))
    single.add_argument("--processes", type=int)
    single.add_argument("--in-flight", type=int, help="calls in flight of each process")
    single.add_argument("--jobs", type=int)
    single.add_argument("--idle", action="store_true", help="single jobs to idle workers")
    words = sys.argv[1:]
    if "--only" in words and not {"--quick", "--full", "--one"} & set(words):
        words.insert(0, "--one")
    return parser.parse_args(words)


def _is_wanted(setup: Setup, names: list[str]) -> bool:
    return not names or any(setup.name.lower().startswith(name.lower()) for name in names)


def _single(server: Server, setups: list[Setup], given: argparse.Namespace) -> int:
    for _ in range(given.rounds or 1):
        for setup in setups:
            processes = given.processes or setup.processes
            in_flight = given.in_flight or setup.in_flight
            if given.idle:
                shape = Shape(0, processes, in_flight)
                _tell(idle(server, setup, shape, jobs=given.jobs or QUICK.idle_jobs))
                continue
            for latency_ms in given.latency_ms:
                shape = Shape(latency_ms, processes, in_flight)
                jobs = given.jobs or jobs_of(setup, shape, ONE_S)
                _tell(throughput(server, setup, shape, jobs=jobs))
    return 0


def _tell(run: dict[str, Any]) -> None:
    rounded = {
        name: round(value, 4) if isinstance(value, float) else value for name, value in run.items()
    }
    sys.stdout.write(json.dumps(rounded) + "\n")
    sys.stdout.flush()


def _whole(setups: list[Setup], given: argparse.Namespace) -> int:
    form, size = ("full", FULL) if given.full else ("quick", QUICK)
    rounds = given.rounds or size.rounds
    path = given.json or BUILD / f"benchmarks-{form}.json"
    started = time.monotonic()
    results = Results([machine()])
    with serving() as server:
        results.about += [versions(server.name()), *_peer_versions(setups)]
        for turn in range(rounds):
            order = [*setups[turn % len(setups) :], *setups[: turn % len(setups)]]
            for step in steps(size, order, given.parts):
                run = _run(server, step)
                results.runs.append({"round": turn + 1} | run)
                _tell(run)
                results.save(path)
    results.about.append(
        f"{datetime.now(UTC):%Y-%m-%d}, {form} form, rounds: {rounds}, "
        f"{time.monotonic() - started:.0f} s"
    )
    results.save(path)
    if given.full and not given.only and tuple(given.parts) == PARTS:
        page.write(results)
    sys.stdout.write("\n" + page.figures(results))
    return 1 if any(results.failures()) else 0


def _run(server: Server, step: Step) -> dict[str, Any]:
    """Run a step; a run that fails is told of and does not end the others."""
    try:
        if step.part == "idle":
            run = idle(server, step.setup, step.shape, jobs=step.jobs)
        else:
            run = throughput(server, step.setup, step.shape, jobs=step.jobs)
    except (RuntimeError, WrongPagesError) as error:
        shape = step.shape
        run = {
            "setup": step.setup.name, "latency_ms": shape.latency_ms,
            "processes": shape.processes, "in_flight": shape.in_flight, "error": str(error)[:500],
        }  # fmt: skip
    return {"part": step.part} | run


def _peer_versions(setups: list[Setup]) -> list[str]:
    found = []
    for python in dict.fromkeys(setup.python for setup in setups if setup.venv):
        listed = subprocess.run(
            [str(python), "-c", _LIST], capture_output=True, check=True, text=True
        )
        installed = json.loads(listed.stdout)
        names = [f"{name} {installed[name]}" for name in _PACKAGES if name in installed]
        found.append(f"peers on Python {platform.python_version()}: {', '.join(names)}")
    return found


if __name__ == "__main__":
    main()
