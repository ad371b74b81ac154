"""Suggestions for names that nobody knows: fields, kinds, options."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import schemas

Refusal = Callable[..., dict[str, list[str]]]


@pytest.mark.parametrize(
    ("kind", "payload", "path", "meant"),
    [
        ("gift_checkout", {"redirectUrl": "x"}, "redirectUrl", "redirect_url"),
        ("gift_checkout", {"Layout": "x"}, "Layout", "layout"),
        ("gift_checkout", {"gifter": {"customerid": "c"}}, "gifter.customerid", "customer_id"),
        ("gift_checkout", {"subscription_items": [{}, {"quantiy": 1}]},
         "subscription_items.1.quantiy", "quantity"),
        ("gift_checkout", {"subscription_items": {"item-price-id": ["p"]}},
         "subscription_items.item-price-id", "item_price_id"),
        ("personalized_offer", {"customer_id": "c", "request_context": {"time_zone": "UTC"}},
         "request_context.time_zone", "timezone"),
    ],
)  # fmt: skip
def test_unknown_field_is_asked_for(
    kind: str, payload: Any, path: str, meant: str, refusal: Refusal
) -> None:
    """In every object and in both spellings of a table."""
    found = refusal(kind, payload, request_context="relaxed")
    assert found[path] == [f"Unknown field. Did you mean {meant}?"]


def test_unknown_option_and_kind_are_asked_for(refusal: Refusal) -> None:
    """Options are fields too; a kind is one of two."""
    assert refusal("gift_checkout", {}, {"skips": ["email"]}) == {
        "options.skips": ["Unknown field. Did you mean skip?"]
    }
    for kind in ("gift-checkout", "giftCheckout", "gift_checkouts"):
        assert refusal(kind, {})["kind"][0].endswith(" Did you mean gift_checkout?")


def test_name_without_a_neighbour_is_not_asked_for(refusal: Refusal) -> None:
    """A wrong guess would send people the wrong way."""
    assert refusal("gift_checkout", {"meta_data": 1}) == {"meta_data": ["Unknown field."]}
    for name in (None, 5, b"skip", "", "x" * 100):
        assert schemas.did_you_mean(name, ["skip"]) == ""


def test_many_unknown_names_cost_little(refusal: Refusal) -> None:
    """Somebody who sends thousands of names does not hold a process up."""
    began = time.process_time()
    refusal("gift_checkout", {f"quantity_{n}": None for n in range(60_000)})
    refusal("gift_checkout", {f"item_price_{n}": 1 for n in range(3_000)})
    assert time.process_time() - began < 5
