"""The app's side of a setup, in a process of the setup's own environment: enqueues and waits.

It takes one JSON object a line and answers with one: `fill` enqueues jobs and says how fast,
`idle` sends single jobs and says how long each took to its page, `pages` gives what was published.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.asked import Asked
from benchmarks.work import PAGES, Queue, redis_url

__all__ = ["Driver"]

#: Jobs of one batch.
BATCH: Final = 1000
#: Seconds after which a page counts as lost.
LOST_S: Final = 30.0


class _Waits(Queue, Protocol):
    """A setup whose users wait for a result in another way than by a list."""

    def roundtrip(self, job: int) -> None:
        """Enqueue a job and return when its page is in hand."""

    def pages(self) -> Mapping[int, list[str]]:
        """Give the published pages by job."""

    def close(self) -> None:
        """Close the connections."""


class Driver(Asked):
    """Handle of the driver's process; a context manager.

    Args:
        python: interpreter of the setup's environment.
        module: the setup's module.
        env: environment.
    """

    def __init__(self, python: Path, module: str, env: Mapping[str, str]) -> None:
        command = [str(python), "-m", "benchmarks.driver", module]
        super().__init__(" ".join(command), command, env=env)

    def fill(self, jobs: int, *, singles: int) -> dict[str, Any]:
        """Enqueue jobs 1 to `jobs`: the first `singles` one by one, the others in batches.

        Returns:
            `one_ms`, what each single one took, and `one_s`, `batch_s`, the seconds of both parts.
        """
        return self._order({"do": "fill", "jobs": jobs, "singles": singles})

    def idle(self, jobs: int, *, gap_s: float) -> list[float]:
        """Send jobs 1 to `jobs` one by one; give the ms from each enqueue to its page."""
        found: list[float] = self._order({"do": "idle", "jobs": jobs, "gap_s": gap_s})["ms"]
        return found

    def pages(self) -> dict[int, list[str]]:
        """Give the pages that were published, by job."""
        return {int(job): pages for job, pages in self._order({"do": "pages"})["pages"].items()}

    def _order(self, what: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask(json.dumps(what))


class _ByList:
    """A peer: its workers publish to a list."""

    def __init__(self, queue: Queue) -> None:
        import redis  # noqa: PLC0415 - the handle above needs none

        self._redis = redis.Redis.from_url(redis_url())
        self._queue = queue
        self.enqueue, self.enqueue_many = queue.enqueue, queue.enqueue_many
        self._seen: dict[int, list[str]] = defaultdict(list)

    def roundtrip(self, job: int) -> None:
        self._queue.enqueue(job)
        found = self._redis.blpop([PAGES], timeout=LOST_S)
        if found is None:
            raise TimeoutError(f"no page of job {job} within {LOST_S} s")
        self._note([found[1]])

    def pages(self) -> Mapping[int, list[str]]:
        self._note(self._redis.lrange(PAGES, 0, -1))
        return self._seen

    def close(self) -> None:
        self._redis.close()

    def _note(self, entries: Iterable[bytes]) -> None:
        for entry in entries:
            job, _, page = entry.decode().partition(" ")
            self._seen[int(job)].append(page)


def _fill(queue: _Waits, jobs: int, singles: int) -> dict[str, Any]:
    one_ms = []
    started = last = time.perf_counter()
    for job in range(1, singles + 1):
        queue.enqueue(job)
        now = time.perf_counter()
        one_ms.append((now - last) * 1000)
        last = now
    for start in range(singles + 1, jobs + 1, BATCH):
        queue.enqueue_many(range(start, min(start + BATCH, jobs + 1)))
    return {"one_ms": one_ms, "one_s": last - started, "batch_s": time.perf_counter() - last}


def _idle(queue: _Waits, jobs: int, gap_s: float) -> dict[str, Any]:
    found = []
    for job in range(1, jobs + 1):
        started = time.perf_counter()
        queue.roundtrip(job)
        took_s = time.perf_counter() - started
        found.append(took_s * 1000)
        time.sleep(max(0.0, gap_s - took_s))
    return {"ms": found}


def _main(module: str) -> None:
    made = importlib.import_module(module).make()
    queue: _Waits = made if hasattr(made, "roundtrip") else _ByList(made)
    for line in sys.stdin:
        order = json.loads(line)
        match order.pop("do"):
            case "fill":
                found = _fill(queue, **order)
            case "idle":
                found = _idle(queue, **order)
            case _:
                found = {"pages": queue.pages()}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    queue.close()


if __name__ == "__main__":
    _main(sys.argv[1])
