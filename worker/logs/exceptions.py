"""Exceptions in a log: where they came from and what they are, never what they say.

The text of an exception that is not ours may hold anything (`KeyError: 'maria@example.com'`), so
only the name of its class is shown; our own errors carry no values and are shown whole. Values of
local variables are never shown.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

from worker.errors import WorkerError
from worker.logs.redaction import scrub

__all__ = ["ExcInfo", "describe", "name_exception"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

#: Frames of one exception: the innermost ones, where the fault is.
MAX_FRAMES: Final = 40
#: Exceptions of one chain or group.
MAX_EXCEPTIONS: Final = 8


def name_exception(error: BaseException) -> str:
    """Show an exception in one line.

    Args:
        error: any.

    Returns:
        The class, and the text too when it is an error of ours.
    """
    name = type(error).__qualname__
    return f"{name}: {scrub(str(error))}" if isinstance(error, WorkerError) else name


def describe(error: BaseException) -> str:
    """Show an exception with its frames, its causes and, of a group, its members.

    Args:
        error: any.

    Returns:
        Several lines: `file:line in function` of each frame, the exception last.
    """
    parts: list[str] = []
    seen: set[int] = set()
    _collect(error, parts, seen)
    return "\n".join(parts)


def _collect(error: BaseException, parts: list[str], seen: set[int]) -> None:
    if id(error) in seen or len(seen) >= MAX_EXCEPTIONS:
        return
    seen.add(id(error))
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is not None:
        _collect(cause, parts, seen)
        parts.append("which led to:")
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    parts += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    parts.append(name_exception(error))
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            parts.append("one of the group:")
            _collect(member, parts, seen)
