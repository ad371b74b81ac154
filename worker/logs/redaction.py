"""The second line of defence: what looks private is taken out of every text.

The first line is that private values are never given to a log at all. This one knows e-mail
addresses, IP addresses, the addresses of hosted pages (whoever has one can open the page), API
keys, credentials in URLs and headers.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from worker.logs.events import COMMON_FIELDS, EVENTS

__all__ = ["REDACTED", "redact_event", "scrub"]

#: What stands in the place of a private value.
REDACTED: Final = "[redacted]"
#: Characters of one text that are looked at and kept: an error text needs fewer, and the time
#: that the patterns take stays bounded.
MAX_TEXT: Final = 4_000
#: Levels of lists and mappings that are kept; deeper ones are named by their type.
MAX_DEPTH: Final = 4

#: Names under which values are private whatever they look like.
PRIVATE_NAMES: Final = frozenset(
    {
        "api_key", "args", "authorization", "body", "brand", "content", "custom", "customer_id",
        "email", "external_user_id", "first_name", "gifter", "headers", "hosted_page", "ip",
        "kwargs", "last_name", "name", "offers", "options", "origin", "password", "payload",
        "redirect_url", "request_context", "result", "subscription_id", "token", "url", "user",
        "user_agent",
    }
)  # fmt: skip

_PAGE = re.compile(r"(?:https?:)?(?://[^\s/\"'<>]{1,300})?/pages/v\d+/[^\s\"'<>]*", re.IGNORECASE)
_USERINFO = re.compile(r"(://)[^\s/@\"']{1,500}@")
_HEADER = re.compile(r"(?i)\b(authorization[\"']?\s*[:=,]\s*).{1,500}")
_CREDENTIAL = re.compile(r"(?i)\b(basic|bearer)\s+[A-Za-z0-9+/=._~-]{6,}")
_API_KEY = re.compile(r"(?:test|live)_[A-Za-z0-9]{16,}")
_EMAIL = re.compile(r"[\w.!#$&'*+/=?^`{|}~%-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,3}(?![\w:])"
)

# Most texts are ids and codes; this tells them from the rest in one look.
_PLAIN = re.compile(r"(?!.*(?:test|live)_)[A-Za-z0-9_-]*\Z")
# Made by the chain itself.
_MADE_HERE: Final = frozenset({"timestamp", "level", "logger", "process"})
# Event to all the fields that its lines may carry.
_FIELDS: Final = {name: frozenset((*COMMON_FIELDS, *own)) for name, own in EVENTS.items()}
# Types whose values say nothing private.
_HARMLESS: Final = frozenset({bool, int, type(None)})


def scrub(text: str) -> str:
    """Take out of a text what looks private.

    Args:
        text: anything; past 4,000 characters it is cut.

    Returns:
        The text with `[redacted]` in the place of each find. Loopback addresses stay.
    """
    if _PLAIN.match(text) and len(text) <= MAX_TEXT:
        return text
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}..."
    if "/pages/" in text:
        text = _PAGE.sub(REDACTED, text)
    if "://" in text:
        text = _USERINFO.sub(rf"\1{REDACTED}@", text)
    text = _HEADER.sub(rf"\1{REDACTED}", text)
    text = _CREDENTIAL.sub(rf"\1 {REDACTED}", text)
    text = _API_KEY.sub(REDACTED, text)
    if "@" in text or "%40" in text:
        text = _EMAIL.sub(REDACTED, text)
    text = _IPV4.sub(_address, text)
    if ":" in text:
        text = _IPV6.sub(_address, text)
    return text


def _address(match: re.Match[str]) -> str:
    found = match.group()
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return found
    return found if address.is_loopback or address.is_unspecified else REDACTED


def redact_event(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Make a log line safe, whoever wrote it.

    Args:
        fields: of the line; `event` is its name or text.

    Returns:
        The same names. Of a known event, fields that it does not have are redacted; of any line,
        those with a private name; texts are scrubbed and objects are named by their type.
    """
    event = fields.get("event")
    declared = _FIELDS.get(event) if isinstance(event, str) else None
    safe: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _MADE_HERE or (name == "event" and declared is not None):
            safe[name] = value
        elif name in declared if declared is not None else _is_allowed(name):
            safe[name] = value if type(value) in _HARMLESS else _value(value, 0)
        else:
            safe[name] = REDACTED
    return safe


def _is_allowed(name: str) -> bool:
    return name in COMMON_FIELDS or name not in PRIVATE_NAMES


def _value(value: Any, depth: int) -> Any:
    if type(value) in _HARMLESS:
        return value
    if isinstance(value, str):
        return scrub(str(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no word for the others
    if depth >= MAX_DEPTH:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {
            scrub(str(name)): REDACTED if name in PRIVATE_NAMES else _value(one, depth + 1)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(one, depth + 1) for one in value]
    return f"<{type(value).__name__}>"
