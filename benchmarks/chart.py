"""The chart of the side-by-side benchmark: bars of every setup, as one SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.results import Results
from benchmarks.run import Shape
from benchmarks.setups import OURS, SETUPS

__all__ = ["chart"]

#: (figure, latency in ms, title) of each panel.
PANELS: Final = (
    ("jobs_per_s", 100, "jobs a second, API answers after 100 ms"),
    ("jobs_per_s", 0, "jobs a second, API answers at once"),
    ("worker_cpu_s_per_1000", 100, "CPU seconds of workers per 1,000 jobs, 100 ms"),
)
WIDTH: Final = 760
LABEL: Final = 210
BAR: Final = 16
ROW: Final = 22
HEAD: Final = 34
GAP: Final = 18
#: How many times the next smaller value the largest may be before its bar is cut.
FAR: Final = 3.0
_COLOURS: Final = {"ours": "#0a7d55", "peer": "#8a94a6", "floor": "#c9ced6"}


def chart(results: Results) -> str:
    """Draw the bars.

    Args:
        results: with the runs of the main table.

    Returns:
        An SVG document.
    """
    parts: list[str] = []
    top = GAP
    for figure, latency_ms, title in PANELS:
        rows = [
            (setup.name, _colour(setup.name, is_peer=setup.is_peer), value)
            for setup in SETUPS
            if (
                value := results.median(
                    figure, setup.name, Shape(latency_ms, setup.processes, setup.in_flight)
                )
            )
            is not None
        ]
        if rows:
            parts += _panel(title, rows, top)
            top += HEAD + ROW * len(rows) + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
        f'height="{top}" font-family="system-ui, sans-serif" font-size="13">'
    )
    ground = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])


def _colour(name: str, *, is_peer: bool) -> str:
    return _COLOURS["ours" if name == OURS.name else "peer" if is_peer else "floor"]


def _scale(values: Sequence[float]) -> float:
    """Give the value that fills a bar; one far above all others is cut, or none could be read."""
    first, second, *_ = [*sorted(values, reverse=True), 0.0]
    return second * 1.25 if second and first > FAR * second else first


def _panel(title: str, rows: Sequence[tuple[str, str, float]], top: int) -> list[str]:
    most = _scale([value for _, _, value in rows])
    room = WIDTH - LABEL - 90
    found = [
        f'<text x="{GAP}" y="{top + 16}" font-weight="600" fill="#1b1f24">{escape(title)}</text>'
    ]
    for place, (name, colour, value) in enumerate(rows):
        y = top + HEAD + place * ROW
        length = max(1.0, room * min(1.0, value / most))
        text = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
        weight = "600" if name == OURS.name else "400"
        words = f'y="{y + 12}" fill="#1b1f24" font-weight="{weight}"'
        found.append(f'<text x="{LABEL - 8}" {words} text-anchor="end">{escape(name)}</text>')
        found.append(
            f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>'
        )
        if value > most:
            cut = LABEL + length - 30
            found.append(f'<path d="M{cut} {y + BAR} l6 -{BAR} h5 l-6 {BAR} z" fill="#ffffff"/>')
        found.append(f'<text x="{LABEL + length + 6:.1f}" {words}>{text}</text>')
    return found
