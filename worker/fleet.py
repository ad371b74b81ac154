"""The fleet: worker processes under one supervisor that brings the dead back.

Each process is a Python of its own, not a fork, so nothing is shared but the settings. A process
ends by itself when its supervisor is gone: it notices that the pipe between them is closed.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import FrameType
from typing import Final

from worker.errors import SettingsError
from worker.observe import logs
from worker.observe.events import WORKER_RESTARTED, emit
from worker.observe.reports import open_reports
from worker.settings import Settings

__all__ = ["EXIT_SETTINGS", "run"]

_log = logging.getLogger("worker.fleet")

#: Exit code of a process that cannot start because of its settings; it is not started again.
EXIT_SETTINGS: Final = 3
#: Seconds between two looks at the processes.
LOOK_S: Final = 0.1
#: Seconds until a dead process is started again: at once at first, slower when it dies at once.
RESTART_FIRST_S: Final = 0.2
RESTART_MAX_S: Final = 5.0
#: Seconds of life after which a process counts as well: one that dies sooner dies of its start.
WELL_S: Final = 3.0
#: Seconds beyond the grace after which a process is killed.
OVERTIME_S: Final = 3.0


class _Member:
    """One place in the fleet, and the process that fills it."""

    def __init__(self, place: int, command: list[str]) -> None:
        self.place = place
        self._command = command
        self.process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait_s = RESTART_FIRST_S
        self._due = 0.0

    def look(self) -> int | None:
        """Start the process when it is time; give the exit code of one that just died."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return None
            lived_s = now - self._started
            self._wait_s = (
                RESTART_FIRST_S if lived_s > WELL_S else min(RESTART_MAX_S, self._wait_s * 2)
            )
            self._due = now + self._wait_s
            self._close()
            return code
        if now >= self._due:
            # The pipe stays open as long as we live; its end tells the process that we are gone.
            # In a group of its own a terminal's Ctrl-C does not reach it: we pass on one signal,
            # as a second one would cut its grace short.
            self.process = subprocess.Popen(  # noqa: S603 - our own
                self._command, stdin=subprocess.PIPE, process_group=0
            )
            self._started = now
        return None

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def is_gone(self) -> bool:
        """Say whether no process is left here."""
        return self.process is None or self.process.poll() is not None

    def end(self) -> int:
        """Reap the process; give its exit code."""
        code = 0 if self.process is None else self.process.wait()
        self._close()
        return code

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None


class _Fleet:
    def __init__(self, members: list[_Member], grace_s: float) -> None:
        self._members = members
        self._grace_s = grace_s
        self._stops = 0
        self._stirred = threading.Event()

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        self._stops += 1
        for member in self._members:
            member.signal(signal.SIGTERM)
        self._stirred.set()

    def run(self) -> int:
        while not self._stops:
            for member in self._members:
                code = member.look()
                if code == EXIT_SETTINGS:
                    self.stop()
                    self._wind_up()
                    return EXIT_SETTINGS
                if code is not None and not self._stops:
                    emit(
                        _log, WORKER_RESTARTED, level=logging.ERROR,
                        worker=f"place {member.place}", exit_code=code,
                    )  # fmt: skip
            self._stirred.wait(LOOK_S)
        return self._wind_up()

    def _wind_up(self) -> int:
        deadline = time.monotonic() + self._grace_s + OVERTIME_S
        while not all(member.is_gone() for member in self._members):
            if time.monotonic() > deadline:
                for member in self._members:
                    member.signal(signal.SIGKILL)
                deadline = float("inf")
            time.sleep(LOOK_S / 2)
        codes = [member.end() for member in self._members]
        # One that was still starting has not learned to end with 0.
        return 0 if all(code in {0, -signal.SIGTERM} for code in codes) else 1


def run(*, processes: int, concurrency: int, grace_s: float) -> int:
    """Run worker processes until SIGTERM or SIGINT.

    Args:
        processes: how many.
        concurrency: most jobs of one process at the same time.
        grace_s: seconds that running jobs get at shutdown.

    Returns:
        Exit code: 0 when every process ended in order, 1 when one did not, 3 when the settings do
        not let one start.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    settings = Settings.from_env()
    logs.configure(settings)
    open_reports(settings)
    command = [
        sys.executable, "-m", "worker.fleet",
        "--concurrency", str(concurrency), "--grace", str(grace_s),
        "--processes", str(processes),
    ]  # fmt: skip
    members = [_Member(place, [*command, "--place", str(place)]) for place in range(processes)]
    fleet = _Fleet(members, grace_s)
    before = {
        number: signal.signal(number, fleet.stop) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        return fleet.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _of_place(settings: Settings, place: int) -> Settings:
    """Give each process a port of its own: the first place has the one of the settings."""
    if not settings.metrics_port:
        return settings
    return replace(settings, metrics_port=settings.metrics_port + place)


def _leave_with_parent() -> None:
    """End in order once the supervisor is gone."""

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written: this returns at the end of the pipe
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="largesse-parent", daemon=True).start()


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.fleet")
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--place", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    from worker.main import serve  # noqa: PLC0415 - the supervisor itself needs no HTTP client

    try:
        settings = _of_place(Settings.from_env(), given.place)
        _leave_with_parent()
        serve(
            settings, concurrency=given.concurrency, grace_s=given.grace,
            processes=given.processes,
        )  # fmt: skip
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging is not set up without settings
        return EXIT_SETTINGS
    return 0


if __name__ == "__main__":
    sys.exit(_main())
