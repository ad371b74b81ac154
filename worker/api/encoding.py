"""Bodies as bytes: forms with brackets, and JSON.

The bytes equal those of Chargebee's official Python SDK, but for three things it does and we do
not: it sends `None` as an empty text, lower-cases keys and writes floats into integer fields.
The order of the pairs is the order of the payload; the API compares bodies when an idempotency
key comes back, so the same payload always gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote_plus

# Texts that stay as they are: most are ids and codes.
_SAFE: Final = re.compile(r"[A-Za-z0-9_.~-]*\Z").match

#: A form's pairs: (name with brackets, text).
Pair = tuple[str, str]


def encode_json(payload: Mapping[str, Any]) -> bytes:
    """Write a payload as JSON: UTF-8, no blanks, nothing escaped that need not be.

    Raises:
        ValueError: NaN or an infinite number.
        TypeError: a value that JSON does not know, such as a Decimal.
    """
    return _json_text(payload).encode()


def encode_form(payload: Mapping[str, Any], json_fields: Sequence[str] = ()) -> bytes:
    """Write a payload as `application/x-www-form-urlencoded`.

    Args:
        payload: texts, numbers, objects of these, lists of these, and tables in either spelling.
        json_fields: top-level fields that are written as one JSON text each.
    """
    pairs = form_pairs(payload, json_fields)
    quoted = [f"{_name(name)}={text if _SAFE(text) else quote_plus(text)}" for name, text in pairs]
    return "&".join(quoted).encode("ascii")


def form_pairs(payload: Mapping[str, Any], json_fields: Sequence[str] = ()) -> Iterator[Pair]:
    """Name every value of a payload as the API does.

    `a` for a text, `a[b]` for a member of an object, `a[0]` for an element of a list and `a[b][0]`
    for a cell of a table, whether it is spelled as rows or as columns. None is left out; the
    places of the others stay.
    """
    for name, value in payload.items():
        if name in json_fields:
            yield name, _json_text(value)
        elif isinstance(value, Mapping):
            yield from _members(name, value)
        elif isinstance(value, list | tuple):
            yield from _elements(name, value)
        elif value is not None:
            yield name, _text(value)


def _members(name: str, members: Mapping[str, Any]) -> Iterator[Pair]:
    for member, value in members.items():
        if isinstance(value, list | tuple):
            yield from _elements(f"{name}[{member}]", value)
        elif value is not None:
            yield f"{name}[{member}]", _text(value)


def _elements(name: str, elements: Sequence[Any]) -> Iterator[Pair]:
    for index, value in enumerate(elements):
        if isinstance(value, Mapping):
            for member, cell in value.items():
                if cell is not None:
                    yield f"{name}[{member}][{index}]", _text(cell)
        elif value is not None:
            yield f"{name}[{index}]", _text(value)


@lru_cache(maxsize=4096)
def _name(name: str) -> str:
    """Quote a name; requests of one kind have the same few over and over."""
    return quote_plus(name)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
