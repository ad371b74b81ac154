"""The engine beside dramatiq's stock Redis broker, taking turns on one machine.

    python -m benchmarks.engine --quick       under 2 minutes
    python -m benchmarks.engine               the full one, writes docs/benchmarks_engine.md

The server is an embedded Valkey without persistence in a process of its own; workers are one
process each. Every value is the median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from benchmarks.engine_measures import depth, enqueue, idle, throughput, waking
from benchmarks.engine_setups import CONCURRENCY, JOB, NOOP, SETUPS, THREADS, Setup
from benchmarks.figures import Board, table
from benchmarks.machine import machine, versions
from benchmarks.server import Server, serving

__all__ = ["main"]

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks_engine.md"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: turns of every setup.
        idle_samples, pause_s, watch_s: see `idle`.
        jobs: of one throughput measurement.
        waking_samples, singles, many, tries: see the measurements.
        depths: depths of the queue.
    """

    rounds: int
    idle_samples: int
    pause_s: float
    watch_s: float
    jobs: int
    waking_samples: int
    singles: int
    many: int
    depths: tuple[int, ...]
    tries: int


QUICK = Size(3, 4, 0.25, 2, 1_500, 20, 200, 3_000, (1_000, 100_000), 30)
FULL = Size(3, 20, 0.3, 6, 6_000, 100, 1_000, 10_000, (1_000, 10_000, 100_000, 1_000_000), 200)

#: Counts with a goal: what to reach, and whether more is better.
GOALS = {
    "idle enqueue to start p50, ms": "2",
    "idle enqueue to start p99, ms": "10",
    "waiter woken, threads p50, ms": "2",
    "waiter woken, threads p99, ms": "10",
    "waiter woken, asyncio p50, ms": "2",
    "waiter woken, asyncio p99, ms": "10",
    "idle commands/s": "at most 3",
    "enqueue in batches, unchecked, jobs/s": "20,000",
    "enqueue in batches, validated, jobs/s": "20,000",
    "enqueue in batches, validated before, jobs/s": "20,000",
    "enqueue one by one, validated, p50 ms": "0.6",
    "no-op jobs/s": "not under stock",
    "no-op jobs: worker CPU us": "not over stock",
    "no-op jobs: Redis CPU us, run": "not over stock",
    "jobs with a page/s": "not under stock",
    "jobs with a page: worker CPU us": "not over stock",
}


#: The first lines of the page.
HEAD = (
    "# The engine, measured beside the stock broker",
    "",
    "Written by `python -m benchmarks.engine` (`make bench-engine`). One run on one machine:",
    "compare the ratios, not the absolute figures. Each value is the median of the rounds, with",
    "their spread in brackets (largest minus smallest, in % of the median).",
    "",
)
#: What the words of the table mean.
KEY = (
    f"- stock: dramatiq's RedisBroker and Worker, {THREADS} threads, all defaults; tuned: its",
    "  consumer sleeps at most 20 ms while idle, and has enough connections.",
    "- engine, threads: the same Worker and threads on our broker; engine, loop: `AsyncWorker`,",
    f"  {CONCURRENCY} jobs at a time.",
    "- no-op jobs have no payload and no result. Jobs with a page have a payload, are validated,",
    "  deduplicated and leased, and publish a hosted page (stock: its Results middleware).",
    "- Redis CPU is the CPU of the server, per job. Bytes are its used_memory, per job; a result",
    "  is what remains of a job that has ended. The depth of a queue was measured in one round.",
)


def _steps(size: Size) -> dict[str, Callable[[Board, Server, Setup], None]]:
    return {
        "noop": lambda b, s, one: throughput(b, s, one, jobs=size.jobs, actor=NOOP),
        "page": lambda b, s, one: throughput(b, s, one, jobs=size.jobs, actor=JOB),
        "waking": lambda b, s, one: waking(b, s, one, samples=size.waking_samples),
        "enqueue": lambda b, s, one: enqueue(b, s, one, singles=size.singles, many=size.many),
    }


def measure(board: Board, server: Server, size: Size, only: set[str]) -> None:
    """Run all rounds.

    Args:
        board: where figures go.
        server: the server.
        size: how much.
        only: names of the steps to run.
    """
    for turn in range(size.rounds):
        setups = [*SETUPS[turn % len(SETUPS) :], *SETUPS[: turn % len(SETUPS)]]
        for name, step in _steps(size).items():
            if name in only:
                for setup in setups:
                    step(board, server, setup)
        if "idle" in only:
            idle(board, server, samples=size.idle_samples, pause_s=size.pause_s,
                 watch_s=size.watch_s)  # fmt: skip
        if "depth" in only and turn == 0:
            # The depth of a queue is a matter of the broker; each of both kinds is measured once.
            for setup in setups:
                if setup.idle_ms == 1000 and not setup.on_loop:
                    depth(board, server, setup, depths=size.depths, tries=size.tries)


def write(board: Board, about: list[str]) -> str:
    """Write the page: facts and the table of all figures.

    Args:
        board: the figures.
        about: facts of the run, one line each.

    Returns:
        Markdown.
    """
    figures = list(dict.fromkeys(figure for figure, _ in board.values))
    rows = []
    for figure in figures:
        cells = [_cell(board, figure, setup.name) for setup in SETUPS]
        rows.append([figure, *cells, GOALS.get(figure, "")])
    head = ["figure", *(setup.name for setup in SETUPS), "goal"]
    return "\n".join([*HEAD, *(f"- {line}" for line in about), *KEY, "", table(head, rows)])


def _cell(board: Board, figure: str, setup: str) -> str:
    value = board.median(figure, setup)
    if value is None:
        return ""
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    spread = board.spread(figure, setup)
    return text if spread is None else f"{text} ({spread:.0%})"


@contextmanager
def _lines(path: Path | None) -> Iterator[TextIO]:
    """Open the file for the JSON lines; they are written as they come."""
    if path is not None and str(path) == "-":
        yield sys.stdout
    else:
        with (path or Path(os.devnull)).open("w", encoding="utf-8") as file:
            yield file


def main() -> None:
    """Read the arguments, measure, and write the page."""
    steps = [*_steps(QUICK), "idle", "depth"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short form, under 2 minutes")
    parser.add_argument("--rounds", type=int, help="turns of every setup")
    parser.add_argument("--only", choices=steps, nargs="+", default=steps, help="steps to run")
    parser.add_argument("--json", type=Path, help="file for the JSON lines; - is the output")
    parser.add_argument("--page", type=Path, help=f"page to write; without --quick {PAGE.name}")
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else FULL
    if chosen.rounds:
        size = Size(
            **{name: getattr(size, name) for name in Size.__slots__} | {"rounds": chosen.rounds}
        )
    started = time.monotonic()
    about = [machine()]
    with _lines(chosen.json) as lines, serving() as server:
        board = Board(lambda line: print(line, file=lines, flush=True))
        about.append(versions(server.name()))
        measure(board, server, size, set(chosen.only))
    about.append(
        f"{datetime.now(UTC):%Y-%m-%d}, {'quick' if chosen.quick else 'full'} form, "
        f"{size.rounds} rounds, {time.monotonic() - started:.0f} s"
    )
    text = write(board, about)
    page = chosen.page or (None if chosen.quick else PAGE)
    if page is not None:
        page.write_text(text, "utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
