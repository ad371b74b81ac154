"""What one parameter may be: a few types, each checking one value.

A form knows only text, so a number may come as its digits; JSON must have the right type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.sandbox.errors import Refusal, wrong_value

INT32 = 2**31 - 1
INT64 = 2**63 - 1

_DIGITS = re.compile(r"-?[0-9]{1,19}\Z")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?\Z")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+\Z")
#: C0 controls but tab, LF and CR, which a text may hold; and halves of surrogate pairs.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """Text of at most ``max_length`` characters; of a pattern, or one of a few values."""

    max_length: int
    values: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    what: str = "in the wrong format"

    def check(self, value: Any, name: str) -> str:
        """Return the text, or raise a Refusal that names ``name``."""
        if not isinstance(value, str):
            raise wrong_value(name, "should be a string")
        if len(value) > self.max_length:
            raise wrong_value(name, f"cannot be longer than {self.max_length} characters")
        if _CONTROL.search(value):
            raise wrong_value(name, "has characters that are not allowed")
        if self.values and value not in self.values:
            raise wrong_value(name, f"should be one of {', '.join(self.values)}")
        if self.pattern is not None and not self.pattern.match(value):
            raise wrong_value(name, self.what)
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number between ``minimum`` and ``maximum``."""

    minimum: int
    maximum: int = INT32

    def check(self, value: Any, name: str) -> int:
        """Return the number, or raise a Refusal that names ``name``."""
        if isinstance(value, str):
            if not _DIGITS.match(value):
                raise wrong_value(name, "should be an integer")
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_value(name, "should be an integer")
        if value < self.minimum:
            raise wrong_value(name, f"should be at least {self.minimum}")
        if value > self.maximum:
            raise wrong_value(name, f"should be at most {self.maximum}")
        return value


@dataclass(frozen=True, slots=True)
class Group:
    """Named members."""

    members: Mapping[str, Field]

    def check(self, value: Any, name: str) -> dict[str, Any]:
        """Return the members given, each checked; empty text and null count as not given."""
        if not isinstance(value, dict):
            raise wrong_value(name, "should be an object")
        return members(value, self.members, parent=name)


@dataclass(frozen=True, slots=True)
class List:
    """Values of one type; a form may leave gaps in the indices."""

    item: Field

    def check(self, value: Any, name: str) -> dict[int, Any]:
        """Return the values by index."""
        rows = dict(enumerate(value)) if isinstance(value, list) else value
        if not isinstance(rows, dict) or not all(isinstance(index, int) for index in rows):
            raise wrong_value(name, "should be a list")
        return {
            index: self.item.check(row, f"{name}[{index}]")
            for index, row in rows.items()
            if row not in (None, "")
        }


@dataclass(frozen=True, slots=True)
class FreeObject:
    """An object with keys of the merchant's own."""

    def check(self, value: Any, name: str) -> dict[str, Any]:
        """Return it as it is."""
        if not isinstance(value, dict):
            raise wrong_value(name, "should be an object")
        return value


Field = Text | Integer | Group | List | FreeObject


def decimal(max_length: int) -> Text:
    """A number of major units, not negative, as text."""
    return Text(max_length, pattern=_DECIMAL, what="should be a decimal number")


def email(max_length: int) -> Text:
    """An e-mail address."""
    return Text(max_length, pattern=_EMAIL, what="should be a valid e-mail address")


def members(
    given: Mapping[Any, Any], known: Mapping[str, Field], *, parent: str | None = None
) -> dict[str, Any]:
    """Check the members of an object against those it may have.

    Raises:
        Refusal: for an unknown member or a wrong value, with the name as it went over the wire.
    """
    checked: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{parent}[{key}]" if parent else str(key)
        field = known.get(key)
        if field is None:
            raise Refusal(400, message=f"{name} : unknown parameter", param=name)
        if value is None or value == "":
            continue
        checked[key] = field.check(value, name)
    return checked
