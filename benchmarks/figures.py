"""Counts of a benchmark: samples of several rounds, their median, and the table of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Board", "percentile", "table"]


def percentile(samples: Sequence[float], share: float) -> float:
    """Give the sample below which `share` (0 to 1) of the samples lie, by nearest rank.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Board:
    """All measured values: (figure, setup) to one value a round.

    Args:
        tell: called with one JSON line for each value.
    """

    tell: Callable[[str], object]
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def note(self, figure: str, setup: str, value: float, **facts: Any) -> None:
        """Keep one round's value."""
        rounds = self.values.setdefault((figure, setup), [])
        rounds.append(value)
        line = {"figure": figure, "setup": setup, "round": len(rounds), "value": value, **facts}
        self.tell(json.dumps(line))

    def median(self, figure: str, setup: str) -> float | None:
        """Give the median over the rounds, or None where nothing was measured."""
        rounds = self.values.get((figure, setup))
        return statistics.median(rounds) if rounds else None

    def spread(self, figure: str, setup: str) -> float | None:
        """Give (largest - smallest) / median over the rounds, or None."""
        rounds = self.values.get((figure, setup))
        middle = self.median(figure, setup)
        return (max(rounds) - min(rounds)) / middle if rounds and middle else None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
