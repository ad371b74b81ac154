"""One broker, one server, some probe workers: what a fault does to jobs, seen from outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig.brokers import NAMESPACE, STOCK_NAMESPACE, Kind, make_broker
from rig.probe import QUEUE, register
from rig.processes import Process, Processes
from rig.server import RedisServer
from rig.waiting import until


class Stage:
    """A scenario on one of the two brokers.

    Args:
        kind: `stock` or `ours`.
        server: the server, talked to directly by the producer.
        folder: for the run log.
        spawn: starts the workers.
        worker_port: port the workers use, such as a proxy's; the server's when None.
    """

    def __init__(
        self,
        kind: Kind,
        server: RedisServer,
        folder: Path,
        spawn: Processes,
        *,
        worker_port: int | None = None,
    ) -> None:
        self.kind = kind
        self.server = server
        self.folder = folder
        self.worker_port = worker_port or server.port
        self._spawn = spawn
        #: Turns the command of a worker into one that runs it under some bound.
        self.launch: Callable[[list[str]], list[str]] = list
        self.broker: Any = make_broker(kind, server.url)
        self.actor = register(self.broker, folder)

    def close(self) -> None:
        """Close the producer's connections."""
        self.broker.close()
        if self.kind == "stock":
            self.broker.client.close()

    def worker(
        self, *, env: dict[str, str] | None = None, wait: bool = True, **options: object
    ) -> Process:
        """Start a probe worker and wait until it consumes.

        Args:
            env: variables, such as dramatiq's tuning.
            wait: False for a worker that may die before it is ready.
            options: options of `rig.probe`, underscores for dashes.
        """
        url = f"redis://127.0.0.1:{self.worker_port}/0"
        words = ["python", "-m", "rig.probe", "--broker", self.kind, "--url", url]
        words += ["--folder", str(self.folder)]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        process = self._spawn(self.launch(words), env=env, name="probe")
        if not wait:
            return process
        ready = self.folder / f"{process.pid}.ready"
        until(lambda: ready.exists() or not process.running, what="the worker")
        if not process.running:
            raise RuntimeError(f"the worker ended at start:\n{process.output()[-2000:]}")
        return process

    def send(self, job: str, mode: str = "plain", *, ms: int = 0, **options: Any) -> str:
        """Enqueue one job; returns dramatiq's message id."""
        message = self.actor.send_with_options(args=(job, mode, ms), **options)
        return message.message_id

    def go(self) -> None:
        """Let the actors go on that wait for it."""
        (self.folder / "go").touch()

    def notes(self, what: str, job: str | None = None) -> list[dict[str, Any]]:
        """Lines of the run log of one kind (`start`, `end`), of one job or of all."""
        path = self.folder / "runs.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # The last line may be on its way.
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [row for row in found if row["what"] == what and job in (None, row["job"])]

    def runs(self, job: str) -> int:
        """How often the job was begun."""
        return len(self.notes("start", job))

    def ended(self) -> set[str]:
        """Jobs that ran to their end at least once."""
        return {row["job"] for row in self.notes("end")}

    def wait_runs(self, jobs: list[str], *, times: int = 1, timeout_s: float = 15) -> None:
        """Wait until each of the jobs was begun so many times."""
        until(
            lambda: all(self.runs(job) >= times for job in jobs),
            timeout_s=timeout_s,
            what=f"{times} runs of {jobs}",
        )

    def wait_ended(self, jobs: list[str], *, timeout_s: float = 20) -> None:
        """Wait until each of the jobs ran to its end."""
        until(lambda: set(jobs) <= self.ended(), timeout_s=timeout_s, what=f"the end of {jobs}")

    def open_messages(self) -> int:
        """Messages that the broker still owes an ending: waiting, delayed or taken."""
        if self.kind == "stock":
            names = (f"{STOCK_NAMESPACE}:{QUEUE}.msgs", f"{STOCK_NAMESPACE}:{QUEUE}.DQ.msgs")
            with self.server.client() as client:
                return sum(client.hlen(name) for name in names)
        return sum(self.broker.depth(QUEUE))

    def dead_letters(self) -> int:
        """Messages that the broker has put aside as failed."""
        with self.server.client() as client:
            if self.kind == "stock":
                return int(client.zcard(f"{STOCK_NAMESPACE}:{QUEUE}.XQ"))
            return int(client.zcard(f"{{{NAMESPACE}:0}}:dead"))

    def waiting(self) -> int:
        """Messages in the stock broker's list: those that some worker could still take."""
        with self.server.client() as client:
            return int(client.llen(f"{STOCK_NAMESPACE}:{QUEUE}"))

    def spoil(self, message_id: str) -> str:
        """Overwrite the stored message that was sent last with bytes that are no message."""
        with self.server.client() as client:
            if self.kind == "stock":
                name = f"{STOCK_NAMESPACE}:{QUEUE}.msgs"
                last = client.lindex(f"{STOCK_NAMESPACE}:{QUEUE}", -1)
                client.hset(name, str(last), "{not json")
            else:
                client.set(f"{{{NAMESPACE}:0}}:msg:{message_id}", "{not json")
        return message_id

    def taken(self) -> int:
        """Messages that a worker holds on our broker."""
        with self.server.client() as client:
            return int(client.zcard(f"{{{NAMESPACE}:0}}:q:{QUEUE}:leases"))
