"""One process of a fleet: a program that is run by its file and told what to serve.

    python -P member.py worker.main:serve --concurrency 128 --grace 25

So it decides what libraries find before any of them is imported, this package's own first.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from worker.settings import Settings

__all__ = ["NOT_NEEDED", "without"]

#: What libraries import if it is there, and no worker needs of them: for people at a terminal, for
#: other kinds of threads, and for redis-py's own figures. 7 MiB of each process in all.
NOT_NEEDED: Final = ("click", "greenlet", "opentelemetry", "pygments", "rich")


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let libraries find that packages are not installed, as they may well be.

    They can be imported again after the block.
    """
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
    parser = argparse.ArgumentParser(prog="member.py")
    parser.add_argument("serve", help="what to run, such as worker.main:serve")
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--place", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--after", type=int, help="exit code of the process that was here before")
    given = parser.parse_args()
    with without(*NOT_NEEDED):
        from worker.errors import SettingsError, WorkerError  # noqa: PLC0415 - see above
        from worker.process.supervisor import EXIT_SETTINGS  # noqa: PLC0415
        from worker.settings import Settings  # noqa: PLC0415

        serve = pkgutil.resolve_name(given.serve)

    try:
        settings = _of_place(Settings.from_env(), given.place)
        _leave_with_parent()
        serve(
            settings, concurrency=given.concurrency, grace_s=given.grace,
            processes=given.processes, place=given.place, after=given.after,
        )  # fmt: skip
    except WorkerError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging is not set up without settings
        return EXIT_SETTINGS if isinstance(error, SettingsError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
