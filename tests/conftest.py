"""Fixtures of every area: a server, the sandbox, processes that cannot be left behind.

`LARGESSE_TEST_REDIS_SERVER=/path/to/redis-server` runs the same tests on another server.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from rig.command import FOREIGN, Command, Ran
from rig.processes import Processes, end_leftovers
from rig.sandbox import SandboxServer
from rig.server import RedisServer
from rig.shelf import Shelf
from rig.system import System

from worker.demo.embedded import free_port as find_free_port

#: Fixtures that start a process for a test, and folders whose tests start some by themselves.
PROCESS_FIXTURES = frozenset({
    "browser", "largesse", "redis_server", "redis_server_factory", "sandbox_server", "spawn",
    "stack", "system", "world",
})  # fmt: skip
PROCESS_ROOMS = frozenset({"benchmarks", "browser", "demo", "deploy", "faults"})

Typed = Callable[..., Ran]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--faults=full` (or `LARGESSE_FAULTS=full`) runs the fault matrix in its full size."""
    parser.addoption(
        "--faults", choices=["quick", "full"], default=os.environ.get("LARGESSE_FAULTS", "quick")
    )


def pytest_xdist_auto_num_workers() -> int:
    """Two workers a core, as most tests wait for processes; one for each 1.5 GiB of memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(2 * (os.cpu_count() or 1), memory // (3 << 29)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes: `-m "not process"` is the inner loop."""
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0]
        fixtures = set(getattr(item, "fixturenames", ()))
        starts = hasattr(getattr(item, "module", None), "subprocess")
        if room in PROCESS_ROOMS or starts or fixtures & PROCESS_FIXTURES:
            item.add_marker("process")


def pytest_configure() -> None:
    """Let SIGINT reach what tests start: for a run in the background it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail the run when a process that a test started has outlived it."""
    yield
    found = end_leftovers()
    assert not found, f"processes left running by tests: {found}"


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The one server of the session that well-behaved tests share; use `redis_url`."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """URL of an empty logical database on the session's server."""
    shared_redis.start()
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture
def redis_server_factory(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Make servers of the test's own: `make(config={...}, port=...)`, started."""
    servers: list[RedisServer] = []

    def make(
        *, config: Mapping[str, str | int] | None = None, port: int | None = None
    ) -> RedisServer:
        folder = tmp_path / f"redis-{len(servers)}"
        server = RedisServer(folder, config=config, port=port)
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def redis_server(redis_server_factory: Callable[..., RedisServer]) -> RedisServer:
    """A server of the test's own that keeps all it accepted (AOF always): stop, kill, restart."""
    return redis_server_factory(config={"appendonly": "yes", "appendfsync": "always"})


@pytest.fixture
def free_port() -> int:
    """A loopback port that nothing listens on."""
    return find_free_port()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Processes]:
    """Start a process, `spawn([...], env={...}, name=...)`; ended by its pid after the test."""
    folder = tmp_path / "processes"
    folder.mkdir()
    processes = Processes(folder)
    yield processes
    processes.end()


@pytest.fixture(scope="session")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """The one sandbox of the session; use `sandbox_server`."""
    server = SandboxServer(tmp_path_factory.mktemp("sandbox"))
    yield server
    server.stop()


@pytest.fixture
def sandbox_server(shared_sandbox: SandboxServer) -> SandboxServer:
    """The sandbox as a process of its own, over TCP, without a past: `.url`, `.admin`."""
    return shared_sandbox.fresh()


@pytest.fixture
def largesse(tmp_path: Path) -> Command:
    """Run `largesse WORDS` to its end, without any setting but those given: `env={...}`."""
    folder = tmp_path / "command"
    folder.mkdir()
    return Command(folder)


@pytest.fixture
def system(
    redis_url: str, sandbox_server: SandboxServer, spawn: Processes, tmp_path: Path
) -> Iterator[System]:
    """A server, the sandbox and a producer; start workers with `system.worker()`."""
    folder = tmp_path / "system"
    folder.mkdir()
    running = System(redis_url, sandbox_server, spawn, folder)
    yield running
    running.close()


@pytest.fixture
def shelf(redis_url: str) -> Iterator[Shelf]:
    """Jobs in any state, on an empty database."""
    made = Shelf(redis_url)
    yield made
    made.close()


@pytest.fixture
def typed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Typed:
    """Run `largesse WORDS` in this process, on the shelf's database."""
    from worker.cli import main

    for name in os.environ:
        if name.startswith(FOREIGN) and not name.startswith("LARGESSE_TEST_"):
            monkeypatch.delenv(name)
    for name, value in shelf.environ.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["largesse", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capfd.readouterr()
        return Ran(int(ended.value.code or 0), shown.out, shown.err)

    return run
