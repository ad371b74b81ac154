"""Lines that would come by the thousand, such as those about an unreachable Redis.

At most two lines a second of one kind go through; the next one that does says how many did not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from worker.errors import BrokerError

__all__ = ["LinesPerSecond", "RateFilter", "RateLimited"]

#: Lines of one kind in a second: enough to see that it goes on, too few to fill a disk.
LINES_PER_SECOND: Final = 2
#: Kinds that are remembered; past it all are forgotten, which lets some lines through.
MAX_KINDS: Final = 1_000


class LinesPerSecond:
    """Counts lines by kind. Safe to use from several threads.

    Args:
        most: lines of a kind in any second.
        clock: gives seconds that never go back.
    """

    def __init__(
        self, most: int = LINES_PER_SECOND, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, int, int]] = {}

    def admit(self, kind: str) -> int | None:
        """Ask whether a line may be written now.

        Args:
            kind: of the line.

        Returns:
            None when it may not; else how many of its kind were left out since the last one.
        """
        now = self._clock()
        with self._lock:
            if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
                self._kinds.clear()
            started, written, left_out = self._kinds.get(kind, (now, 0, 0))
            if now - started >= 1:
                started, written = now, 0
            if written >= self._most:
                self._kinds[kind] = (started, written, left_out + 1)
                return None
            self._kinds[kind] = (started, written + 1, 0)
            return left_out


class _Logger(Protocol):
    def log(self, level: int, event: str, /, **fields: Any) -> Any: ...


class RateLimited:
    """A logger that writes each event at most twice a second.

    Args:
        logger: a logger of `worker.logs.pipeline`.
        most: lines of an event in any second.
        clock: gives seconds that never go back.
    """

    def __init__(
        self,
        logger: _Logger,
        most: int = LINES_PER_SECOND,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._lines = LinesPerSecond(most, clock=clock)

    def log(self, level: int, event: str, /, **fields: Any) -> None:
        """Write an event, or count it as suppressed.

        Args:
            level: of `logging`.
            event: its name.
            fields: its fields; `suppressed` is added when lines were left out.
        """
        left_out = self._lines.admit(event)
        if left_out is None:
            return
        more = {"suppressed": left_out} if left_out else {}
        self._logger.log(level, event, **fields, **more)

    def info(self, event: str, **fields: Any) -> None:
        """Write an event at level info."""
        self.log(logging.INFO, event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write an event at level warning."""
        self.log(logging.WARNING, event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        """Write an event at level error."""
        self.log(logging.ERROR, event, **fields)


class RateFilter(logging.Filter):
    """Limits warnings and worse of the standard library's loggers, by logger and text.

    All records about an unreachable Redis count as one kind, whichever part noticed. Events of
    our own, whose names are in `worker.logs.events`, are not limited.

    Args:
        most: lines of a kind in any second.
        clock: gives seconds that never go back.
    """

    def __init__(
        self, most: int = LINES_PER_SECOND, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._lines = LinesPerSecond(most, clock=clock)

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record goes through; mark it with what was left out before it."""
        if record.levelno < logging.WARNING or not isinstance(record.msg, str):
            return True
        if hasattr(record, "fields"):
            return True
        unreachable = any(_is_unreachable(value) for value in _values(record))
        left_out = self._lines.admit("broker" if unreachable else f"{record.name} {record.msg}")
        if left_out is None:
            return False
        record.suppressed = left_out
        return True


def _values(record: logging.LogRecord) -> tuple[object, ...]:
    raised = record.exc_info[1] if record.exc_info else None
    given = record.args if isinstance(record.args, tuple) else ()
    return (*given, raised, record.msg)


def _is_unreachable(value: object) -> bool:
    # dramatiq's and redis-py's are known by name, so that neither is imported for their sake.
    names = {base.__name__ for base in type(value).__mro__}
    return isinstance(value, BrokerError | ConnectionError) or bool(
        isinstance(value, Exception) and names & {"BrokerConnectionError", "ConnectionError"}
    )
