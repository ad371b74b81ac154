"""The page of the side-by-side benchmark, written from its results.

    python -m benchmarks.page build/benchmarks.json

What stands between the two marks of docs/benchmarks.md is written anew; the rest is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.chart import chart
from benchmarks.figures import table
from benchmarks.goals import goals
from benchmarks.plan import LATENCIES_MS
from benchmarks.results import Results
from benchmarks.run import Shape
from benchmarks.setups import OURS, ROOT, SETUPS, STOCK, Setup

__all__ = ["figures", "write"]

PAGE: Final = ROOT / "docs/benchmarks.md"
CHART: Final = ROOT / "docs/images/benchmarks.svg"
FIRST: Final = "<!-- figures: written by benchmarks/page.py -->"
LAST: Final = "<!-- end of the figures -->"

#: (figure, head, how it is written) of the main table at each latency.
_MAIN: Final = (
    ("jobs_per_s", "jobs/s", "{:,.0f}"),
    ("worker_cpu_s_per_1000", "CPU s of workers per 1,000", "{:.3f}"),
    ("redis_cpu_s_per_1000", "of Redis", "{:.3f}"),
    ("peak_mib", "fleet MiB", "{:.0f}"),
)
_ENQUEUE: Final = (
    ("enqueue_one_per_s", "one by one/s", "{:,.0f}"),
    ("enqueue_one_ms", "p50 ms", "{:.2f}"),
    ("enqueue_many_per_s", "in batches/s", "{:,.0f}"),
)
_IDLE: Final = (
    ("idle_p50_ms", "idle p50 ms", "{:.1f}"),
    ("idle_p99_ms", "idle p99 ms", "{:.1f}"),
)


def figures(results: Results) -> str:
    """Write all tables.

    Args:
        results: of a full or a quick run.

    Returns:
        Markdown.
    """
    return "\n".join(_parts(results))


def _parts(results: Results) -> Iterator[str]:
    yield from (f"- {line}" for line in results.about)
    yield ""
    judged = goals(results)
    if judged:
        yield "## Goals\n"
        yield table(
            ["goal", "wanted", "measured", "met"],
            (
                [one.what, one.wanted, one.measured, "yes" if one.met else "**no**"]
                for one in judged
            ),
        )
    for latency_ms in LATENCIES_MS:
        rows = [_row(results, setup, latency_ms, _MAIN) for setup in SETUPS]
        if any(rows):
            yield f"## An API that answers {_when(latency_ms)}\n"
            yield table(["setup", "processes x calls", *(head for _, head, _ in _MAIN)],
                        filter(None, rows))  # fmt: skip
    rows = [_row(results, setup, 0, (*_ENQUEUE, *_IDLE)) for setup in SETUPS]
    if any(rows):
        yield "## Ways in, and single jobs to idle workers\n"
        yield table(
            ["setup", "processes x calls", *(head for _, head, _ in (*_ENQUEUE, *_IDLE))],
            filter(None, rows),
        )
    yield from _sweep(results)
    yield "## Setups\n"
    yield from (f"- {setup.name}: {setup.about}" for setup in SETUPS)
    yield ""
    failures = [f"- {run['setup']}, {run['part']}: {run['error']}" for run in results.failures()]
    if failures:
        yield "## Runs that failed\n"
        yield from failures
        yield ""


def _when(latency_ms: int) -> str:
    return f"after {latency_ms} ms" if latency_ms else "at once"


def _row(
    results: Results, setup: Setup, latency_ms: int, wanted: tuple[tuple[str, str, str], ...]
) -> list[str]:
    shape = Shape(latency_ms, setup.processes, setup.in_flight)
    cells = [_cell(results, figure, setup, shape, form) for figure, _, form in wanted]
    if not any(cells):
        return []
    name = f"**{setup.name}**" if setup is OURS else setup.name
    return [name, f"{shape.processes} x {shape.in_flight}", *cells]


def _cell(results: Results, figure: str, setup: Setup, shape: Shape, form: str) -> str:
    value = results.median(figure, setup.name, shape)
    if value is None:
        return ""
    spread = results.spread(figure, setup.name, shape)
    return form.format(value) + (f" ({spread:.0%})" if spread else "")


def _sweep(results: Results) -> Iterator[str]:
    shapes = {
        (one.processes, one.in_flight)
        for setup in SETUPS
        for one in results.shapes(setup.name)
        if (one.processes, one.in_flight) != (setup.processes, setup.in_flight)
    }
    others = [
        setup
        for setup in SETUPS
        if setup not in {OURS, STOCK} and len(_settings(results, setup)) > 1
    ]
    if not shapes:
        return
    yield "## Processes and calls in flight\n"
    shown = [OURS, STOCK, *others]
    for latency_ms in LATENCIES_MS:
        rows = []
        for processes, in_flight in sorted(shapes | {(2, 256)}):
            shape = Shape(latency_ms, processes, in_flight)
            cells = [_cell(results, "jobs_per_s", setup, shape, "{:,.0f}") for setup in shown]
            memory = _cell(results, "peak_mib", OURS, shape, "{:.0f}")
            if any(cells):
                rows.append([f"{processes} x {in_flight}", *cells, memory])
        head = ["processes x calls", *(f"{setup.name}, jobs/s" for setup in shown)]
        yield f"An API that answers {_when(latency_ms)}:\n"
        yield table([*head, f"{OURS.name}, MiB"], rows)


def _settings(results: Results, setup: Setup) -> set[tuple[int, int]]:
    return {(one.processes, one.in_flight) for one in results.shapes(setup.name)}


def write(results: Results) -> None:
    """Put the tables into the page and the chart beside it.

    Raises:
        ValueError: the page has lost its marks.
    """
    before, first, rest = PAGE.read_text("utf-8").partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise ValueError(f"{PAGE.name} needs the lines {FIRST!r} and {LAST!r}")
    PAGE.write_text(f"{before}{FIRST}\n\n{figures(results)}\n{LAST}{after}", "utf-8")
    CHART.write_text(chart(results), "utf-8")


if __name__ == "__main__":
    write(Results.load(Path(sys.argv[1])))
