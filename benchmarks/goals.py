"""The goals of the side-by-side benchmark: each with its measured figure, met or not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.plan import LATENCIES_MS
from benchmarks.results import Results
from benchmarks.run import Shape
from benchmarks.setups import OURS, SETUPS, STOCK, Setup

__all__ = ["Goal", "goals"]

RATE: Final = "jobs_per_s"
WORKER_CPU: Final = "worker_cpu_s_per_1000"
REDIS_CPU: Final = "redis_cpu_s_per_1000"
#: The largest fall between neighbouring settings that noise explains; larger ones are a cliff.
FALL_MAX: Final = 0.15
#: The shape of the main table.
_MAIN: Final = (OURS.processes, OURS.in_flight)


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal.

    Attributes:
        what: what is asked.
        wanted: the bound, as text.
        measured: the figure, as text.
        met: whether it is met.
    """

    what: str
    wanted: str
    measured: str
    met: bool


def goals(results: Results) -> list[Goal]:
    """Judge the goals that the results have figures for."""
    found = [goal for latency_ms in LATENCIES_MS for goal in _beside_peers(results, latency_ms)]
    return [*found, *_memory(results), *_latency(results), *_enqueue(results), *_growth(results)]


def _beside_peers(results: Results, latency_ms: int) -> Iterator[Goal]:
    shape = Shape(latency_ms, *_MAIN)
    main = results.median(RATE, OURS.name, shape)
    peers = [one for peer in SETUPS if peer.is_peer for one in _rates(results, peer, latency_ms)]
    if main is None or not peers:
        return
    best, at, rate = max(peers, key=lambda peer: peer[2])
    theirs = f"{best.name} {at.processes} x {at.in_flight}: {rate:,.0f}"
    two = [one for one in _rates(results, OURS, latency_ms) if one[1].processes == shape.processes]
    _, our_at, ours = max(two, key=lambda one: one[2])
    if our_at != shape:
        yield Goal(
            f"jobs/s at {latency_ms} ms, two processes at their best, over the best peer",
            "at least 2.5 times",
            f"{ours / rate:.2f} times ({our_at.processes} x {our_at.in_flight}: {ours:,.0f}; "
            f"{theirs})",
            ours >= 2.5 * rate,
        )
    yield Goal(
        f"jobs/s at {latency_ms} ms, {shape.processes} x {shape.in_flight}, over the best peer",
        "at least 2.5 times",
        f"{main / rate:.2f} times ({main:,.0f}; {theirs})",
        main >= 2.5 * rate,
    )
    yield from _cpu(results, shape, best.name, at)
    ratios = {
        at: (results.median(RATE, OURS.name, at) or 0) / stock
        for at in results.shapes(OURS.name, lambda one: one.latency_ms == latency_ms)
        if (stock := results.median(RATE, STOCK.name, at))
    }
    if ratios:
        worst = min(ratios, key=lambda one: ratios[one])
        yield Goal(
            f"jobs/s at {latency_ms} ms, over stock dramatiq, at its nearest of "
            f"{len(ratios)} settings",
            "not under it",
            f"{ratios[worst]:.2f} times ({worst.processes} x {worst.in_flight})",
            # 8 calls of 100 ms are 80 a second, whoever makes them.
            ratios[worst] >= 1 - 0.02,
        )


def _rates(
    results: Results, setup: Setup, latency_ms: int
) -> Iterator[tuple[Setup, Shape, float]]:
    """Give the jobs/s of a setup in every shape that was measured."""
    for at in results.shapes(setup.name, lambda one: one.latency_ms == latency_ms):
        if (rate := results.median(RATE, setup.name, at)) is not None:
            yield setup, at, rate


def _cpu(results: Results, shape: Shape, best: str, at: Shape) -> Iterator[Goal]:
    ours = results.median(WORKER_CPU, OURS.name, shape)
    theirs = results.median(WORKER_CPU, best, at)
    if ours is not None and theirs is not None:
        yield Goal(
            f"CPU of workers at {shape.latency_ms} ms, of the best peer's",
            "at most a third",
            f"{ours / theirs:.2f} ({ours:.3f} and {theirs:.3f} s per 1,000 jobs)",
            ours <= theirs / 3,
        )
    ours = results.median(REDIS_CPU, OURS.name, shape)
    stock = results.median(REDIS_CPU, STOCK.name, shape)
    if ours is not None and stock is not None:
        yield Goal(
            f"CPU of Redis at {shape.latency_ms} ms, of stock dramatiq's",
            "no more",
            f"{ours / stock:.2f} ({ours:.3f} and {stock:.3f} s per 1,000 jobs)",
            ours <= stock,
        )


def _memory(results: Results) -> Iterator[Goal]:
    ours = _peak(results, OURS.name, 2, 128)
    stock = _peak(results, STOCK.name, 2, 64)
    if ours is not None and stock is not None:
        yield Goal(
            "memory of the fleet with 256 calls in flight",
            "no more than stock dramatiq's with 128",
            f"{ours:.0f} and {stock:.0f} MiB",
            ours <= stock,
        )
    most = _peak(results, OURS.name, 1, 1024)
    if most is not None:
        # 200 MB are 190.7 MiB; supervisor included.
        mb = most * 1024**2 / 1e6
        yield Goal("memory with 1,024 calls in flight in one process", "under 200 MB",
                   f"{mb:.0f} MB", mb < 200)  # fmt: skip


def _peak(results: Results, setup: str, processes: int, in_flight: int) -> float | None:
    shapes = [Shape(latency_ms, processes, in_flight) for latency_ms in LATENCIES_MS]
    found = [results.median("peak_mib", setup, shape) for shape in shapes]
    return max((one for one in found if one is not None), default=None)


def _latency(results: Results) -> Iterator[Goal]:
    shape = Shape(0, *_MAIN)
    for name, most in (("p50", 4.0), ("p99", 10.0)):
        found = results.median(f"idle_{name}_ms", OURS.name, shape)
        own = results.median("idle_api_ms", OURS.name, shape)
        if found is not None and own is not None:
            yield Goal(
                f"idle, enqueue to result, over the API's own time, {name}",
                f"at most {most:.0f} ms",
                f"{found - own:.1f} ms ({found:.1f} less {own:.1f} of a bare call)",
                found - own <= most,
            )


def _enqueue(results: Results) -> Iterator[Goal]:
    shapes = [Shape(latency_ms, *_MAIN) for latency_ms in LATENCIES_MS]
    many = _of_both(results, "enqueue_many_per_s", shapes, min)
    if many is not None:
        yield Goal("enqueue in batches, validated", "at least 20,000 jobs/s",
                   f"{many:,.0f} jobs/s", many >= 20_000)  # fmt: skip
    one = _of_both(results, "enqueue_one_ms", shapes, max)
    if one is not None:
        yield Goal("enqueue one by one, validated, p50", "at most 0.6 ms",
                   f"{one:.2f} ms", one <= 0.6)  # fmt: skip


def _of_both(
    results: Results, figure: str, shapes: list[Shape], worst: Callable[[list[float]], float]
) -> float | None:
    values = [results.median(figure, OURS.name, shape) for shape in shapes]
    found = [one for one in values if one is not None]
    return worst(found) if found else None


def _growth(results: Results) -> Iterator[Goal]:
    """Look for falls along each line of settings: more processes, or more calls in flight."""
    lines = {
        "processes": lambda shape: (shape.latency_ms, shape.in_flight),
        "calls in flight": lambda shape: (shape.latency_ms, shape.processes),
    }
    for name, key in lines.items():
        groups: dict[tuple[int, int], list[Shape]] = {}
        for shape in results.shapes(OURS.name):
            groups.setdefault(key(shape), []).append(shape)
        steps = [
            ((results.median(RATE, OURS.name, b) or 0) / (results.median(RATE, OURS.name, a) or 1),
             a, b)
            for group in groups.values()
            for a, b in _neighbours(group)
        ]  # fmt: skip
        if steps:
            least, a, b = min(steps, key=lambda step: step[0])
            yield Goal(
                f"jobs/s from one setting to the next with more {name}, {len(steps)} steps",
                f"no fall beyond {FALL_MAX:.0%}",
                f"{least - 1:+.0%} at worst ({a.processes} x {a.in_flight} to "
                f"{b.processes} x {b.in_flight} at {a.latency_ms} ms)",
                least >= 1 - FALL_MAX,
            )


def _neighbours(group: list[Shape]) -> Iterator[tuple[Shape, Shape]]:
    ordered = sorted(group, key=lambda one: (one.processes, one.in_flight))
    return itertools.pairwise(ordered)
