"""A whole system on one machine for a minute: a broker, the sandbox API and a worker fleet.

Everything listens on free ports of the loopback address, keeps its files in one temporary folder,
and is gone when the `with` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from worker.demo.embedded import EmbeddedBroker
from worker.errors import WorkerError
from worker.logs.events import WORKER_STARTED

__all__ = ["FAULTS", "Child", "ChildError", "Stage", "clean_environ"]

#: The sandbox's own site and key. The key opens nothing but a sandbox.
SITE = "acme-test"
SANDBOX_KEY = "test_sandbox_key"

#: What the sandbox breaks, so that a demo shows retries and an idempotent replay: the second
#: request is refused for a second, and the answer to the fourth is lost after the page was made.
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"fault": "error", "status": 503, "kind": "gift_checkout", "requests": "2", "times": 1},
    {"fault": "reset", "execute": True, "kind": "gift_checkout", "requests": "4", "times": 1},
)

#: Seconds until sandbox and workers must say that they are up.
READY_TIMEOUT_S = 20.0
#: Seconds a child gets to end in order before it is killed.
STOP_TIMEOUT_S = 10.0
#: Seconds for one question to the sandbox.
ASK_TIMEOUT_S = 5.0

_LOOK_S = 0.02
_LAST_LINES = 5
#: Settings of the person who runs a demo must not send it to a real site.
_FOREIGN = ("LARGESSE_", "CHARGEBEE_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class ChildError(WorkerError):
    """A process of the stage ended by itself.

    Args:
        name: which one.
        code: its exit code, negative for a signal.
        last_output: the end of what it wrote.
    """

    def __init__(self, name: str, code: int, last_output: str) -> None:
        super().__init__(name, code, last_output)
        self.name = name
        self.code = code
        self.last_output = last_output

    def __str__(self) -> str:
        return f"the {self.name} ended with {self.code}. Its last output: {self.last_output}"


class Child:
    """A process with its output in files, ended together with all that it started.

    Args:
        name: what it is to a person.
        argv: program and arguments.
        env: its whole environment.
        folder: where its output goes.
    """

    def __init__(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self._argv = list(argv)
        self._env = dict(env)
        self._out = folder / f"{name}.out"
        self._err = folder / f"{name}.err"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in a process group of its own, out of reach of the terminal's Ctrl-C."""
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                self._argv,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it wrote to stdout so far."""
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def log(self) -> str:
        """What it wrote to stderr so far."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int | None:
        """Process id; None before it was started."""
        return self._process.pid if self._process is not None else None

    def check(self) -> None:
        """Raise ChildError when it has ended."""
        if self._process is not None and self._process.poll() is not None:
            lines = (self.log or self.output).split("\n")
            words = " | ".join([line for line in lines if line.strip()][-_LAST_LINES:])
            raise ChildError(self.name, self._process.returncode, words or "none")

    def stop(self) -> None:
        """End it in order (SIGTERM), then whatever is left of its group (SIGKILL)."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Stage:
    """The running system, as a context manager.

    Args:
        processes: worker processes.
        concurrency: jobs that one process runs at the same time.
        faults: what the sandbox breaks, as docs/sandbox.md has it.
    """

    def __init__(
        self,
        *,
        processes: int = 2,
        concurrency: int = 8,
        faults: Sequence[Mapping[str, Any]] = FAULTS,
    ) -> None:
        self._processes = processes
        self._concurrency = concurrency
        self._faults = list(faults)
        self._stack = contextlib.ExitStack()
        self.environ: dict[str, str] = {}
        self.children: list[Child] = []

    def __enter__(self) -> Self:
        # What is started is first put on the stack, so that Ctrl-C at any moment ends it.
        with self._stack:
            folder = Path(self._stack.enter_context(_folder()))
            broker = EmbeddedBroker(folder / "broker", append_only=True)
            self._stack.callback(broker.stop)
            broker.start()
            base = clean_environ(os.environ)
            faults = folder / "faults.json"
            faults.write_text(json.dumps(self._faults), encoding="utf-8")
            words = ["sandbox", "--port", "0", "--faults", str(faults)]
            sandbox = self._start("sandbox", words, base, folder)
            self.environ = {
                **base,
                "LARGESSE_REDIS_URL": broker.url,
                "CHARGEBEE_SITE": SITE,
                "CHARGEBEE_API_KEY": SANDBOX_KEY,
                "CHARGEBEE_API_URL": _ready_url(sandbox),
                "CHARGEBEE_RATE_PER_MINUTE": "0",  # the sandbox sets no limit, so nothing waits
            }
            words = ["worker", "-p", str(self._processes), "-t", str(self._concurrency)]
            fleet = self._start("worker fleet", [*words, "--grace", "5"], self.environ, folder)
            _await_workers(fleet, self._processes)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _undisturbed():
            self._stack.close()

    def check(self) -> None:
        """Raise ChildError when a process of the system has ended."""
        for child in self.children:
            child.check()

    def counts(self) -> dict[str, Any]:
        """Ask the sandbox what it has seen: `requests`, `executed`, `pages`, ..."""
        address = urlsplit(self.environ["CHARGEBEE_API_URL"])
        link = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=ASK_TIMEOUT_S
        )
        with contextlib.closing(link):
            link.request("GET", "/_sandbox/counts")
            counts: dict[str, Any] = json.loads(link.getresponse().read())
        return counts

    def _start(
        self, name: str, words: Sequence[str], env: Mapping[str, str], folder: Path
    ) -> Child:
        argv = [sys.executable, "-m", "worker.cli", *words]
        child = Child(name, argv, env=env, folder=folder)
        self._stack.callback(child.stop)
        self.children.append(child)
        child.start()
        return child


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="largesse-demo-", ignore_cleanup_errors=True)


def clean_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Leave out the settings of the person who runs this, and proxies.

    Args:
        environ: variables.
    """
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(_FOREIGN) and name.lower() not in _PROXIES
    }


def _ready_url(sandbox: Child) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        line, end, _ = sandbox.output.partition("\n")
        if end:
            return str(json.loads(line)["url"])
        sandbox.check()
        time.sleep(_LOOK_S)
    raise ChildError(sandbox.name, 0, f"none in {READY_TIMEOUT_S:g} s")


def _await_workers(fleet: Child, processes: int) -> None:
    """Wait until all workers are up, so that the time of a job is not that of Python's start."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while fleet.log.count(WORKER_STARTED) < processes and time.monotonic() < deadline:
        fleet.check()
        time.sleep(_LOOK_S)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C stop the tidying up half-way."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
