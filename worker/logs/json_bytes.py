"""JSON as it is published and logged: UTF-8, no blanks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

__all__ = ["json_bytes"]

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Write an object as JSON.

    Args:
        value: texts, finite numbers, booleans, None, and lists and objects of these.

    Raises:
        TypeError: something else is in it.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        # JSON has integers of over 64 bits, and halves of surrogate pairs as escapes.
        return _ENCODER.encode(value).encode("ascii")
