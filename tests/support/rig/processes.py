"""Processes that tests start: each is ended by its pid, and none outlives the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

#: Environment variable that marks every process of this run, children of children too.
MARK = "LARGESSE_TEST_RUN"
RUN_ID = uuid.uuid4().hex


class Process:
    """One started process, its output in a file.

    Args:
        argv: program and arguments; `python` as first word is this interpreter.
        output: file that takes stdout and stderr, appended.
        env: variables added to this process's own environment; None removes one.
        cwd: working directory; the repository's root when not given.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        output: Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = [str(part) for part in argv]
        if self.argv[0] == "python":
            self.argv[0] = sys.executable
        self.output_path = output
        with output.open("ab") as sink:
            self._popen = subprocess.Popen(
                self.argv,
                # It stays open as long as we live: a worker ends when its supervisor is gone.
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment(env),
                cwd=cwd or ROOT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        code = self._popen.poll()
        if code is not None and self._popen.stdin is not None:
            self._popen.stdin.close()
        return code

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return self.returncode is None

    def output(self) -> str:
        """Everything the process and its children wrote so far."""
        return self.output_path.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the end; returns the exit code, raises subprocess.TimeoutExpired."""
        self._popen.wait(timeout_s)
        return self.returncode or 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone; nothing happens when it has ended."""
        if self.running:
            self._popen.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL this process alone and reap it; its children go on."""
        self.send(signal.SIGKILL)
        self.wait(10)

    def pause(self) -> None:
        """SIGSTOP it: alive, silent, its connections open."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT it."""
        self.send(signal.SIGCONT)

    def end(self, *, grace_s: float = 3.0) -> None:
        """End it and all its children: SIGTERM, then SIGKILL after the grace, each by its pid."""
        family = [*descendants(self.pid), self.pid] if self.running else []
        if self.running:
            self.resume()
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace_s)
        for pid in family:
            if pid != self.pid and is_marked(pid):
                kill_pid(pid)
        if self.running:
            self.kill()


class Processes:
    """Starts processes and ends them all.

    Args:
        folder: where output files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def __call__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        name: str | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Start a program.

        Args:
            argv: program and arguments.
            env: variables added to the environment; None removes one.
            name: names its output file.
            cwd: working directory.

        Returns:
            The running process.
        """
        output = self._folder / f"{len(self._started):03d}-{name or Path(argv[0]).name}.log"
        process = Process(argv, output=output, env=env, cwd=cwd)
        self._started.append(process)
        return process

    def end(self, *, grace_s: float = 3.0) -> None:
        """End every process that still runs, the last one first; SIGKILL after the grace."""
        for process in reversed(self._started):
            process.end(grace_s=grace_s)


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Environment of a started process: this one's, marked, importing from this repository."""
    merged = dict(os.environ)
    paths = [str(ROOT), str(ROOT / "tests" / "support"), merged.get("PYTHONPATH", "")]
    merged["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    merged["PYTHONUNBUFFERED"] = "1"
    merged[MARK] = RUN_ID
    for name, value in (changes or {}).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged


def is_marked(pid: int) -> bool:
    """True when the process was started by this run (Linux; elsewhere always False)."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={RUN_ID}".encode() in raw.split(b"\0")


def descendants(pid: int) -> list[int]:
    """Pids of all children and children's children that run now, parents first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        except OSError:
            continue
        parents.setdefault(int(after_name.split()[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        children = parents.get(queue.pop(0), [])
        found += children
        queue += children
    return found


def leftovers() -> dict[int, str]:
    """Processes of this run that still exist: pid to command line; zombies do not count."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid != os.getpid() and is_marked(pid):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(words):
                found[pid] = b" ".join(words).decode(errors="replace").strip()
    return found


def kill_pid(pid: int) -> None:
    """SIGKILL one process; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def end_leftovers(*, patience_s: float = 2.0) -> dict[int, str]:
    """End what outlived its test, by pid, after a short patience; returns what it had to end."""
    deadline = time.monotonic() + patience_s
    while (found := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in found:
        kill_pid(pid)
    return found
