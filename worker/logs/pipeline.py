"""Logs of a worker: events as JSON or for the console, redacted last, from every library alike.

    configure(settings)
    log = get_logger(__name__)
    with bound(job_id=job_id):
        log.info(events.JOB_STARTED, kind=kind, site=site, attempt=1)

Needs the extra `worker` (structlog). Code that producers import logs through `logging`, or
through `events.emit`; in a worker its records come out here like all others.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter

from worker.logs.events import EVENTS
from worker.logs.exceptions import describe
from worker.logs.json_bytes import json_bytes
from worker.logs.library_records import safe_record
from worker.logs.log_rate import RateFilter
from worker.logs.redaction import redact_event
from worker.logs.uncaught import install_hooks

if TYPE_CHECKING:
    from worker.settings import Settings

__all__ = ["bound", "configure", "get_logger"]

Event = MutableMapping[str, Any]

#: Libraries that say a line for each step; they are heard at level debug alone.
TALKATIVE: Final = ("httpx", "httpcore", "redis", "asyncio")
#: Loggers that uvicorn gives handlers of its own.
UVICORN: Final = ("uvicorn", "uvicorn.error", "uvicorn.access")

_ORDER: Final[tuple[str, ...]] = ("timestamp", "level", "event", "logger", "process")


def get_logger(name: str) -> BoundLogger:
    """Make a logger of events.

    Args:
        name: usually `__name__`.

    Returns:
        A logger with `debug`, `info`, `warning`, `error`, `critical` and `log`, each with the
        name of an event and its fields. It writes nothing below the configured level, and
        nothing unredacted once `configure` has run.
    """
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=BoundLogger,
        context_class=dict,
    )
    return cast("BoundLogger", logger)


def bound(**fields: Any) -> AbstractContextManager[None]:
    """Add fields to every line of the current task or thread, of other libraries too.

    Args:
        fields: such as `job_id` and `trace_id`.
    """
    return cast("AbstractContextManager[None]", structlog.contextvars.bound_contextvars(**fields))


def configure(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Send the logs of the whole process through one redacting handler. May be called again.

    Handlers that write to a plain stream are replaced, among them the one that dramatiq's command
    line makes. Handlers of other kinds stay and see records as they were written.

    Args:
        settings: their `log_format` and `log_level` count.
        stream: where lines go; standard error when None.
    """
    level = getattr(logging, settings.log_level.upper())
    handler = _Handler(stream if stream is not None else sys.stderr)
    handler.setFormatter(_formatter(settings.log_format, handler.stream))
    handler.addFilter(RateFilter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Handler) or type(old) is logging.StreamHandler:
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in TALKATIVE:
        quiet = logging.WARNING if level > logging.DEBUG else logging.NOTSET
        logging.getLogger(name).setLevel(quiet)
    for name in UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # What no line shows is not looked up for each of them.
    logging.logThreads = logging.logMultiprocessing = False
    install_hooks()


class _Handler(logging.StreamHandler[TextIO]):
    """The one handler of `configure`, so that a second call finds it.

    A line that cannot be written is dropped: reporting it would print the record's arguments.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say that a line was lost, without the line."""
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError | ValueError):
            return
        text = f"a log line of {record.name} was lost: {type(error).__name__}\n"
        os.write(2, text.encode())


class _Formatter(ProcessorFormatter):
    """Makes records of other libraries safe before they are formatted."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record as one line."""
        if isinstance(record.msg, str) and record.msg in EVENTS:
            return self._event_line(record)
        ours = isinstance(record.msg, dict) and hasattr(record, "_logger")
        return super().format(record if ours else safe_record(record))

    def _event_line(self, record: logging.LogRecord) -> str:
        """Render an event of `emit` as the chain would, without copying its record twice."""
        event: Event = {
            "timestamp": datetime.now(tz=UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.msg,
            "logger": record.name,
            "process": record.process,
            **structlog.contextvars.get_contextvars(),
            **getattr(record, "fields", {}),
        }
        left_out = getattr(record, "suppressed", 0)
        if left_out:
            event["suppressed"] = left_out
        if record.exc_info:
            event["exc_info"] = record.exc_info
            event = _add_traceback(None, "", event)
        return cast("str", self.processors[-1](None, "", redact_event(event)))


def _formatter(log_format: str, stream: TextIO) -> _Formatter:
    renderer: Any
    if log_format == "json":
        renderer = _to_json
    else:
        colors = bool(getattr(stream, "isatty", lambda: False)())
        renderer = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)
    return _Formatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, _merge_fields],
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_origin,
            _add_traceback,
            ProcessorFormatter.remove_processors_meta,
            _redact,
            renderer,
        ],
    )


def _to_json(_: Any, __: str, event: Event) -> str:
    return json_bytes(event).decode()


def _merge_fields(_: Any, __: str, event: Event) -> Event:
    fields = getattr(event["_record"], "fields", None)
    if isinstance(fields, Mapping):
        event.update(fields)
    return event


def _add_origin(_: Any, __: str, event: Event) -> Event:
    record: logging.LogRecord = event["_record"]
    event["level"] = record.levelname.lower()
    event["logger"] = record.name
    event["process"] = record.process
    left_out = getattr(record, "suppressed", 0)
    if left_out:
        event["suppressed"] = left_out
    return event


def _add_traceback(_: Any, __: str, event: Event) -> Event:
    exc_info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        event["traceback"] = describe(error)
    return event


def _redact(_: Any, __: str, event: Event) -> Event:
    safe = redact_event(event)
    first = {name: safe.pop(name) for name in _ORDER if name in safe}
    return {**first, **safe}
