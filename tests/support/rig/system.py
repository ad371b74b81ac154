"""Everything at once: a server, the sandbox, workers and a producer, over TCP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import redis

from rig.command import Command, clean
from rig.processes import Process, Processes
from rig.sandbox import API_KEY, SITE, SandboxAdmin, SandboxServer
from rig.waiting import until
from worker import Producer, Settings


class System:
    """A running system without workers; start those with `worker`.

    Args:
        redis_url: an empty database.
        sandbox: the API's stand-in.
        spawn: starts processes that the test's end ends.
        folder: working directory of commands.
    """

    def __init__(
        self, redis_url: str, sandbox: SandboxServer, spawn: Processes, folder: Path
    ) -> None:
        self.sandbox = sandbox
        self.environ = {
            "LARGESSE_REDIS_URL": redis_url,
            "CHARGEBEE_SITE": SITE,
            "CHARGEBEE_API_KEY": API_KEY,
            "CHARGEBEE_API_URL": sandbox.url,
            "CHARGEBEE_RATE_PER_MINUTE": "0",
        }
        self.run = Command(folder, self.environ)
        self.workers: list[Process] = []
        self.spawn = spawn
        self._producers: list[Producer] = []

    @property
    def admin(self) -> SandboxAdmin:
        """The sandbox's admin API."""
        return self.sandbox.admin

    def worker(
        self, *, processes: int = 1, concurrency: int = 8, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start `largesse worker`."""
        words = ["python", "-m", "worker.cli", "worker", "--grace", "5"]
        words += ["-p", str(processes), "-t", str(concurrency)]
        started = self.spawn(words, env=clean({**self.environ, **(env or {})}), name="worker")
        self.workers.append(started)
        return started

    def producer(self, env: Mapping[str, str] | None = None) -> Producer:
        """Make a producer in this process; closed with the system."""
        producer = Producer(Settings.from_env({**self.environ, **(env or {})}))
        self._producers.append(producer)
        return producer

    def redis(self) -> redis.Redis:
        """Make a client of the test's own; the caller closes it."""
        return redis.Redis.from_url(self.environ["LARGESSE_REDIS_URL"])

    def wait_past_expiry(self, job_id: str) -> None:
        """Wait until the page of a job has expired by this machine's clock."""
        reader = self.producer().results
        until(lambda: reader.get(job_id).is_expired, what="the expiry of the page")

    def close(self) -> None:
        """Close the producers."""
        for producer in self._producers:
            producer.close()
