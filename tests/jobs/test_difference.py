"""What differs between two requests under one key: by path, never by value."""

from __future__ import annotations

from typing import Any

import pytest

from worker.jobs.difference import differences, sketch

GIFT: dict[str, Any] = {
    "redirect_url": "https://shop.example/",
    "gifter": {"customer_id": "c"},
    "subscription_items": [{"item_price_id": "plan", "quantity": 1}, {"item_price_id": "addon"}],
    "coupon_ids": ["SPRING"],
}
OFFER: dict[str, Any] = {
    "customer_id": "c", "roles": ["admin"], "custom": {"Plan": "pro", "a b": 1},
    "request_context": {"locale": "en", "url": "u"},
}  # fmt: skip


def changed(
    before: dict[str, Any], after: dict[str, Any], kind: str = "gift_checkout", **options: Any
) -> tuple[str, ...]:
    """Name what differs; the options are those of the second request."""
    return differences(sketch(kind, before, {}), kind, after, options)


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({}, ()),
        ({"gifter": {"customer_id": "d"}}, ("payload.gifter.customer_id",)),
        ({"layout": "in_app"}, ("payload.layout",)),
        (
            {"subscription_items": [{"item_price_id": "plan", "quantity": 3},
                                    {"item_price_id": "addon"}]},
            ("payload.subscription_items.0.quantity",),
        ),
        (
            {"subscription_items": [{"item_price_id": "plan", "quantity": 1}]},
            ("payload.subscription_items.1.item_price_id",),
        ),
        ({"coupon_ids": ["SPRING", "MAY"]}, ("payload.coupon_ids.1",)),
    ],
)  # fmt: skip
def test_change_is_named_by_its_path(change: dict[str, Any], paths: tuple[str, ...]) -> None:
    """What is new, what is another one, and what was left out."""
    assert changed(GIFT, {**GIFT, **change}) == paths


def test_options_are_named() -> None:
    """What is skipped is one value; the origin has members."""
    assert changed(GIFT, GIFT, skip=["email"]) == ("options.skip",)
    assert changed(GIFT, GIFT, origin={"ip": "::1"}) == ("options.origin.ip",)
    before = sketch("gift_checkout", GIFT, {"skip": ["email"], "brand_id": "b"})
    assert differences(before, "gift_checkout", GIFT, {"skip": ["email", "webhooks"]}) == (
        "options.brand_id", "options.skip",
    )  # fmt: skip


def test_rows_and_columns_are_the_same() -> None:
    """The spelling of a table is no difference, and the order of fields is none."""
    columns = {"item_price_id": ["plan", "addon"], "quantity": [1, None]}
    turned = dict(reversed(list({**GIFT, "subscription_items": columns}.items())))
    assert changed(GIFT, turned) == ()


def test_free_names_are_shown_if_they_look_like_names() -> None:
    """A key of `custom` may be data."""
    after = {**OFFER, "custom": {"Plan": "free", "a b": 2}}
    assert changed(OFFER, after, "personalized_offer") == (
        "payload.custom.(unknown field)", "payload.custom.Plan",
    )  # fmt: skip


@pytest.mark.parametrize("rows", [0, 1, 5, 9, 10, 30, 900])
def test_sketch_stays_short(rows: int) -> None:
    """A request of many rows is told by its row, or by its table."""
    items = [{"item_price_id": f"plan-{n}", "quantity": n + 1} for n in range(rows)]
    before = {**GIFT, "subscription_items": items}
    assert len(sketch("gift_checkout", before, {})) <= 64
    for n in range(rows):
        after = [*items[:n], {"item_price_id": "other"}, *items[n + 1 :]]
        found = changed(before, {**before, "subscription_items": after})
        if found:
            assert all(path.startswith("payload.subscription_items") for path in found)
            assert len(found) <= 2


def test_values_stay_where_they_are() -> None:
    """A sketch has one byte of a value: thousands of guesses fit it."""
    before = sketch("personalized_offer", {"customer_id": "canary@example.com"}, {})
    assert b"canary" not in before
    fits = sum(
        not differences(before, "personalized_offer", {"customer_id": f"guess-{n}"}, {})
        for n in range(20_000)
    )
    assert 20 < fits < 200


def test_without_a_sketch_nothing_is_known() -> None:
    """Jobs of other producers have none, or write what they like."""
    for stored in (b"", b"*", b"\x00\xff"):
        assert differences(stored, "gift_checkout", GIFT, {}) == ()
