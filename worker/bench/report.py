"""The figures of a measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Proof", "Report", "quantile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Whether each job came to one page of its own.

    Attributes:
        jobs: jobs that were enqueued.
        succeeded: those that have a page.
        different: different pages among them.
        made: pages that the API made.
        calls: calls of the API.
    """

    jobs: int
    succeeded: int
    different: int
    made: int
    calls: int

    @property
    def holds(self) -> bool:
        """Whether every job has a page, no two have the same, and the API made no other."""
        return self.jobs == self.succeeded == self.different == self.made


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures; None for what could not be measured here.

    Attributes:
        server: kind and version of the broker.
        cores: CPU cores of the machine.
        jobs, processes, concurrency, latency_ms, encrypted: what was asked for.
        jobs_per_s: jobs of a backlog that ended in a second, from its release to the last ending.
        enqueue_per_s: jobs that one thread enqueued in a second, one call each.
        enqueue_many_per_s: the same in batches.
        idle_ms: ms from enqueue to result of single jobs, the API's latency included.
        workers_cpu_s, broker_cpu_s, api_cpu_s: CPU seconds for 1,000 jobs of the backlog.
        workers_peak_bytes: most memory of all worker processes, summed.
        broker_peak_bytes: most memory of the broker's data; None of one that is not ours.
        proof: whether all is right.
        took_s: seconds of the whole measurement.
    """

    server: str
    cores: int
    jobs: int
    processes: int
    concurrency: int
    latency_ms: float
    encrypted: bool
    jobs_per_s: float
    enqueue_per_s: float
    enqueue_many_per_s: float
    idle_ms: Sequence[float]
    workers_cpu_s: float | None
    broker_cpu_s: float
    api_cpu_s: float
    workers_peak_bytes: int | None
    broker_peak_bytes: int | None
    proof: Proof
    took_s: float

    def as_json(self) -> dict[str, Any]:
        """Give it as the object of `largesse bench --json`."""
        return {
            "server": self.server,
            "cores": self.cores,
            "jobs": self.jobs,
            "processes": self.processes,
            "concurrency": self.concurrency,
            "latency_ms": self.latency_ms,
            "encrypted": self.encrypted,
            "jobs_per_s": round(self.jobs_per_s, 1),
            "enqueue_per_s": round(self.enqueue_per_s, 1),
            "enqueue_many_per_s": round(self.enqueue_many_per_s, 1),
            "idle_ms": {
                "p50": _rounded(quantile(self.idle_ms, 0.5), 2),
                "p99": _rounded(quantile(self.idle_ms, 0.99), 2),
                "jobs": len(self.idle_ms),
            },
            "cpu_s_per_1000_jobs": {
                "workers": _rounded(self.workers_cpu_s, 3),
                "broker": _rounded(self.broker_cpu_s, 3),
                "api_stand_in": _rounded(self.api_cpu_s, 3),
            },
            "peak_mb": {
                "workers": _megabytes(self.workers_peak_bytes),
                "broker": _megabytes(self.broker_peak_bytes),
            },
            "proof": {
                "holds": self.proof.holds,
                "jobs": self.proof.jobs,
                "succeeded": self.proof.succeeded,
                "different_pages": self.proof.different,
                "pages_made": self.proof.made,
                "calls": self.proof.calls,
            },
            "took_s": round(self.took_s, 1),
        }


def quantile(values: Sequence[float], part: float) -> float | None:
    """Give the value below or at which a part of all values lies; None of none.

    Args:
        values: in any order.
        part: above 0, at most 1.
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * part) - 1)]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _megabytes(value: int | None) -> float | None:
    return None if value is None else round(value / 1e6, 1)
