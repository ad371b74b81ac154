"""Records of other libraries, made safe before anything formats them.

Dramatiq prints the arguments of a message when it fails; asyncio prints the arguments of a
callback; httpcore prints headers. Here a record keeps its words and its numbers, and everything
else is replaced by what is known to be harmless about it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from worker.logs.exceptions import name_exception
from worker.logs.redaction import scrub

__all__ = ["safe_record"]

#: Characters of a text that a library put into a record.
MAX_ARGUMENT: Final = 200
#: Loggers whose ready-made texts were read and hold names only.
TRUSTED: Final = ("worker", "dramatiq")

_QUERY = re.compile(r"\?\S*")
_WORDS = re.compile(r"[^<({\[\"'=\n]*")


def safe_record(record: logging.LogRecord) -> logging.LogRecord:
    """Copy a record without anything private in its text.

    Args:
        record: of any library. It is not changed.

    Returns:
        A record with a finished text and without arguments; `exc_info` is kept.
    """
    safe = logging.makeLogRecord(record.__dict__)
    safe.msg = _text(record)
    safe.args = ()
    safe.exc_text = None
    safe.stack_info = None
    return safe


def _text(record: logging.LogRecord) -> str:
    if isinstance(record.msg, BaseException):
        return name_exception(record.msg)
    if not isinstance(record.msg, str):
        return f"<{type(record.msg).__name__}>"
    if not record.args:
        if record.name.split(".", 1)[0] in TRUSTED:
            return scrub(record.msg)
        # A ready-made text: its words up to the first value in it.
        words = _WORDS.match(record.msg)
        first = record.msg.split(" ", 1)[0] if record.name.startswith("httpcore") else None
        return scrub(first or (words.group().strip() if words else ""))
    arguments: Any = record.args
    if isinstance(arguments, Mapping):
        arguments = {name: _argument(value) for name, value in arguments.items()}
        # A single mapping may stand for named values or be the only value of the text.
        if "%(" not in record.msg:
            arguments = (_Shown("<dict>"),)
    else:
        arguments = tuple(_argument(value) for value in arguments)
    try:
        return scrub(record.msg % arguments)
    except (TypeError, ValueError, KeyError):
        return scrub(record.msg)


class _Shown(str):
    """A text that looks the same under %s and %r."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _argument(value: Any) -> Any:
    if value is None or type(value) in {bool, int, float}:
        return value
    if isinstance(value, str):
        return _Shown(scrub(_QUERY.sub("?", value)[:MAX_ARGUMENT]))
    if isinstance(value, BaseException):
        return _Shown(name_exception(value))
    if isinstance(value, type):
        return _Shown(value.__qualname__)
    # Duck-typed, so that neither dramatiq nor httpx is imported for their sake.
    name = type(value).__name__
    actor, message_id = getattr(value, "actor_name", None), getattr(value, "message_id", None)
    if isinstance(actor, str) and isinstance(message_id, str):
        return _Shown(f"{scrub(actor)}[{scrub(message_id)}]")
    if name == "URL":
        return _Shown(scrub(_QUERY.sub("?", str(value))[:MAX_ARGUMENT]))
    return _Shown(f"<{name}>")
