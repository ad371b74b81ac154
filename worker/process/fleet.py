"""The fleet: worker processes under one supervisor that brings the dead back.

Each process is a Python of its own, not a fork, so nothing is shared but the settings. A process
ends by itself when its supervisor is gone: it notices that the pipe between them is closed.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from worker.process import member, supervisor
from worker.process.site_keys import require_key
from worker.settings import Settings

__all__ = ["become"]


def become(serve: str, *, processes: int, concurrency: int, grace_s: float) -> NoReturn:
    """Turn this process into the supervisor of a fleet, which runs until SIGTERM or SIGINT.

    Its exit code is 0 when every process ended in order, 1 when one did not, 3 when the settings
    do not let one start.

    Args:
        serve: what each process runs, such as "worker.main:serve".
        processes: how many.
        concurrency: most jobs of one process at the same time.
        grace_s: seconds that running jobs get at shutdown.

    Raises:
        SettingsError: a setting is missing or wrong, or no key of any site can be read.
    """
    require_key(Settings.from_env())
    # -P: modules are looked for where they always are, not beside the file.
    python = [sys.executable, "-P"]
    one = [
        *python, member.__file__, serve,
        "--concurrency", str(concurrency), "--grace", str(grace_s),
        "--processes", str(processes),
    ]  # fmt: skip
    command = [*python, supervisor.__file__, str(processes), str(grace_s), *one]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)  # noqa: S606 - our own
