"""The worker processes of a run: started together, watched through /proc, ended by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = ["Fleet"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Seconds between two looks at its memory: a look costs about a millisecond a process.
LOOK_S: Final = 0.25


class Fleet:
    """Processes with all they have started; a context manager.

    Args:
        commands: command lines.
        env: their environment.
        log: file that takes what they write.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], *, env: Mapping[str, str], log: Path
    ) -> None:
        self._commands = commands
        self._env = dict(env)
        self.log = log
        #: Most memory seen, MiB: the sum of the processes' proportional set sizes (PSS).
        self.peak_mib = 0.0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as sink:
            self._tops = [
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=sink,
                    stderr=sink,
                    env=self._env,
                    start_new_session=True,
                )
                for command in self._commands
            ]
        self._watch = threading.Thread(target=self._watching, name="memory", daemon=True)
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._watch.join()
        # What they did is proven by now: nobody has to wait for an end in order.
        while found := self.pids():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for top in self._tops:
                top.wait()
            time.sleep(0.01)
        for top in self._tops:
            top.wait()
            assert top.stdin is not None
            top.stdin.close()

    def pids(self) -> list[int]:
        """List all processes of the fleet, supervisors too: a session of the system for each."""
        sessions = {top.pid for top in self._tops}
        numbers = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]
        found = [(pid, _stat(pid)) for pid in numbers]
        return [pid for pid, at in found if at and at[0] != "Z" and int(at[3]) in sessions]

    def cpu_s(self) -> float:
        """Give the CPU seconds that the processes have used."""
        total = 0.0
        for pid in self.pids():
            fields = _stat(pid)
            if fields:
                # Their own, and that of children who have ended.
                total += sum(int(field) for field in fields[11:15]) / _TICKS
        return total

    def check(self) -> None:
        """Notice a process that has ended.

        Raises:
            RuntimeError: one has; its last words are in the message.
        """
        for top in self._tops:
            if top.poll() is not None:
                words = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"a worker ended with {top.returncode}:\n{words}")

    def look(self) -> None:
        """Look at the memory once."""
        self.peak_mib = max(self.peak_mib, sum(_pss_kib(pid) for pid in self.pids()) / 1024)

    def _watching(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.look()


def _stat(pid: int) -> list[str]:
    """Give the fields of /proc/<pid>/stat from the state on; none for a process that has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
