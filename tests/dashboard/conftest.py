"""Dashboards to visit: in this process for a client, with a fleet below them for a browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page
from rig.chromium import chromium
from rig.command import clean
from rig.processes import Process, Processes
from rig.sandbox import API_KEY, SITE, SandboxServer
from rig.server import RedisServer
from rig.shelf import Shelf
from rig.visitor import Visitor
from rig.waiting import until

from worker import JobHandle, Producer, Settings
from worker.dashboard.app import create_app
from worker.dashboard.dashboard import Dashboard
from worker.dashboard.options import Options
from worker.operator import OperatorClient

Visit = Callable[..., Visitor]


@pytest.fixture
def shelf(redis_url: str) -> Iterator[Shelf]:
    """Jobs in any state, on an empty database."""
    made = Shelf(redis_url)
    yield made
    made.close()


@pytest.fixture
def visit(shelf: Shelf) -> Iterator[Visit]:
    """Open a dashboard on the shelf's database, `visit(read_only=True)`, and give its visitor."""
    opened: list[OperatorClient | Visitor] = []

    def come(*, base_url: str = "http://127.0.0.1:8500", **options: Any) -> Visitor:
        operator = OperatorClient(shelf.settings)
        dashboard = Dashboard(
            options=Options(**options), settings=shelf.settings, operator=operator
        )
        visitor = Visitor(create_app(dashboard), base_url=base_url)
        opened.extend((visitor, operator))
        return visitor

    yield come
    for one in opened:
        one.close()


class Stack:
    """A server, the sandbox, a worker and a dashboard, each a process.

    Attributes:
        url: origin of the dashboard.
    """

    def __init__(self, folder: Path) -> None:
        self.server = RedisServer(folder / "redis").start()
        self.sandbox = SandboxServer(folder / "sandbox").start()
        (folder / "processes").mkdir()
        self._spawn = Processes(folder / "processes")
        self.environ = {
            "LARGESSE_REDIS_URL": self.server.url,
            "CHARGEBEE_SITE": SITE,
            "CHARGEBEE_API_KEY": API_KEY,
            "CHARGEBEE_API_URL": self.sandbox.url,
            "CHARGEBEE_RATE_PER_MINUTE": "600",
            "LARGESSE_WINDOW_MINUTES": "0.01",
            "LARGESSE_GIFT_CHECKOUT_BASE_MS": "1500",
        }
        self.producer = Producer(Settings.from_env(self.environ))
        self.operator = OperatorClient(Settings.from_env(self.environ))
        worker = self._spawn(
            ["python", "-m", "worker.cli", "worker", "-p", "1", "-t", "8", "--grace", "2"],
            env=clean(self.environ), name="worker",
        )  # fmt: skip
        try:
            until(lambda: self._knows_sites(worker), timeout_s=30, what="the worker")
            self.url = self.open("--reveal")
        except BaseException:
            self.close()
            raise

    def _knows_sites(self, worker: Process) -> bool:
        if "Traceback" in worker.output():
            raise RuntimeError(f"the worker broke at start:\n{worker.output()[-2000:]}")
        return bool(self.operator.sites())

    def open(self, *words: str, env: dict[str, str] | None = None) -> str:
        """Start a dashboard and give its origin."""
        process = self._spawn(
            ["python", "-m", "worker.cli", "dashboard", "--port", "0", *words],
            env=clean({**self.environ, **(env or {})}), name="dashboard",
        )  # fmt: skip
        return str(until(lambda: _ready(process), timeout_s=30, what="the dashboard"))

    def ended(self, job: JobHandle, state: str) -> JobHandle:
        """Wait until a job is in a state."""
        until(lambda: job.state() == state, timeout_s=20, what=f"{state} of a job")
        return job

    def held(self) -> JobHandle:
        """Let the outcome of a gift be unknown until its window is over."""
        rule = self.sandbox.admin.add_fault("reset", execute=True, kind="gift_checkout")
        job = self.ended(self.producer.gift_checkout({}), "held")
        self.sandbox.admin.delete(f"faults/{rule}")
        until(
            lambda: not self.operator.plan([job.id])[job.id].is_accepted, what="the window's end"
        )
        return job

    def close(self) -> None:
        """End everything."""
        self._spawn.end()
        self.producer.close()
        self.operator.close()
        self.sandbox.stop()
        self.server.stop()


def _ready(process: Process) -> str | None:
    if not process.running:
        raise RuntimeError(f"the dashboard ended at start:\n{process.output()[-2000:]}")
    lines = [line for line in process.output().splitlines() if line.startswith("{")]
    return str(json.loads(lines[0])["url"]) if lines else None


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One running system for all tests of a module; each looks after its own jobs."""
    made = Stack(tmp_path_factory.mktemp("stack"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One Chromium for all of them; while it is open no other loop can run in this thread."""
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as context:
        yield context


@pytest.fixture
def page(browser: BrowserContext, stack: Stack) -> Iterator[Page]:
    """A page whose console must stay empty; faults and brakes of the test are taken away."""
    opened = browser.new_page()
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    opened.close()
    stack.sandbox.admin.set(latency_ms=0)
    stack.sandbox.admin.clear_faults()
    stack.operator.resume(SITE)
    stack.operator.set_rate(SITE, None)
    assert problems == []
