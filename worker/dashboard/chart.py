"""Charts as SVG: the numbers are turned into places here, the template only writes them down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

__all__ = ["Bar", "Bars", "Lines", "Tick", "bars", "levels", "lines"]

#: Size of the drawing area in its own units; the page scales it.
WIDTH: Final = 600
HEIGHT: Final = 130
#: Outcomes from the axis up: what went well is the ground that the rest stands on.
ORDER: Final = ("succeeded", "cancelled", "expired", "held", "failed")
#: Tops of the upright axis; each has a whole half.
_STEPS: Final = (2, 4, 6, 10)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: its place and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Stacked bars, a minute each.

    Attributes:
        bars: rectangles.
        names: of what occurs, in their order.
        x_ticks, y_ticks: marks.
        rows: the same as numbers: time and one number for each of the names.
    """

    bars: list[Bar]
    names: list[str]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    rows: list[tuple[str, list[int]]]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines over minutes, with gaps where nothing was measured.

    Attributes:
        paths: name to the points of each unbroken piece, as an SVG polyline has them.
        dots: name to single points that no line reaches.
        x_ticks, y_ticks: marks.
        rows: the same as numbers: time and one number, or None, for each of the names.
        names: of the lines.
    """

    paths: dict[str, list[str]]
    dots: dict[str, list[tuple[float, float]]]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    rows: list[tuple[str, list[float | None]]]
    names: list[str]


def bars(
    minutes: Sequence[int],
    values: Mapping[int, Mapping[str, int]],
    *,
    order: Sequence[str] = ORDER,
) -> Bars:
    """Draw stacked bars.

    Args:
        minutes: Unix ms of all minutes, in order, empty ones too.
        values: minute to name to count.
        order: names from the axis up.
    """
    names = [name for name in order if any(one.get(name) for one in values.values())]
    top = _nice(max((sum(one.values()) for one in values.values()), default=0))
    step = WIDTH / max(1, len(minutes))
    drawn: list[Bar] = []
    for place, minute in enumerate(minutes):
        y = float(HEIGHT)
        for name in names:
            height = values.get(minute, {}).get(name, 0) / top * HEIGHT
            y -= height
            if height:
                drawn.append(
                    Bar(name, round(place * step + step * 0.1, 2), round(y, 2),
                        round(step * 0.8, 2), round(height, 2))
                )  # fmt: skip
    rows = [
        (_clock(minute), [values.get(minute, {}).get(name, 0) for name in names])
        for minute in minutes
    ]
    return Bars(drawn, names, _times(minutes), _levels(top), rows)


def lines(minutes: Sequence[int], values: Mapping[str, Mapping[int, float | None]]) -> Lines:
    """Draw lines, times on a logarithmic axis: a median of 90 ms and a job of an hour both show.

    Args:
        minutes: Unix ms of all minutes, in order.
        values: name to minute to seconds; a minute without is a gap.
    """
    measured = [x for one in values.values() for x in one.values() if x is not None]
    low, decades = _decades(measured)

    def part(value: float) -> float:
        return math.log10(max(value, 10.0**low) / 10.0**low) / decades

    y_ticks = [
        Tick(round(HEIGHT - HEIGHT * place / decades, 2), _duration(10.0 ** (low + place)))
        for place in range(0, decades + 1, 1 + decades // 4)
    ]
    return _plot(minutes, values, part, y_ticks)


def levels(minutes: Sequence[int], values: Mapping[str, Mapping[int, float | None]]) -> Lines:
    """Draw lines of numbers, on an axis from zero.

    Args:
        minutes: Unix ms of all minutes, in order.
        values: name to minute to number; a minute without is a gap.
    """
    top = _nice(
        max((x for one in values.values() for x in one.values() if x is not None), default=0)
    )
    return _plot(minutes, values, lambda value: value / top, _levels(top))


def _plot(
    minutes: Sequence[int],
    values: Mapping[str, Mapping[int, float | None]],
    part: Callable[[float], float],
    y_ticks: list[Tick],
) -> Lines:
    """Turn numbers into places: `part` says how far up a number is, 0 to 1."""
    step = WIDTH / max(1, len(minutes))
    paths: dict[str, list[str]] = {}
    dots: dict[str, list[tuple[float, float]]] = {}
    for name, one in values.items():
        pieces: list[list[tuple[float, float]]] = [[]]
        for place, minute in enumerate(minutes):
            value = one.get(minute)
            if value is None:
                pieces.append([])
            else:
                y = HEIGHT - min(1.0, part(value)) * HEIGHT
                pieces[-1].append((round((place + 0.5) * step, 2), round(y, 2)))
        paths[name] = [
            " ".join(f"{x},{y}" for x, y in piece) for piece in pieces if len(piece) > 1
        ]
        dots[name] = [piece[0] for piece in pieces if len(piece) == 1]
    rows = [(_clock(minute), [one.get(minute) for one in values.values()]) for minute in minutes]
    return Lines(paths, dots, _times(minutes), y_ticks, rows, list(values))


def _nice(value: float) -> float:
    """Give the next round number, 2 at least: 2, 4, 6 or 10, with zeros."""
    scale = 1.0
    while True:
        for step in _STEPS:
            if value <= step * scale:
                return step * scale
        scale *= 10


def _decades(measured: Sequence[float]) -> tuple[int, int]:
    """Give the power of ten below all times, and how many powers up to the one above all."""
    low = math.floor(math.log10(max(0.001, min(measured, default=0.01))))
    high = math.ceil(math.log10(max(0.001, max(measured, default=1.0))))
    return low, max(1, high - low)


def _levels(top: float) -> list[Tick]:
    return [Tick(HEIGHT - HEIGHT * part, f"{top * part:g}") for part in (0.0, 0.5, 1.0)]


def _times(minutes: Sequence[int]) -> list[Tick]:
    step = WIDTH / max(1, len(minutes))
    return [
        Tick(round((place + 0.5) * step, 2), _clock(minute))
        for place, minute in enumerate(minutes)
        if (minute // 60_000) % 15 == 0
    ]


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M}"


def _duration(value_s: float) -> str:
    return f"{value_s * 1000:g} ms" if value_s < 1 else f"{value_s:g} s"
