"""What a benchmark runs: the steps of one round, in an order that turns with the rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.run import Shape
from benchmarks.setups import OURS, STOCK, Setup

__all__ = ["FULL", "LATENCIES_MS", "PARTS", "QUICK", "Size", "Step", "jobs_of", "steps"]

LATENCIES_MS: Final = (0, 100)
PARTS: Final = ("main", "idle", "sweep")
#: Processes and calls in flight of each, in which we and the stock broker are compared.
_GRID: Final = tuple((processes, each) for processes in (1, 2, 4) for each in (8, 64, 256))
_QUICK_GRID: Final = ((1, 8), (1, 256), (4, 64))
#: Other shapes: the memory of 256 calls in flight, and whether there is a cliff up to 1,024.
_OURS: Final = ((2, 128), (1, 512), (1, 1024), (2, 512))
_QUICK_OURS: Final = ((2, 128), (1, 1024))
_STOCK: Final = ((2, 128), (2, 512))
_QUICK_STOCK: Final = ((2, 64),)
#: A peer that can have 256 calls in flight a process may be quicker with fewer, or with more.
_PEERS: Final = ((2, 64), (2, 512))
#: Fewest jobs of a run of which the rate can be told, and how many times those in flight: what a
#: setup has read ahead when the clock starts must not make a difference.
JOBS_MIN: Final = 100
FLIGHTS_MIN: Final = 5


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: turns of every step.
        main_s, sweep_s: seconds that a run is to take by expectation.
        idle_jobs: jobs of an idle measurement.
        grid, ours, stock, peers: (processes, calls in flight of each) of the sweep.
    """

    rounds: int
    main_s: float
    sweep_s: float
    idle_jobs: int
    grid: Sequence[tuple[int, int]]
    ours: Sequence[tuple[int, int]]
    stock: Sequence[tuple[int, int]]
    peers: Sequence[tuple[int, int]]


QUICK: Final = Size(1, 1.2, 1.0, 60, _QUICK_GRID, _QUICK_OURS, _QUICK_STOCK, ())
FULL: Final = Size(3, 1.5, 1.0, 120, _GRID, _OURS, _STOCK, _PEERS)


@dataclass(frozen=True, slots=True)
class Step:
    """One run.

    Attributes:
        part: the part of the benchmark it is for.
        setup: which.
        shape: how it is run.
        jobs: how many.
    """

    part: str
    setup: Setup
    shape: Shape
    jobs: int


def steps(size: Size, setups: Sequence[Setup], parts: Sequence[str]) -> Iterator[Step]:
    """Give the steps of one round.

    Args:
        size: how much.
        setups: which take part.
        parts: of `PARTS`.
    """
    if "main" in parts:
        for latency_ms in LATENCIES_MS:
            for setup in setups:
                shape = Shape(latency_ms, setup.processes, setup.in_flight)
                yield Step("main", setup, shape, jobs_of(setup, shape, size.main_s))
    if "idle" in parts:
        for setup in setups:
            shape = Shape(0, setup.processes, setup.in_flight)
            yield Step("idle", setup, shape, size.idle_jobs)
    if "sweep" in parts:
        for setup in setups:
            for latency_ms in LATENCIES_MS:
                for processes, in_flight in _sweep(size, setup):
                    shape = Shape(latency_ms, processes, in_flight)
                    yield Step("sweep", setup, shape, jobs_of(setup, shape, size.sweep_s))


def _sweep(size: Size, setup: Setup) -> list[tuple[int, int]]:
    match setup:
        case _ if setup is OURS:
            found = [*size.grid, *size.ours]
        case _ if setup is STOCK:
            found = [*size.grid, *size.stock]
        case _ if setup.is_peer and setup.in_flight == OURS.in_flight:
            found = list(size.peers)
        case _:
            found = []
    # The shape of the main table has been measured there.
    return [one for one in found if one != (setup.processes, setup.in_flight)]


def jobs_of(setup: Setup, shape: Shape, seconds: float) -> int:
    """Size a run by what its setup is expected to do.

    Args:
        setup: which.
        shape: how it is run.
        seconds: how long it should take.
    """
    zero, hundred = setup.rates
    rate = float(zero if shape.latency_ms == 0 else hundred)
    if shape.processes < setup.processes:
        rate *= shape.processes / setup.processes
    at_once = shape.processes * shape.in_flight
    if shape.latency_ms:
        rate = min(rate, at_once / shape.latency_ms * 1000)
    return max(int(seconds * rate), FLIGHTS_MIN * at_once, JOBS_MIN)
