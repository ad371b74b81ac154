"""The three standard streams of a command, which whoever starts it may have closed or broken.

A closed one leaves its number to the next socket that is opened: what a library writes to stdout
would go to Redis. So each gets a stand-in before anything else is opened.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Final

__all__ = ["flush_streams", "open_streams"]

#: Name and mode of each, in the order of their numbers.
_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_streams() -> None:
    """Open what is closed, and let no text fail for the encoding of its stream."""
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            # This is the lowest free number, so the stream's own. It takes writes alone: a closed
            # stdin is told to whoever reads it, and is no empty input.
            number = os.open(os.devnull, os.O_WRONLY)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - a number
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_streams() -> str:
    """Write out what is buffered; what cannot be written is dropped.

    Returns:
        Why stdout did not take it, such as "No space left on device"; "" when it did.
    """
    problem = ""
    for stream in (sys.stderr, sys.stdout):
        problem = ""
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or "it is closed"
            with contextlib.suppress(OSError, ValueError):
                # The interpreter flushes once more when it ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return problem
