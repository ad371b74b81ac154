"""The scalar fields of both requests.

Every field refuses by name and bound, never by value: the texts below say what is wrong and what
is allowed, and nothing of what was given. `None` counts as "not given" everywhere; only a required
field refuses it.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, TypeVar

from marshmallow import ValidationError, fields

from schemas.places import locale_exists, time_zone_exists

#: Bounds of the API's integer formats (OpenAPI `int32` and `int64`).
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

#: Longest e-mail address that can be delivered to (RFC 5321), for the one the API does not bound.
EMAIL_MAX = 254

#: Digits on either side of the point beyond which a Decimal is not even written out.
_DECIMAL_DIGITS_MAX = 64

_Kept = TypeVar("_Kept")

# C0, DEL and C1 controls, the two Unicode line breaks, and halves of surrogate pairs: none belongs
# in an id, a name or an address, and some could end a header or a log line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_BUT_TAB = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WEB_ADDRESS = re.compile(
    r"https?://(?:[^\s/?#@\\]*@)?(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\]+)(?::[0-9]{1,5})?"
    r"(?:[/?#]\S*)?",
    re.IGNORECASE,
)
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)
_ATOM = r"[^\s@.\"(),:;<>\[\\\]]+"
_LABEL = r"(?!-)[A-Za-z0-9_\u00a1-\U0010ffff-]+(?<!-)"
_EMAIL = re.compile(rf"(?=\S+\Z){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")


class JobField(fields.Field[_Kept]):
    """The base of all fields: `None` means "not given".

    Args:
        required: the field must be there and not be None.
    """

    default_error_messages = {  # noqa: RUF012  (marshmallow's own declaration)
        "required": "This field is required.",
        "null": "This field is required.",
    }

    def __init__(self, *, required: bool = False) -> None:
        super().__init__(required=required, allow_none=not required)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> _Kept:
        return self.checked(value)

    def checked(self, value: object) -> _Kept:
        """Return the canonical form of a value that is not None.

        Raises:
            ValidationError: what is wrong with it, without the value.
        """
        raise NotImplementedError


class Text(JobField[str]):
    """A string without control characters.

    Args:
        max_length: longest text, in characters (code points), as the API counts.
        required: the field must be there; an empty text is then refused too.
        empty: an empty text is taken.
        tabs: tabs are taken.
    """

    def __init__(
        self, max_length: int, *, required: bool = False, empty: bool = True, tabs: bool = False
    ) -> None:
        super().__init__(required=required)
        self.max_length = max_length
        self.empty = empty and not required
        self.tabs = tabs

    def checked(self, value: object) -> str:
        """Return the text, or say what is wrong with it.

        Raises:
            ValidationError: not a string, too long, control characters, or empty.
        """
        if not isinstance(value, str):
            raise ValidationError("Not a string.")
        if len(value) > self.max_length:
            raise ValidationError(f"Longer than {self.max_length} characters.")
        if not value and not self.empty:
            raise ValidationError("Empty.")
        unfit = _CONTROL_BUT_TAB if self.tabs else _CONTROL
        if not (value.isascii() and value.isprintable()) and unfit.search(value):
            raise ValidationError("Control characters and line breaks are not allowed.")
        return value if type(value) is str else str.__str__(value)


class HeaderText(Text):
    """A text that goes out as a header: printable ASCII, not empty, no blank at either end."""

    def checked(self, value: object) -> str:
        """Return the text, or say why no header can carry it."""
        text = super().checked(value)
        if not text:
            raise ValidationError("Empty.")
        if not (text.isascii() and text.isprintable()):
            raise ValidationError("A header carries printable ASCII only.")
        if text != text.strip():
            raise ValidationError("A header may not begin or end with a blank.")
        return text


class Choice(Text):
    """One of a few names, spelled exactly.

    Args:
        names: the names allowed.
    """

    def __init__(self, *names: str) -> None:
        super().__init__(max(len(name) for name in names))
        self.names = names

    def checked(self, value: object) -> str:
        """Return the name, or list the names allowed."""
        if isinstance(value, str) and value in self.names:
            return str.__str__(value)
        raise ValidationError(f"Must be one of: {', '.join(self.names)}.")


class Email(Text):
    """An e-mail address in any script: one `@`, a dotted domain, no blanks, no quoting."""

    def checked(self, value: object) -> str:
        """Return the address, or say that it is none."""
        text = super().checked(value)
        if not _EMAIL.fullmatch(text):
            raise ValidationError("Not an e-mail address.")
        return text


class WebAddress(Text):
    """An address of the web: `http` or `https`, a host, no blanks."""

    def checked(self, value: object) -> str:
        """Return the address, or say that it is none."""
        text = super().checked(value)
        if not _WEB_ADDRESS.fullmatch(text):
            raise ValidationError("Not a web address: give one such as https://shop.example/done.")
        return text


class TimeZone(Text):
    """An IANA time zone that exists, such as `America/New_York`."""

    def checked(self, value: object) -> str:
        """Return the name, or say that there is no such zone."""
        text = super().checked(value)
        if not time_zone_exists(text):
            raise ValidationError("No such time zone: use an IANA name such as America/New_York.")
        return text


class LocaleTag(Text):
    """A locale whose language, script and territory exist, such as `en-US` or `zh-Hant-TW`."""

    def checked(self, value: object) -> str:
        """Return the tag, or say that there is no such locale."""
        text = super().checked(value)
        if not locale_exists(text):
            raise ValidationError("No such locale: use a language tag such as en-US.")
        return text


class Whole(JobField[int]):
    """A whole number that is an `int`: no bool, no float, not even 10.0, and no string.

    Args:
        minimum: the least value allowed.
        maximum: the greatest value allowed.
    """

    def __init__(self, minimum: int, maximum: int) -> None:
        super().__init__()
        self.minimum = minimum
        self.maximum = maximum

    def checked(self, value: object) -> int:
        """Return the number, or say what is wrong with it."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("Not a whole number: a float, a string or a boolean is none.")
        if not self.minimum <= value <= self.maximum:
            raise ValidationError(f"Must be between {self.minimum} and {self.maximum}.")
        return value if type(value) is int else int(value)


class DecimalText(JobField[str]):
    """A decimal of zero or more, kept as text: `"12.50"` or `Decimal("12.50")`, never a float.

    A string must already be plain (no sign, no exponent, no blank, no leading or lone point, no
    leading zeros) and goes out as it is. A Decimal goes out in the same plain form.

    Args:
        max_length: longest text, in characters.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length

    def checked(self, value: object) -> str:
        """Return the plain text of a decimal, or say what is wrong with it."""
        if isinstance(value, Decimal):
            text = plain_decimal(value)
        elif isinstance(value, str):
            text = str.__str__(value)
        else:
            raise ValidationError('Not a decimal: give a string such as "12.50", never a float.')
        if len(text) > self.max_length:
            raise ValidationError(f"Longer than {self.max_length} characters.")
        if not _DECIMAL.fullmatch(text):
            raise ValidationError('Not a plain decimal of zero or more, such as "12.50".')
        return text


def plain_decimal(value: Decimal) -> str:
    """Write a Decimal without exponent.

    Returns:
        The digits, such as `-1.50` or `1000`; minus zero comes out as zero.

    Raises:
        ValidationError: NaN, infinite, or more than 64 digits on one side of the point.
    """
    if not value.is_finite():
        raise ValidationError("Not a finite number.")
    if abs(value.adjusted()) > _DECIMAL_DIGITS_MAX or len(value.as_tuple().digits) > (
        2 * _DECIMAL_DIGITS_MAX
    ):
        raise ValidationError("Too many digits.")
    return format(value or abs(value), "f")


class Seconds(JobField[float]):
    """A length of time in seconds, int or float.

    Args:
        maximum: the greatest value allowed.
        include_zero: zero is allowed too.
    """

    def __init__(self, maximum: float, *, include_zero: bool) -> None:
        super().__init__()
        self.maximum = maximum
        self.include_zero = include_zero

    def checked(self, value: object) -> float:
        """Return the seconds as given, or say what is wrong with them."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValidationError("Not a number of seconds.")
        # An int may be too long to be made a float, and can be compared with one all the same.
        if isinstance(value, float) and not math.isfinite(value):
            raise ValidationError("Not a finite number.")
        if value < 0 or value > self.maximum or (value == 0 and not self.include_zero):
            least = "0 or more" if self.include_zero else "more than 0"
            raise ValidationError(f"Must be {least}, and {self.maximum:.0f} seconds at most.")
        return value


class TextList(JobField[list[str]]):
    """A list of texts; a None among them is dropped.

    Args:
        max_length: longest text of the list, in characters.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.item = Text(max_length)

    def checked(self, value: object) -> list[str]:
        """Return the texts, or say what is wrong at which index."""
        if not isinstance(value, list | tuple):
            raise ValidationError("Not a list.")
        texts: list[str] = []
        problems: dict[str | int, Any] = {}
        for index, text in enumerate(value):
            if text is None:
                continue
            try:
                texts.append(self.item.checked(text))
            except ValidationError as error:
                problems[index] = error.messages
        if problems:
            raise ValidationError(problems)
        return texts
