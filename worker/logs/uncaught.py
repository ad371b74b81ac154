"""Exceptions that nobody caught: logged like all others instead of printed with their texts."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Final

from worker.logs.events import WORKER_CRASHED

__all__ = ["install_hooks"]

_log: Final = logging.getLogger("worker.crash")


def install_hooks() -> None:
    """Log uncaught exceptions of the process, its threads and its destructors. Idempotent."""
    sys.excepthook = _of_process
    threading.excepthook = _of_thread
    sys.unraisablehook = _of_destructor


def _of_process(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _say(error.with_traceback(trace))


def _of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _say(args.exc_value)


def _of_destructor(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _say(args.exc_value)


def _say(error: BaseException) -> None:
    _log.critical(
        WORKER_CRASHED,
        exc_info=error,
        extra={"fields": {"error_class": type(error).__name__}},
    )
