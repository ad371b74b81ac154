"""Errors on their way to Sentry: what the log would say of them, and no more.

Needs the extra `sentry`, and `LARGESSE_SENTRY_DSN`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from worker import errors
from worker.errors import SettingsError
from worker.logs.library_records import safe_record
from worker.logs.log_rate import LinesPerSecond
from worker.logs.redaction import redact_event, scrub
from worker.settings import Settings
from worker.version import __version__

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

__all__ = ["Scrubber", "open_reports"]

_VARIABLE: Final = "LARGESSE_SENTRY_DSN"
#: Seconds that the end of a process waits for what is still to be sent.
LAST_S: Final = 1.0
#: Parts of an event that say nothing of a person, a payload or a machine.
_KEPT: Final = ("event_id", "timestamp", "platform", "level", "logger", "release", "environment")
_CONTEXTS: Final = ("runtime", "os")
_FRAME: Final = ("filename", "function", "lineno", "module", "in_app")


def open_reports(settings: Settings) -> None:
    """Send what this process logs at level error or worse; nothing without the setting.

    Args:
        settings: their `sentry_dsn` counts.

    Raises:
        SettingsError: the extra is not installed, or the DSN is none.
    """
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk  # noqa: PLC0415 - an extra
        from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415
        from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415
        from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415
    except ModuleNotFoundError:
        remedy = "Install it with: pip install 'largesse[sentry]'"
        raise SettingsError(_VARIABLE, "needs the extra sentry", remedy) from None
    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn,
            release=f"largesse@{__version__}",
            before_send=Scrubber(),
            include_local_variables=False,
            include_source_context=False,
            max_breadcrumbs=0,
            auto_session_tracking=False,
            shutdown_timeout=LAST_S,
            default_integrations=False,
            integrations=[
                LoggingIntegration(level=None, event_level=logging.ERROR),
                AtexitIntegration(callback=_say_nothing),
                DedupeIntegration(),
            ],
        )
    except BadDsn:
        remedy = "Copy the whole of it from the project's settings at Sentry."
        raise SettingsError(_VARIABLE, "is not a DSN", remedy) from None


def _say_nothing(pending: int, timeout: float) -> None:
    del pending, timeout


class Scrubber:
    """Makes a new event out of the harmless parts of one, at most two a second of a kind.

    Args:
        lines: limits events by kind.
    """

    def __init__(self, lines: LinesPerSecond | None = None) -> None:
        self._lines = lines or LinesPerSecond()

    def __call__(self, event: Event, hint: Hint) -> Event | None:
        """Give what may leave, or None when there were too many of its kind."""
        given: Mapping[str, Any] = event
        safe: dict[str, Any] = {name: given[name] for name in _KEPT if name in given}
        record = hint.get("log_record")
        if isinstance(record, logging.LogRecord):
            text, fields = _described(record)
            safe["logentry"] = {"message": text}
            safe["extra"] = fields
        left_out = self._lines.admit(f"{given.get('logger')} {_text_of(safe)}")
        if left_out is None:
            return None
        if left_out:
            safe.setdefault("extra", {})["suppressed"] = left_out
        found = given.get("exception")
        if isinstance(found, Mapping):
            safe["exception"] = {"values": [_exception(one) for one in _list(found, "values")]}
        contexts = given.get("contexts") or {}
        safe["contexts"] = {name: contexts[name] for name in _CONTEXTS if name in contexts}
        return safe  # type: ignore[return-value]


def _text_of(safe: Mapping[str, Any]) -> str:
    return str(safe.get("logentry", {}).get("message", ""))


def _described(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Give the name of the event, or the safe text of a library, and its safe fields."""
    bound = structlog.contextvars.get_contextvars()
    if isinstance(record.msg, Mapping):
        fields = redact_event({**bound, **record.msg})
    else:
        text = safe_record(record).getMessage()
        own = getattr(record, "fields", None)
        fields = redact_event(
            {**bound, **(own if isinstance(own, Mapping) else {}), "event": text}
        )
    text = str(fields.pop("event", ""))
    return text, {name: value for name, value in fields.items() if not name.startswith("_")}


def _exception(found: Mapping[str, Any]) -> dict[str, Any]:
    """Keep class and frames; the text only of our own errors, which hold no values."""
    kind = getattr(errors, str(found.get("type")), None)
    ours = (
        found.get("module") == errors.__name__
        and isinstance(kind, type)
        and issubclass(kind, errors.WorkerError)
    )
    trace = found.get("stacktrace")
    frames = _list(trace, "frames") if isinstance(trace, Mapping) else []
    return {
        "type": found.get("type"),
        "module": found.get("module"),
        "value": scrub(str(found.get("value"))) if ours else "",
        "stacktrace": {"frames": [_only(frame, _FRAME) for frame in frames]},
    }


def _list(found: Mapping[str, Any], name: str) -> list[Any]:
    value = found.get(name)
    return value if isinstance(value, list) else []


def _only(found: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found}
