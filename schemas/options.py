"""The options of a job: what goes out as headers, and when the job may run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from marshmallow import ValidationError, validates_schema

from schemas.base import JobSchema
from schemas.fields import EMAIL_MAX, Choice, Email, HeaderText, JobField, Seconds
from schemas.part import Part

#: What a call can skip for the events it makes; each is one header.
SKIPS = ("actions", "email", "webhooks")

#: Longest deadline and delay: a year. Longer is a number in the wrong unit.
WAIT_MAX_S = 366 * 24 * 3600

_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


class Skip(JobField[list[str]]):
    """Names of what to skip: an iterable of names, or one string with commas between them."""

    def checked(self, value: object) -> list[str]:
        """Return the names sorted, each once, or list the names allowed."""
        if isinstance(value, str):
            value = [name.strip() for name in value.split(",") if name.strip()]
        if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes | bytearray):
            raise ValidationError("Neither a list of names nor a text with commas.")
        names = set()
        for name in value:
            if not isinstance(name, str) or name not in SKIPS:
                raise ValidationError(f"Must be any of: {', '.join(SKIPS)}.")
            names.add(str.__str__(name))
        return sorted(names)


class Host(HeaderText):
    """An IPv4 or IPv6 address (without a zone) or a host name."""

    def checked(self, value: object) -> str:
        """Return the address, or say that it is none."""
        text = super().checked(value)
        if not (_is_address(text) or _is_host_name(text)):
            raise ValidationError("Neither an IP address nor a host name.")
        return text


def _is_address(text: str) -> bool:
    for kind in (IPv4Address, IPv6Address):
        try:
            kind(text)
        except AddressValueError:
            continue
        return "%" not in text
    return False


def _is_host_name(text: str) -> bool:
    labels = text.split(".")
    return not labels[-1].isdigit() and all(_HOST_LABEL.fullmatch(label) for label in labels)


class OriginSchema(JobSchema):
    """On whose behalf the call is made; each field is one header.

    A `user` that is not ASCII goes out in Base64, in a header of its own.
    """

    user = Email(EMAIL_MAX)
    ip = Host(253)
    device = HeaderText(255)


class OptionsSchema(JobSchema):
    """The options of one job."""

    fields_alone = False

    skip = Skip()
    business_entity_id = HeaderText(50)
    brand_id = HeaderText(50)
    origin = Part(OriginSchema())
    deadline_s = Seconds(WAIT_MAX_S, include_zero=False)
    delay_s = Seconds(WAIT_MAX_S, include_zero=True)
    lane = Choice("interactive", "bulk")

    @validates_schema
    def _delay_before_deadline(self, data: Mapping[str, Any], **_: Any) -> None:
        deadline_s = data.get("deadline_s")
        if deadline_s is not None and (data.get("delay_s") or 0) >= deadline_s:
            raise ValidationError("Not before the deadline: the job would never run.", "delay_s")
