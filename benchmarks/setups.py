"""All setups that are measured side by side: how each is started, and in which environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from benchmarks.work import KEY, PAGES, SITE
from worker.demo.embedded import free_port
from worker.engine.keys import Keyspace

__all__ = ["BUILD", "OURS", "ROOT", "SETUPS", "STOCK", "Setup"]

ROOT: Final = Path(__file__).parent.parent
BUILD: Final = ROOT / "build"

Commands = list[list[str]]


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to get the work done.

    Attributes:
        name: what it is called in the tables.
        module: its module in `benchmarks.peers`.
        commands: command lines of `processes` worker processes with so many calls in flight each.
        rates: jobs/s of two processes to expect at 0 and at 100 ms of latency; they size a run.
        venv: folder of its environment in `build`; None for the one that this process runs in.
        in_flight: calls in flight of a process in the main table; 256 where it can.
        processes: worker processes in the main table.
        is_peer: whether it is something that a user would pick.
        about: what it is, for the page.
    """

    name: str
    module: str
    commands: Callable[[str, int, int], Commands]
    rates: tuple[int, int]
    about: str
    venv: str | None = "bench-venv"
    in_flight: int = 256
    processes: int = 2
    is_peer: bool = True

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return Path(sys.executable) if self.venv is None else BUILD / self.venv / "bin/python"

    @property
    def is_installed(self) -> bool:
        """Whether its environment is there."""
        return self.python.exists()

    def command_lines(self, processes: int, in_flight: int) -> Commands:
        """Give the command lines of its workers.

        Args:
            processes: how many worker processes.
            in_flight: calls in flight of each.
        """
        return self.commands(str(self.python.parent), processes, in_flight)

    def env(self, server: str, api: str, in_flight: int) -> dict[str, str]:
        """Give the environment of its processes.

        Args:
            server: URL of Redis.
            api: origin of the stand-in.
            in_flight: calls in flight of each process.
        """
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        env = kept | {
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "BENCH_REDIS_URL": server,
            "BENCH_API_URL": api,
            "BENCH_IN_FLIGHT": str(in_flight),
        }
        return env | (_our_settings(server, api) if self is OURS else {})

    def published(self, client: redis.Redis) -> int:
        """Count what is published so far."""
        if self is OURS:
            return int(client.xlen(Keyspace().stream(0)))
        return int(client.llen(PAGES))


def _our_settings(server: str, api: str) -> Mapping[str, str]:
    return {
        "LARGESSE_REDIS_URL": server,
        "LARGESSE_METRICS_PORT": str(free_port()),
        "CHARGEBEE_SITE": SITE,
        "CHARGEBEE_API_KEY": KEY,
        "CHARGEBEE_API_URL": api,
        # A site of such a size is paced like any other; the limit is just never met.
        "CHARGEBEE_RATE_PER_MINUTE": "6000000",
        "CHARGEBEE_MAX_IN_FLIGHT": "100000",
    }


def _module(name: str) -> Callable[[str, int, int], Commands]:
    """Start one process a command, `python -m benchmarks.peers.<name>`."""
    return lambda bin_, processes, _: [
        [f"{bin_}/python", "-m", f"benchmarks.peers.{name}"] for _ in range(processes)
    ]


OURS: Final = Setup(
    name="largesse",
    module="largesse",
    commands=lambda bin_, processes, in_flight: [
        [f"{bin_}/largesse", "worker", f"--processes={processes}", f"--concurrency={in_flight}"]
    ],
    rates=(6_000, 4_500),
    about="`largesse worker`, every feature on",
    venv=None,
    is_peer=False,
)
STOCK: Final = Setup(
    name="dramatiq threads, httpx",
    module="dramatiq_threads",
    commands=lambda bin_, processes, in_flight: [
        [
            f"{bin_}/python",
            "-m",
            "dramatiq",
            "benchmarks.peers.dramatiq_threads",
            f"--processes={processes}",
            f"--threads={in_flight}",
        ]
    ],
    rates=(1_000, 900),
    about="stock broker, sync actors on threads, a pooled client of one connection a thread",
)


def _celery(name: str, *options: str) -> Callable[[str, int, int], Commands]:
    def commands(bin_: str, processes: int, in_flight: int) -> Commands:
        return [
            [
                f"{bin_}/celery", f"--app=benchmarks.peers.{name}", "worker", "--loglevel=WARNING",
                "--without-gossip", "--without-mingle", "--without-heartbeat",
                f"--hostname=worker{place}@%h", f"--concurrency={in_flight}", *options,
            ]
            for place in range(processes)
        ]  # fmt: skip

    return commands


def _taskiq(name: str) -> Callable[[str, int, int], Commands]:
    return lambda bin_, processes, in_flight: [
        [
            f"{bin_}/taskiq", "worker", f"benchmarks.peers.{name}:broker", "--log-level=WARNING",
            f"--workers={processes}", f"--max-async-tasks={in_flight}",
        ]
    ]  # fmt: skip


SETUPS: Final = (
    Setup(
        name="floor",
        module="floor",
        commands=_module("floor"),
        rates=(20_000, 5_000),
        about="a bare asyncio script with its own client on uvloop; it promises nothing",
        is_peer=False,
    ),
    OURS,
    STOCK,
    Setup(
        name="dramatiq greenlets, httpx",
        module="dramatiq_threads",
        commands=lambda bin_, processes, in_flight: [
            [
                f"{bin_}/dramatiq-gevent",
                "benchmarks.peers.dramatiq_threads",
                f"--processes={processes}",
                f"--threads={in_flight}",
            ]
        ],
        rates=(1_000, 900),
        about="the stock broker on gevent, otherwise as on threads",
    ),
    Setup(
        name="taskiq, aiohttp",
        module="taskiq_aiohttp",
        commands=_taskiq("taskiq_aiohttp"),
        rates=(1_600, 1_400),
        about="list broker, uvloop, orjson",
    ),
    Setup(
        name="taskiq, httpx",
        module="taskiq_httpx",
        commands=_taskiq("taskiq_httpx"),
        rates=(800, 700),
        about="list broker, uvloop, orjson, a client of one connection for each call in flight",
    ),
    Setup(
        name="arq, aiohttp",
        module="arq_aiohttp",
        commands=_module("arq_aiohttp"),
        rates=(1_500, 1_300),
        about="uvloop, results off, polls every 20 ms",
        venv="bench-venv-arq",
    ),
    Setup(
        name="huey greenlets, httpx",
        module="huey_greenlets",
        commands=_module("huey_greenlets"),
        rates=(1_200, 1_000),
        about="results off, blocking reads, a client of one connection for each greenlet",
    ),
    Setup(
        name="Celery threads, httpx",
        module="celery_threads",
        commands=_celery("celery_threads", "--pool=threads"),
        rates=(650, 650),
        about="results off, prefetch of 1, a client of one connection for each thread",
    ),
    Setup(
        name="Celery prefork, official SDK",
        module="celery_prefork",
        commands=_celery("celery_prefork", "--pool=prefork"),
        rates=(60, 60),
        about="results off, 8 processes for each of the two",
        in_flight=8,
    ),
    Setup(
        name="RQ, httpx",
        module="rq_simple",
        commands=_module("rq_simple"),
        rates=(300, 250),
        about="SimpleWorker, 16 forks of each of two processes that had loaded everything",
        in_flight=16,
    ),
)
