"""Checks of what a call is given: a wrong type is told at the call, by an error of the tree."""

from __future__ import annotations

import math
import re
import threading
from typing import Any

from worker.errors import ArgumentError

__all__ = ["job_id_of", "job_ids_of", "name_of", "seconds_of", "start_of"]

#: Where a group can start: all that is kept, what is new, or an id of the stream.
_START = re.compile(r"\$|[0-9]{1,19}(?:-[0-9]{1,19})?", re.ASCII)


def job_id_of(value: Any) -> str:
    """Give a job id as it is.

    Raises:
        ArgumentError: it is not a text.
    """
    return name_of("job_id", value)


def job_ids_of(values: Any) -> list[str]:
    """Give job ids as a list.

    Raises:
        ArgumentError: they are not several texts.
    """
    if isinstance(values, str | bytes):
        raise ArgumentError("job_ids", "must be a list of ids, not one text")
    try:
        return [job_id_of(value) for value in values]
    except TypeError:
        raise ArgumentError("job_ids", f"must be a list of ids, not {_kind(values)}") from None


def name_of(argument: str, value: Any) -> str:
    """Give a text that is not empty.

    Raises:
        ArgumentError: it is something else.
    """
    if not isinstance(value, str):
        raise ArgumentError(argument, f"must be a text, not {_kind(value)}")
    if not value or not value.isprintable():
        raise ArgumentError(argument, "must be a text of printable characters")
    return value


def seconds_of(argument: str, value: Any) -> float | None:
    """Give a number of seconds, or None.

    Raises:
        ArgumentError: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentError(argument, f"must be a number of seconds or None, not {_kind(value)}")
    if isinstance(value, float) and math.isnan(value):
        raise ArgumentError(argument, "must be a number of seconds or None, not NaN")
    # An int may be too long to be made a float, and can be compared with one all the same.
    return float(min(max(0.0, value), threading.TIMEOUT_MAX))


def start_of(value: Any) -> str:
    """Give the place in the stream at which a new group starts.

    Raises:
        ArgumentError: it is something else.
    """
    if not isinstance(value, str) or not _START.fullmatch(value):
        problem = 'must be "0" (all that is kept), "$" (what is new) or an id of the stream'
        raise ArgumentError("start", problem)
    return value


def _kind(value: Any) -> str:
    return type(value).__name__
