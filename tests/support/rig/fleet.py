"""Worker processes that die on purpose, and a supervisor that brings them back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.processes import Process, descendants
from rig.waiting import until

#: Seconds between two looks of the supervisor.
LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Death:
    """One worker that ended while it should not have."""

    pid: int
    code: int
    at: float


class Fleet:
    """Workers with an event loop each, as `largesse worker` starts them.

    Args:
        folder: for their output.
        env: variables of all workers.
        size: how many.
        concurrency: most jobs of one worker at the same time.
        grace_s: seconds that running jobs get at shutdown.
        threads: run dramatiq's own worker threads in place of the loop.
        moved: let the scripts run on a clock that the test moves; see `rig.moved`.
        launch: turns a command into one that runs it elsewhere, such as `Wire.far`.
    """

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        *,
        size: int = 2,
        concurrency: int = 16,
        grace_s: float = 25.0,
        threads: bool = False,
        moved: bool = False,
        launch: Callable[[Sequence[str]], list[str]] = list,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._env = dict(env)
        self._size = size
        if threads:
            words = ["dramatiq", "worker.main:setup", "-p", "1", "-t", str(concurrency)]
        else:
            program = "rig.moved" if moved else "worker.process.member"
            words = [
                program,
                "worker.main:serve",
                "--concurrency",
                str(concurrency),
                "--grace",
                str(grace_s),
            ]
        self._argv = launch(["python", "-m", *words])
        self.members: list[Process] = []
        self.deaths: list[Death] = []
        self._starts = 0
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def start(self, *, crash_at: str | None = None, supervised: bool = True) -> Fleet:
        """Start all workers.

        Args:
            crash_at: crash point of the first worker, such as `after_fetch:3`; the ones that are
                started in its place have none.
            supervised: bring dead workers back.
        """
        for place in range(self._size):
            extra = {"LARGESSE_CRASH_AT": crash_at} if crash_at and place == 0 else {}
            self.members.append(self._begin(extra))
        if supervised:
            self._supervisor.start()
        return self

    def kill(self, place: int) -> float:
        """SIGKILL one worker; returns when (Unix s)."""
        member = self.members[place]
        at = time.time()
        member.kill()
        return at

    def kill_all(self) -> float:
        """SIGKILL every worker at once and start none again; returns when (Unix s)."""
        self._halt()
        at = time.time()
        for member in self.members:
            member.kill()
        return at

    def wait_death(self, *, timeout_s: float = 30.0) -> Death:
        """Wait until a worker has died; gives the first death."""
        until(lambda: self.deaths, timeout_s=timeout_s, what="the death of a worker")
        return self.deaths[0]

    def stop(self, *, timeout_s: float = 30.0) -> list[int]:
        """SIGTERM every worker and wait; gives their exit codes."""
        self._halt()
        for member in self.members:
            member.terminate()
        return [member.wait(timeout_s) for member in self.members]

    def end(self) -> None:
        """End every worker, by pid."""
        self._halt()
        for member in self.members:
            member.end(grace_s=0)

    def supervise_no_more(self) -> None:
        """Bring no worker back from now on."""
        self._halt()

    def output(self) -> str:
        """What all workers wrote, the dead ones too."""
        paths = sorted(self._folder.glob("*.log"))
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)

    def pids(self) -> set[int]:
        """Process ids of all workers and their children."""
        return {pid for one in self.members for pid in (one.pid, *descendants(one.pid))}

    def resident_kib(self) -> int:
        """Memory of all workers and their children, KiB."""
        total = 0
        for pid in self.pids():
            status = Path(f"/proc/{pid}/status")
            if status.exists():
                line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
                total += int(line.split()[1])
        return total

    def _begin(self, extra: Mapping[str, str]) -> Process:
        output = self._folder / f"worker-{self._starts:03d}.log"
        self._starts += 1
        return Process(self._argv, output=output, env={**self._env, **extra})

    def _supervise(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for place, member in enumerate(self.members):
                code = member.returncode
                if code is not None and not self._stopping.is_set():
                    self.deaths.append(Death(member.pid, code, time.time()))
                    self.members[place] = self._begin({})

    def _halt(self) -> None:
        self._stopping.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
