"""What the API answers, read leniently.

Unknown attributes are kept and documented ones may be missing: the API adds attributes without
notice, and its own samples leave out what its specification requires. Only what makes an answer
worth having is demanded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: A time after this (the year 5138) is no Unix time in seconds.
_TIME_MAX = 10**11


def read_hosted_page(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read the answer to a gift checkout.

    Returns:
        All attributes of the hosted page; of these `id` and `url` are texts, `state` a text or
        None, `expires_at` Unix seconds or None.

    Raises:
        ValueError: no hosted page with an id and a web address in it.
    """
    page = _object(body).get("hosted_page")
    if not isinstance(page, Mapping):
        raise ValueError("the answer holds no hosted page")  # noqa: TRY004  (one error for all)
    url = page.get("url")
    if not isinstance(url, str) or not url.lower().startswith(("https://", "http://")):
        raise ValueError("the hosted page has no web address")
    return {
        **page,
        "id": _name(page.get("id"), "the hosted page has no id"),
        "url": url,
        "state": state if isinstance(state := page.get("state"), str) else None,
        "expires_at": _unix_s(page.get("expires_at")),
    }


def read_offers(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read the answer to a request for offers; no offer is an answer too.

    Returns:
        `offers`: list of offers with all their attributes, each with an `id`; `expires_at`: Unix
        seconds or None; `brand`: an object or None.

    Raises:
        ValueError: no list of offers, or an offer without an id.
    """
    offers = _object(body).get("personalized_offers")
    if not isinstance(offers, list) or not all(isinstance(offer, Mapping) for offer in offers):
        raise ValueError("the answer holds no list of offers")
    brand = body.get("brand")
    return {
        "offers": [
            {**offer, "id": _name(offer.get("id"), "an offer has no id")} for offer in offers
        ],
        "expires_at": _unix_s(body.get("expires_at")),
        "brand": dict(brand) if isinstance(brand, Mapping) else None,
    }


def _object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise ValueError("the answer is no object")  # noqa: TRY004  (one error for all)
    return body


def _name(value: object, problem: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(problem)
    return value


def _unix_s(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _TIME_MAX:
        return value
    return None
