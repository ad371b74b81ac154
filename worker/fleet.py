"""The fleet: worker processes under one supervisor that brings the dead back.

Each process is a Python of its own, not a fork, so nothing is shared but the settings. A process
ends by itself when its supervisor is gone: it notices that the pipe between them is closed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, NoReturn

from worker import supervisor
from worker.errors import SettingsError
from worker.settings import Settings
from worker.supervisor import EXIT_SETTINGS

__all__ = ["become"]

#: What httpx and structlog import for people at a terminal if it is there: 5 MiB of each worker.
FOR_TERMINALS: Final = ("click", "pygments", "rich")


def become(*, processes: int, concurrency: int, grace_s: float) -> NoReturn:
    """Turn this process into the supervisor of a fleet, which runs until SIGTERM or SIGINT.

    Its exit code is 0 when every process ended in order, 1 when one did not, 3 when the settings
    do not let one start.

    Args:
        processes: how many.
        concurrency: most jobs of one process at the same time.
        grace_s: seconds that running jobs get at shutdown.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    Settings.from_env()
    member = [
        sys.executable, "-m", "worker.fleet",
        "--concurrency", str(concurrency), "--grace", str(grace_s),
        "--processes", str(processes),
    ]  # fmt: skip
    # -P: modules are looked for where they always are, not beside the file.
    command = [sys.executable, "-P", supervisor.__file__, str(processes), str(grace_s), *member]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)  # noqa: S606 - our own


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Let libraries find that packages are not installed, as they may well be."""
    left_out = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]  # None: not to be had
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]


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
    parser.add_argument("--after", type=int, help="exit code of the process that was here before")
    given = parser.parse_args()
    with _without(*FOR_TERMINALS):
        from worker.main import serve  # noqa: PLC0415 - see above

    try:
        settings = _of_place(Settings.from_env(), given.place)
        _leave_with_parent()
        serve(
            settings, concurrency=given.concurrency, grace_s=given.grace,
            processes=given.processes, place=given.place, after=given.after,
        )  # fmt: skip
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging is not set up without settings
        return EXIT_SETTINGS
    return 0


if __name__ == "__main__":
    sys.exit(_main())
