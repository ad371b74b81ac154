"""Shortening of a request context whose addresses or user agent are longer than the API takes.

Real shop addresses are that long, and what the offer is chosen by stands at their beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.personalized_offer import URL_MAX, USER_AGENT_MAX

__all__ = ["shortened"]

#: The beginning of an escape such as %C3, which a cut would leave without its end.
_HALF_ESCAPE: Final = re.compile("%[0-9A-Fa-f]?$")

#: What may follow the path of an address, in the order in which it is dropped.
_TAILS: Final = ("#", "?")


def shortened(payload: Any) -> tuple[Any, tuple[str, ...]]:
    """Shorten what is too long in the `request_context` of a payload.

    An address loses its fragment, then its query, then its end; a user agent its end.

    Args:
        payload: of a personalized offer, as the caller gave it; it is not changed.

    Returns:
        The payload, a copy if something was shortened, and the paths of what was.
    """
    context = payload.get("request_context") if isinstance(payload, Mapping) else None
    if not isinstance(context, Mapping):
        return payload, ()
    found = {
        name: shorten(value)
        for name, (most, shorten) in _RULES.items()
        if isinstance(value := context.get(name), str) and len(value) > most
    }
    if not found:
        return payload, ()
    whole = {**payload, "request_context": {**context, **found}}
    return whole, tuple(f"request_context.{name}" for name in found)


def _url(text: str) -> str:
    for mark in _TAILS:
        text = text.partition(mark)[0]
        if len(text) <= URL_MAX:
            return text
    return _HALF_ESCAPE.sub("", text[:URL_MAX])


def _user_agent(text: str) -> str:
    return text[:USER_AGENT_MAX]


_RULES: Final[Mapping[str, tuple[int, Callable[[str], str]]]] = {
    "user_agent": (USER_AGENT_MAX, _user_agent),
    "url": (URL_MAX, _url),
    "referrer_url": (URL_MAX, _url),
}
