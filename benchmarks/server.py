"""The server under a benchmark: an embedded Valkey in a process of its own, and its counters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from worker.demo.embedded import EmbeddedBroker

__all__ = ["Server", "serving"]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        host, port: where it listens.
        client: for looking at it; on database 0.
    """

    host: str
    port: int
    client: redis.Redis

    def url(self, database: int) -> str:
        """Give the address of one logical database."""
        return f"redis://{self.host}:{self.port}/{database}"

    def on(self, database: int, **options: Any) -> redis.Redis:
        """Make a client of one logical database."""
        return redis.Redis(host=self.host, port=self.port, db=database, **options)

    def name(self) -> str:
        """Give the kind and the version of the server."""
        info: dict[str, Any] = self.client.info("server")
        kind = info.get("server_name", "redis")
        return f"{kind} {info.get('valkey_version', info['redis_version'])}"

    def cpu_s(self) -> float:
        """Give the CPU seconds it has used."""
        info: dict[str, Any] = self.client.info("cpu")
        return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])

    def memory(self) -> int:
        """Give the bytes its data take."""
        return int(self.client.info("memory")["used_memory"])

    def commands(self, seconds: float) -> Counter[int]:
        """Count the commands that clients send, those inside scripts not counted.

        Args:
            seconds: how long to watch.

        Returns:
            Commands by database.
        """
        found: Counter[int] = Counter()
        ends_at = time.monotonic() + seconds
        with self.client.monitor() as monitor:
            while time.monotonic() < ends_at:
                if monitor.connection.can_read(timeout=max(0.0, ends_at - time.monotonic())):
                    command = monitor.next_command()
                    found[command["db"]] += command["client_type"] != "lua"
        return found

    def clear(self, database: int) -> None:
        """Empty one database."""
        with self.on(database) as client:
            client.flushdb()

    def bytes_of_keys(self, database: int) -> int:
        """Add up MEMORY USAGE of all keys of one database."""
        total = 0
        with self.on(database) as client:
            keys: list[bytes] = []
            for key in client.scan_iter(count=5000):
                keys.append(key)
                if len(keys) == 1000:
                    total += _bytes_of(client, keys)
                    keys.clear()
            return total + _bytes_of(client, keys)


def _bytes_of(client: redis.Redis, keys: list[bytes]) -> int:
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key, samples=0)
    return sum(size or 0 for size in pipe.execute())


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server as long as the block."""
    with EmbeddedBroker() as broker:
        client = redis.Redis(port=broker.port)
        try:
            yield Server("127.0.0.1", broker.port, client)
        finally:
            client.close()
