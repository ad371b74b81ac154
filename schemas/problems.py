"""What is wrong with a job, by field path, without a word of what was given.

The names of unknown fields are the caller's, and so may be anything: one is shown only if it looks
like a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow.exceptions import SCHEMA

#: What stands in a path for a name that could be data.
UNNAMED = "(unknown field)"

#: More paths than this are counted, not listed: a log line has its limits too.
PATHS_MAX = 100

#: Path of what concerns the payload as a whole.
WHOLE = "payload"

#: Greatest list index that a payload has room for; a greater number is a key of the caller's.
_INDEX_MAX = 65_536

_INDEX = re.compile(r"[0-9]{1,9}", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)


def flatten(messages: Mapping[Any, Any] | list[Any]) -> dict[str, list[str]]:
    """Turn nested messages into dotted paths; flat ones come back as they are.

    Args:
        messages: `ValidationError.messages`: nested dicts whose leaves are lists of texts, or a
            list of texts alone.

    Returns:
        Path (`subscription_items.2.quantity`) to what is wrong there; the path of the whole is
        `payload`.
    """
    flat: dict[str, list[str]] = {}
    _collect(messages, "", flat, str)
    return flat


def tidy(messages: Mapping[Any, Any], prefix: str = "") -> dict[str, list[str]]:
    """Flatten messages, with every name in them shown only if it looks like one.

    Args:
        messages: nested messages, whose keys may be names that the caller made up.
        prefix: path of the whole; `payload` if it is empty.
    """
    flat: dict[str, list[str]] = {}
    _collect(messages, prefix, flat, _shown)
    if len(flat) <= PATHS_MAX:
        return flat
    short = dict(list(flat.items())[:PATHS_MAX])
    short.setdefault(prefix or WHOLE, []).append(f"{len(flat) - PATHS_MAX} more fields are wrong.")
    return short


def shown(path: str) -> str:
    """Give a path with every name in it shown only if it looks like one.

    Args:
        path: dotted, with list indices.
    """
    names = path.split(".")
    return ".".join(_shown(int(name) if _INDEX.fullmatch(name) else name) for name in names)


def _collect(messages: Any, path: str, flat: dict[str, list[str]], shown: Any) -> None:
    if isinstance(messages, Mapping):
        for key, nested in messages.items():
            name = "" if key == SCHEMA else shown(key)
            _collect(nested, f"{path}.{name}" if path and name else path or name, flat, shown)
        return
    texts = flat.setdefault(path or WHOLE, [])
    for text in messages if isinstance(messages, list | tuple) else [messages]:
        told = text if isinstance(text, str) else "Not valid."
        if told not in texts:
            texts.append(told)


def _shown(key: object) -> str:
    if isinstance(key, int):
        return str(int(key)) if 0 <= key <= _INDEX_MAX else UNNAMED
    return key if isinstance(key, str) and _NAME.fullmatch(key) else UNNAMED
