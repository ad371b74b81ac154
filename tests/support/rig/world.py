"""Server, sandbox, producer and workers of one fault test, and the verdict on its jobs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rig.figures import Counts
from rig.fleet import Fleet
from rig.invariants import Verdict, check, wait_all_ended
from rig.producing import GIFT, AcceptedLog, produce
from rig.sandbox import SandboxServer
from rig.server import RedisServer
from rig.waiting import until
from worker import Producer

#: Shorter than the default of 15 s, so that the quick set is quick; the bound moves with it.
QUICK_LEASE_MS = 2_000
#: What the bound allows beyond the lease, in the full size and beside other test programs.
SLACK_S, QUICK_SLACK_S = 5.0, 20.0


class World:
    """All parts of one test.

    Args:
        folder: for output and logs.
        server: Redis.
        api: the sandbox.
        full: the full size of the matrix, with the default lease.
    """

    def __init__(
        self, folder: Path, server: RedisServer, api: SandboxServer, *, full: bool
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.server = server
        self.api = api
        self.full = full
        self.lease_ms = 15_000 if full else QUICK_LEASE_MS
        self.log = AcceptedLog(folder / "accepted.jsonl")
        self.client = server.client()
        self.fleets: list[Fleet] = []
        #: Variables of the producer, when they are not those of `env`.
        self.producer_env: dict[str, str] | None = None
        self._producers: list[Producer] = []

    def env(
        self, *, redis_port: int | None = None, api_port: int | None = None, **changes: Any
    ) -> dict[str, str]:
        """Variables of a worker or a producer.

        Args:
            redis_port: a proxy's port in place of the server's.
            api_port: a proxy's port in place of the sandbox's.
            changes: more variables.
        """
        return {
            **self.api.environment,
            "CHARGEBEE_API_URL": f"http://127.0.0.1:{api_port or self.api.port}",
            "CHARGEBEE_RATE_PER_MINUTE": "0",
            "CHARGEBEE_MAX_IN_FLIGHT": "0",
            "LARGESSE_REDIS_URL": f"redis://127.0.0.1:{redis_port or self.server.port}/0",
            "LARGESSE_LEASE_MS": str(self.lease_ms),
            "LARGESSE_GIFT_CHECKOUT_BASE_MS": "100",
            "LARGESSE_GIFT_CHECKOUT_CAP_MS": "1000",
            **{name: str(value) for name, value in changes.items()},
        }

    def fleet(self, *, env: Mapping[str, str] | None = None, **options: Any) -> Fleet:
        """Make a fleet that ends with the test; `start` it."""
        folder = self.folder / f"fleet-{len(self.fleets)}"
        self.fleets.append(Fleet(folder, env or self.env(), **options))
        return self.fleets[-1]

    def started(self, *, crash_at: str | None = None, **options: Any) -> Fleet:
        """Make a fleet, start it and wait until every worker listens for jobs."""
        fleet = self.fleet(**options).start(crash_at=crash_at)
        size = sum(len(one.members) for one in self.fleets)
        until(
            lambda: self.client.info("clients")["blocked_clients"] >= size,
            timeout_s=20,
            what="idle workers",
        )
        return fleet

    def producer(self, *, redis_port: int | None = None) -> Producer:
        """Make a producer that is closed with the test."""
        env = self.producer_env or self.env(redis_port=redis_port)
        self._producers.append(Producer.from_env(env))
        return self._producers[-1]

    def produce(self, n: int, *, prefix: str = "job", **options: Any) -> None:
        """Enqueue n jobs and note what was accepted."""
        keys = [f"{prefix}-{number}" for number in range(n)]
        produce(self.producer(), self.log, keys, **options)

    def produce_many(self, n: int, *, prefix: str = "job") -> None:
        """Enqueue n gifts in batches, for large numbers."""
        producer = self.producer()
        for begin in range(0, n, 1000):
            keys = [f"{prefix}-{number}" for number in range(begin, min(n, begin + 1000))]
            specs = [{"kind": "gift_checkout", "payload": GIFT, "key": key} for key in keys]
            jobs = producer.enqueue_many(specs)
            rows = [{"key": key, "job_id": job.id} for key, job in zip(keys, jobs, strict=True)]
            self.log.note_many(rows)

    def published(self) -> int:
        """How many results were published, by the stream's own count."""
        return int(self.client.xlen("{largesse:0}:outcomes"))

    def running(self) -> int:
        """How many jobs are in the hands of workers."""
        return int(self.client.zcard("{largesse:0}:q:chargebee:leases"))

    def wait(self, *, timeout_s: float = 60.0) -> None:
        """Wait until every accepted job has come to rest."""
        wait_all_ended(self.client, self.log.job_ids(), timeout_s=timeout_s)

    def verdict(self, *, fault_at: float | None = None) -> Verdict:
        """Check the invariants now."""
        return check(self.client, self.log.job_ids(), self.api.admin, fault_at=fault_at)

    def judge(
        self,
        figures: Counts,
        row: str,
        case: str,
        *,
        fault_at: float | None = None,
        may_fail: bool = False,
        **measured: Any,
    ) -> Verdict:
        """Note the figures of a row and hold them to the invariants.

        Args:
            figures: where they are noted.
            row: row of the matrix.
            case: case of the row.
            fault_at: Unix s of the fault, for the recovery times and their bound.
            may_fail: some jobs are meant to end as failed.
            measured: further figures.
        """
        verdict = self.verdict(fault_at=fault_at)
        size = "full" if self.full else "quick"
        noted = {**verdict.figures(), **measured, **self.versions(), "size": size}
        figures.note(row, case, **noted)
        assert verdict.broken() == {}
        assert may_fail or set(verdict.states) <= {"succeeded"}, verdict.states
        assert max(verdict.recoveries_ms, default=0) <= self.bound_ms()
        return verdict

    def bound_ms(self) -> float:
        """How long a job may take to come back after its worker died."""
        return self.lease_ms + (SLACK_S if self.full else QUICK_SLACK_S) * 1000

    def versions(self) -> dict[str, str]:
        """Versions for the report."""
        names = ("dramatiq", "redis", "httpx")
        return {
            "server": self.server.version(),
            "python": platform.python_version(),
            **{name: version(name) for name in names},
        }

    def requests_since(self, at: float) -> list[dict[str, Any]]:
        """Requests that the API has seen since a time (Unix s)."""
        return [one for one in self.api.admin.requests() if one["at_ms"] >= at * 1000]

    def close(self) -> None:
        """End all that was started here."""
        for fleet in self.fleets:
            fleet.end()
        for producer in self._producers:
            producer.close()
        self.client.close()
