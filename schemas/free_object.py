"""The one field of free shape: `custom`, the merchant's own keys and values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError

from schemas.fields import INT64_MAX, JobField, plain_decimal

#: Levels of objects and lists allowed inside `custom`; deeper is a mistake or an attack.
DEPTH_MAX = 16

# Line breaks and tabs belong in a text; the other controls and halves of surrogate pairs do not.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class FreeObject(JobField[dict[str, Any]]):
    """An object of JSON values under free keys, whose case is kept.

    A key whose value is None is stripped, at every level; a None in a list stays, because leaving
    it out would move its neighbours. A Decimal becomes a plain string. Floats are allowed here
    (they are the merchant's numbers, not money) if they are finite.
    """

    def checked(self, value: object) -> dict[str, Any]:
        """Return a copy of JSON values only, or say what is wrong where."""
        if not isinstance(value, Mapping):
            raise ValidationError("Not an object.")
        return _object(value, 1)


def _object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    problems: dict[str | int, Any] = {}
    for key, member in value.items():
        try:
            if member is not None:
                result[_key(key)] = _json_value(member, depth)
        except ValidationError as error:
            problems[key] = error.messages
    if problems:
        raise ValidationError(problems)
    return result


def _list(value: Sequence[Any], depth: int) -> list[Any]:
    result: list[Any] = []
    problems: dict[str | int, Any] = {}
    for index, member in enumerate(value):
        try:
            result.append(None if member is None else _json_value(member, depth))
        except ValidationError as error:
            problems[index] = error.messages
    if problems:
        raise ValidationError(problems)
    return result


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ValidationError("A key is a string.")
    return _text(key)


def _text(value: str) -> str:
    if not (value.isascii() and value.isprintable()) and _UNFIT.search(value):
        raise ValidationError("Control characters are not allowed, but tabs and line breaks.")
    return value if type(value) is str else str.__str__(value)


def _json_value(value: object, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, Mapping | list | tuple):
        if depth >= DEPTH_MAX:
            raise ValidationError(f"Deeper than {DEPTH_MAX} levels.")
        return _object(value, depth + 1) if isinstance(value, Mapping) else _list(value, depth + 1)
    raise ValidationError("Not JSON: use objects, lists, strings, numbers and booleans.")


def _number(value: int | float | Decimal) -> int | float | str:  # noqa: PYI041  (both are meant)
    if isinstance(value, Decimal):
        return plain_decimal(value)
    if not isinstance(value, int):
        if not math.isfinite(value):
            raise ValidationError("Not a finite number.")
        return float(value)
    if not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise ValidationError("A whole number of more than 64 bits.")
    return int(value)
