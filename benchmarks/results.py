"""The results of a benchmark: every run with its figures, and the median over the rounds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.run import Shape

__all__ = ["Results"]


@dataclass
class Results:
    """All runs.

    Attributes:
        about: facts of the whole: machine, versions, form, date; one line each.
        runs: one mapping of figures for each run, with `setup`, the shape, and `part`; a run that
            failed has `error`.
    """

    about: list[str] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def median(self, figure: str, setup: str, shape: Shape) -> float | None:
        """Give the median of a figure over the rounds, or None where nothing was measured."""
        found = self._values(figure, setup, shape)
        return statistics.median(found) if found else None

    def spread(self, figure: str, setup: str, shape: Shape) -> float | None:
        """Give (largest - smallest) / median over the rounds, or None."""
        found = self._values(figure, setup, shape)
        return (max(found) - min(found)) / statistics.median(found) if found else None

    def shapes(self, setup: str, wanted: Callable[[Shape], bool] = lambda _: True) -> list[Shape]:
        """List the shapes in which a setup was measured from a full queue."""
        found = dict.fromkeys(
            _shape(run) for run in self.runs if run["setup"] == setup and "jobs_per_s" in run
        )
        return [shape for shape in found if wanted(shape)]

    def failures(self) -> Iterator[Mapping[str, Any]]:
        """Give the runs that failed."""
        return (run for run in self.runs if "error" in run)

    def save(self, path: Path) -> None:
        """Write all as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"about": self.about, "runs": self.runs}, indent=1), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        found = json.loads(path.read_text("utf-8"))
        return cls(found["about"], found["runs"])

    def _values(self, figure: str, setup: str, shape: Shape) -> list[float]:
        return [
            run[figure]
            for run in self.runs
            if figure in run and run["setup"] == setup and _shape(run) == shape
        ]


def _shape(run: Mapping[str, Any]) -> Shape:
    return Shape(run["latency_ms"], run["processes"], run["in_flight"])
