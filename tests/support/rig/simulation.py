"""Minutes of calls in seconds: the scripts, the retry table and the sandbox's limit on one clock.

No HTTP and no processes: what the queue hands out is asked of the sandbox's own limiter at that
moment, and ends a latency later as the table of errors says.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass

from rig.queue import SITE, Lease, Queue, entry
from worker.errors import ThrottledError
from worker.process.budgets import rate_of
from worker.retry.rules import RetryPolicy, decide
from worker.sandbox.limits import Limits
from worker.sandbox.settings import Settings

SEED = 14


@dataclass(frozen=True, slots=True)
class Call:
    """One call: ms since the simulation began, and whether the limit let it in."""

    at_ms: int
    let_in: bool


class Simulation:
    """One site with a backlog, and a worker that takes all it is given.

    Args:
        queue: the scripts, on an empty server.
        configured: calls a minute that the settings say.
        limit: calls a minute that the API takes.
        window: `sliding` or `fixed`.
        latency_ms: from handing a job out to its ending.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        configured: float,
        limit: int,
        window: str = "sliding",
        latency_ms: int = 150,
    ) -> None:
        self.queue = queue
        self.settings = Settings(rate_per_minute=limit, rate_window=window)
        self.latency_ms = latency_ms
        self.calls: list[Call] = []
        self.burnt = 0
        self._limits = Limits()
        self._rng = random.Random(SEED)
        self._moved_ms = 0
        self._running: list[tuple[int, int, Lease, int]] = []
        self._added = 0
        rate, burst = rate_of(configured)
        interval_ms = 60_000 / rate
        queue.run("configure", "w", SITE, interval_ms, interval_ms * burst, 0, 0, "", 0)
        self.began_ms = self.now_ms()

    def now_ms(self) -> int:
        """Unix ms of the moved clock."""
        seconds, micros = self.queue.client.time()
        return int(seconds) * 1000 + int(micros) // 1000 + self._moved_ms

    def limit(self, rate_per_minute: int) -> None:
        """Let the API take another number of calls a minute from now on."""
        self.settings = self.settings.changed({"rate_per_minute": rate_per_minute})

    def offer(self, n: int) -> None:
        """Enqueue n jobs."""
        for begin in range(0, n, 500):
            size = min(500, n - begin)
            self.queue.enqueue(*(entry(f"job-{self._added + place}") for place in range(size)))
            self._added += size

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until_ms = self.now_ms() + round(seconds * 1000)
        while (now := self.now_ms()) < until_ms:
            while self._running and self._running[0][0] <= now:
                _, _, lease, wait_ms = heapq.heappop(self._running)
                self._end(lease, wait_ms, now)
            fetched = self.queue.fetch(64)
            now = self.now_ms()
            for lease in fetched.leases:
                wait_ms = self._limits.enter(SITE, grow=False, now_ms=now, settings=self.settings)
                if not wait_ms:
                    self._limits.leave(SITE)
                self.calls.append(Call(now - self.began_ms, not wait_ms))
                due = now + self.latency_ms
                heapq.heappush(self._running, (due, len(self.calls), lease, wait_ms))
            if not fetched.leases:
                coming = [] if fetched.wait_ms is None else [now + max(1, fetched.wait_ms)]
                coming += [self._running[0][0]] if self._running else []
                step_ms = min([*coming, until_ms]) - now
                if step_ms > 0:
                    self._moved_ms += step_ms
                    self.queue.passes(step_ms)

    def _end(self, lease: Lease, wait_ms: int, now: int) -> None:
        if not wait_ms:
            self.queue.finish(lease)
            return
        decision = decide(
            ThrottledError(
                "http_status",
                status=429,
                api_error_code="api_request_limit_exceeded",
                retry_after_s=math.ceil(wait_ms / 1000),
            ),
            policy=RetryPolicy(),
            operation_repeatable=False,
            attempt=lease.attempts + 1,
            first_sent_ms=None,
            enqueued_ms=lease.first_delivery_at,
            now_ms=now,
            deadline_ms=None,
            unsure=False,
            rng=self._rng,
        )
        assert decision.action == "retry"
        self.burnt += decision.counted
        self.queue.retry(
            lease,
            delay_ms=decision.delay_ms,
            counted=decision.counted,
            throttle_site_ms=decision.throttle_site_ms or 0,
        )

    def between(self, from_s: float, to_s: float) -> list[Call]:
        """Calls of a span, in seconds since the simulation began."""
        return [one for one in self.calls if from_s * 1000 <= one.at_ms < to_s * 1000]

    def refused_share(self, from_s: float, to_s: float) -> float:
        """Part of the calls of a span that the limit refused."""
        found = self.between(from_s, to_s)
        return sum(not one.let_in for one in found) / max(1, len(found))

    def let_in(self, from_s: float, to_s: float) -> int:
        """Calls of a span that the limit let in."""
        return sum(one.let_in for one in self.between(from_s, to_s))
