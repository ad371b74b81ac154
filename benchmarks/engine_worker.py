"""A worker in a process of its own, and the handle by which a benchmark holds it.

The process takes one word a line: `report` gives what its actors saw as a JSON line, the end of
its input ends it.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Self

from benchmarks.asked import Asked
from benchmarks.engine_setups import SETUPS, Notes, Running, Setup, declare, make_broker

__all__ = ["WorkerProcess"]


class WorkerProcess(Asked):
    """A worker in a process of its own; a context manager.

    Args:
        setup: which.
        url: its database.
        hold_s: seconds that a job with a page takes.
        results: let the stock broker keep results.
    """

    def __init__(
        self, setup: Setup, url: str, *, hold_s: float = 0.0, results: bool = False
    ) -> None:
        self.setup = setup
        command = [
            sys.executable, "-m", "benchmarks.engine_worker",
            setup.name, url, str(hold_s), "results" if results else "",
        ]  # fmt: skip
        super().__init__(f"the worker of {setup.name!r}", command)

    def __enter__(self) -> Self:
        super().__enter__()
        self._answer()
        return self

    def report(self) -> dict[str, Any]:
        """Give what its actors saw since the last report; see `Notes.report`."""
        return self._ask("report")


def _tell(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main(name: str, url: str, hold_s: str, results: str) -> None:
    """Be that process."""
    logging.basicConfig(level=logging.WARNING)
    setup = next(one for one in SETUPS if one.name == name)
    broker = make_broker(setup, url, results=bool(results))
    notes = Notes()
    declare(setup, broker, notes, hold_s=float(hold_s))
    running = Running(setup, broker, url)
    started = time.monotonic()
    try:
        _tell({"ready": True})
        for line in sys.stdin:
            if line.strip() == "report":
                _tell(notes.report() | {"up_s": time.monotonic() - started})
    finally:
        running.stop()
        broker.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
