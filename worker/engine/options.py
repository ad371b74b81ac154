"""How long the engine waits and how much it keeps; the scripts get these numbers as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.engine.keys import RECORD_VERSION

__all__ = ["EngineOptions"]

#: Milliseconds that a lease lasts without renewal: how long a killed worker's job waits.
LEASE_MS: Final = 15_000
#: Milliseconds between renewals: two may fail before a lease lapses.
RENEW_MS: Final = 5_000
#: Deliveries in a row without an ending after which a job is buried: it kills its workers.
MAX_DELIVERIES: Final = 3
#: Milliseconds that the outcomes written by scripts (poison, expired, cancelled) are kept.
OUTCOME_TTL_MS: Final = 7 * 86_400_000
#: Newest entries of a shard that stay though every group has handled them: a search for ended
#: jobs reads them.
STREAM_KEPT: Final = 20_000
#: Entries at which the scripts cut the stream by themselves: far more than the largest setting,
#: so that all that is cut is cut by the trim, which tells the groups.
STREAM_MOST: Final = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Numbers that all scripts of a process go by.

    Attributes:
        lease_ms: milliseconds a lease lasts without renewal.
        renew_ms: milliseconds between renewals.
        max_deliveries: deliveries without an ending before a job is buried as poison.
        outcome_ttl_ms: milliseconds that outcomes written by scripts are kept.
    """

    lease_ms: int = LEASE_MS
    renew_ms: int = RENEW_MS
    max_deliveries: int = MAX_DELIVERIES
    outcome_ttl_ms: int = OUTCOME_TTL_MS

    def fetch_arguments(
        self,
        queue: str,
        worker: str,
        room: int,
        limits: Sequence[str | int] = (),
        *,
        expected_ms: int | None = None,
    ) -> list[Any]:
        """Give the arguments of the fetch script.

        Args:
            queue: name of the queue.
            worker: who gets the leases.
            room: most jobs.
            limits: sites that may not have all of it, each with the jobs it may get.
            expected_ms: what the queue's clock must be by now, at the earliest; see `ClockWatch`.
        """
        return [
            queue, worker, room, self.lease_ms, self.max_deliveries, self.outcome_ttl_ms,
            STREAM_MOST, RECORD_VERSION, "" if expected_ms is None else expected_ms, *limits,
        ]  # fmt: skip

    def ending_arguments(self, name: str) -> list[Any]:
        """Give the arguments of the ending script `name` that come before the endings."""
        if name == "retry":
            return [self.outcome_ttl_ms, STREAM_MOST]
        return [] if name == "release" else [STREAM_MOST]
