"""The supervisor: starts worker processes, brings the dead back, ends all of them in order.

It lives beside the workers for as long as they do, so it is a small program of its own, run by its
file: the standard library is all that it imports, and a quarter of a worker's memory all it takes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import Final

__all__ = ["EXIT_SETTINGS", "OVERTIME_S", "Supervisor"]

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
        self._after: list[str] = []

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
            # The one that takes its place says in the log what became of it.
            self._after = ["--after", str(code)]
            return code
        if now >= self._due:
            # The pipe stays open as long as we live; its end tells the process that we are gone.
            # In a group of its own a terminal's Ctrl-C does not reach it: we pass on one signal,
            # as a second one would cut its grace short.
            self.process = subprocess.Popen(  # noqa: S603 - our own
                [*self._command, *self._after], stdin=subprocess.PIPE, process_group=0
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


class Supervisor:
    """Runs one command in so many places.

    Args:
        command: words of the command; each place adds `--place` and its number.
        processes: how many places.
        grace_s: seconds that a process gets to end once it was asked to.
    """

    def __init__(self, command: list[str], *, processes: int, grace_s: float) -> None:
        self._members = [
            _Member(place, [*command, "--place", str(place)]) for place in range(processes)
        ]
        self._grace_s = grace_s
        self._stops = 0
        self._stirred = threading.Event()

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask all processes to end; a signal handler."""
        self._stops += 1
        for member in self._members:
            member.signal(signal.SIGTERM)
        self._stirred.set()

    def run(self) -> int:
        """Keep the places filled until told to stop.

        Returns:
            0 when every process ended in order, 1 when one did not, 3 when the settings do not let
            one start.
        """
        while not self._stops:
            for member in self._members:
                if member.look() == EXIT_SETTINGS:
                    self.stop()
                    self._wind_up()
                    return EXIT_SETTINGS
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


def _main(processes: str, grace_s: str, *command: str) -> int:
    supervisor = Supervisor(list(command), processes=int(processes), grace_s=float(grace_s))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
