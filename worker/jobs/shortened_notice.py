"""The notice that a request context was shortened: once for each field and process."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

__all__ = ["note_shortened"]

_log = logging.getLogger("worker.client")

_NOTICE: Final = (
    "%s is longer than the API takes and was shortened. Shorten it in the app, or set "
    "LARGESSE_SHORTEN_CONTEXT=false to refuse such offers."
)
#: Fields that were told of.
_told: Final[set[str]] = set()


def note_shortened(paths: Iterable[str]) -> None:
    """Log the fields that were shortened, unless this process has told of them before.

    Args:
        paths: paths of the fields, such as `request_context.url`.
    """
    for path in paths:
        if path not in _told:
            _told.add(path)
            _log.warning(_NOTICE, path)
