"""Shortening of a request context that is longer than the API takes."""

from __future__ import annotations

import random
from typing import Any

import pytest

import schemas

SHOP = "https://shop.example/"


def context(**fields: Any) -> dict[str, Any]:
    """Give an offer with this request context."""
    return {"customer_id": "c", "request_context": fields}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (f"{SHOP}p?q=1#{'f' * 300}", f"{SHOP}p?q=1"),
        (f"{SHOP}p?{'q' * 300}#f", f"{SHOP}p"),
        (f"{SHOP}p#{'f' * 300}?q", f"{SHOP}p"),
        (f"{SHOP}{'p' * 300}?q#f", f"{SHOP}{'p' * 229}"),
        (f"{SHOP}{'p' * 227}%C3%A4", f"{SHOP}{'p' * 227}"),
        (f"{SHOP}{'p' * 228}%C3%A4", f"{SHOP}{'p' * 228}"),
        (f"{SHOP}{'p' * 226}%C3%A4", f"{SHOP}{'p' * 226}%C3"),
        (f"{SHOP}{'ä' * 300}", f"{SHOP}{'ä' * 229}"),
    ],
)
@pytest.mark.parametrize("name", ["url", "referrer_url"])
def test_address_loses_fragment_then_query_then_its_end(name: str, given: str, left: str) -> None:
    """As little as needed goes, and no escape is cut in half."""
    payload, paths = schemas.shortened(context(**{name: given}))
    assert payload["request_context"] == {name: left}
    assert paths == (f"request_context.{name}",)


def test_user_agent_loses_its_end() -> None:
    """The API takes 255 characters."""
    payload, paths = schemas.shortened(context(user_agent="u" * 300, locale="en"))
    assert payload == context(user_agent="u" * 255, locale="en")
    assert paths == ("request_context.user_agent",)


def test_what_fits_stays_as_it_is() -> None:
    """The same object comes back, and what is given is never changed."""
    longest = context(url="u" * 250, user_agent="ä" * 255, referrer_url=f"{SHOP}#f")
    assert schemas.shortened(longest) == (longest, ())
    assert schemas.shortened(longest)[0] is longest
    too_long = context(url="u" * 251)
    schemas.shortened(too_long)
    assert too_long == context(url="u" * 251)


@pytest.mark.parametrize(
    "payload", [None, 5, [], {}, {"request_context": 5}, context(url=5), context(url=["u" * 300])],
    ids=repr,
)  # fmt: skip
def test_what_is_no_context_is_left_to_validation(payload: Any) -> None:
    """Values of other types are told by their fields."""
    assert schemas.shortened(payload) == (payload, ())


def test_shortened_addresses_are_valid() -> None:
    """Whatever an app passes on, validation takes what comes out."""
    rng = random.Random(1)
    for _ in range(500):
        text = SHOP + "".join(rng.choices("ap/?#%41ä&=", k=rng.randint(200, 600)))
        fields = {"user_agent": text, "locale": "en", "timezone": "UTC", "url": text}
        payload, _ = schemas.shortened(context(**fields, referrer_url=text))
        assert schemas.validate("personalized_offer", payload).payload == payload
        assert schemas.shortened(payload) == (payload, ())
