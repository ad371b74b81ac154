"""Measured figures, one JSON object a line, from which the reports are written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

#: Path of another file for the figures.
PATH_VARIABLE = "LARGESSE_FAULTS_FIGURES"


class Counts:
    """Appends rows to a file.

    Args:
        path: the file, unless `LARGESSE_FAULTS_FIGURES` names another.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(os.environ.get(PATH_VARIABLE) or path)

    def note(self, row: str, case: str, **figures: Any) -> None:
        """Append one row.

        Args:
            row: the row of the matrix, such as `T1` or `D9`.
            case: what tells rows of the same name apart, such as a crash point.
            figures: the figures, JSON-safe.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"row": row, "case": case, **figures}) + "\n"
        with self._path.open("a", encoding="utf-8") as sink:
            sink.write(line)


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile of a list of values (not empty); `share` is 0..1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
