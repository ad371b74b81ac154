"""All processes of a measurement: a broker, the stand-in for the API, workers.

Everything listens on the loopback address and is gone when the `with` block ends, however it ends.
On a Redis that was given the keys are in a namespace of their own, and are removed as well.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis

from worker.demo.embedded import EmbeddedBroker
from worker.demo.stage import Child, ChildError, clean_environ
from worker.engine.connection import PRODUCER, connect
from worker.engine.keys import Keyspace
from worker.engine.redis_errors import speaking_to_redis
from worker.process.heartbeat import read_heartbeats

__all__ = ["SITE", "Stage"]

#: The site of all jobs; its key opens nothing.
SITE: Final = "bench-test"
#: Seconds until the workers must be up.
READY_S: Final = 30.0
#: Seconds that workers get to end.
GRACE_S: Final = 5.0
#: Keys that are removed in one step.
STEP: Final = 500

_LOOK_S: Final = 0.05


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


class Stage:
    """The running system without workers; start those with `start_workers`.

    Args:
        redis_url: a Redis to measure on; None for an embedded broker.
        latency_ms: time from a call of the API to its answer.
        jobs: how many there will be: bounds the stream of outcomes.
        encrypted: encrypt with a key of this run alone.
    """

    def __init__(
        self, *, redis_url: str | None, latency_ms: float, jobs: int, encrypted: bool = False
    ) -> None:
        self._given_url = redis_url
        self._latency_ms = latency_ms
        self._jobs = jobs
        self._keys = f"bench:{_new_key()}" if encrypted else ""
        self._stack = contextlib.ExitStack()
        self._fleet: Child | None = None
        self.namespace = f"bench-{secrets.token_hex(4)}"
        self.keyspace = Keyspace(self.namespace)
        self.environ: dict[str, str] = {}

    def __enter__(self) -> Self:
        with self._stack:
            folder = self._stack.enter_context(
                tempfile.TemporaryDirectory(prefix="largesse-bench-", ignore_cleanup_errors=True)
            )
            self._folder = Path(folder)
            url = self._given_url
            if url is None:
                broker = EmbeddedBroker(self._folder / "broker", append_only=True)
                self._stack.callback(broker.stop)
                url = broker.start().url
            self.client: redis.Redis = connect(url, PRODUCER)
            self._stack.callback(self.client.close)
            with speaking_to_redis():
                self.client.ping()
            if self._given_url is not None:
                self._stack.callback(self._remove_keys)
            base = clean_environ(os.environ)
            api = self._start_api(base)
            self.environ = {
                **base,
                "LARGESSE_REDIS_URL": url,
                "LARGESSE_NAMESPACE": self.namespace,
                "LARGESSE_STREAM_MAX_LEN": str(max(1_000, 2 * self._jobs)),
                "LARGESSE_ENCRYPTION_KEYS": self._keys,
                "LARGESSE_LOG_LEVEL": "info",
                "CHARGEBEE_SITE": SITE,
                "CHARGEBEE_API_KEY": "test_bench_key",
                "CHARGEBEE_API_URL": api,
                "CHARGEBEE_RATE_PER_MINUTE": "0",
                "CHARGEBEE_MAX_IN_FLIGHT": "0",
            }
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def start_workers(self, *, processes: int, concurrency: int) -> list[int]:
        """Start worker processes and wait until all are there.

        Returns:
            Their process ids, the supervisor's first.

        Raises:
            ChildError: they ended, or are not there in time.
        """
        words = ["worker", "-p", str(processes), "-t", str(concurrency), "--grace", f"{GRACE_S:g}"]
        argv = [sys.executable, "-m", "worker.cli", *words]
        fleet = Child("worker fleet", argv, env=self.environ, folder=self._folder)
        self._stack.callback(fleet.stop)
        fleet.start()
        self._fleet = fleet
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            fleet.check()
            there = read_heartbeats(self.client, self.keyspace)
            if len(there) == processes and fleet.pid is not None:
                return [fleet.pid, *(int(one.worker.split(":")[1]) for one in there)]
            time.sleep(_LOOK_S)
        raise ChildError(fleet.name, 0, f"only some came up in {READY_S:g} s")

    def check(self) -> None:
        """Raise ChildError when the workers have ended."""
        if self._fleet is not None:
            self._fleet.check()

    def api_counts(self) -> dict[str, Any]:
        """Ask the stand-in: `calls`, `pages` and `cpu_s` so far."""
        assert self._api.stdin is not None  # noqa: S101 - made with pipes
        self._api.stdin.write("\n")
        self._api.stdin.flush()
        return self._read_api()

    def _start_api(self, environ: dict[str, str]) -> str:
        self._api = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "worker.bench.api", f"{self._latency_ms:g}"],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._stack.callback(self._end_api)
        return str(self._read_api()["url"])

    def _read_api(self) -> dict[str, Any]:
        assert self._api.stdout is not None  # noqa: S101 - made with pipes
        line = self._api.stdout.readline()
        if not line:
            raise ChildError("stand-in for the API", self._api.wait(), "none")
        found: dict[str, Any] = json.loads(line)
        return found

    def _end_api(self) -> None:
        for pipe in (self._api.stdin, self._api.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._api.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._api.kill()
            self._api.wait()

    def _remove_keys(self) -> None:
        """Remove what was written, and nothing else: the namespace is of this run alone."""
        with speaking_to_redis():
            lot: list[bytes] = []
            for key in self.client.scan_iter(f"{self.keyspace.prefix(0)}*", count=STEP):
                lot.append(key)
                if len(lot) >= STEP:
                    self.client.unlink(*lot)
                    lot.clear()
            if lot:
                self.client.unlink(*lot)
