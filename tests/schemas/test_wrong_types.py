"""Values of the wrong type: every public function of `schemas` answers with its own errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from marshmallow import ValidationError

import schemas
from schemas.gift_checkout import GiftCheckoutSchema
from schemas.options import OptionsSchema
from schemas.personalized_offer import PersonalizedOfferSchema

WRONG: list[Any] = [
    None, True, 5, -1, 10**5000, 1.5, float("nan"), float("inf"), 1j, Decimal("sNaN"),
    Decimal("1e999999"), b"\xff", "", "\n", "\ud800", "x" * 70_000, [], {}, set(), (), range(3),
    memoryview(b"x"), datetime.now(UTC), Ellipsis, object(), int, len, [None], [[[]]], [{}],
    {"a": Ellipsis}, {1: 2}, {None: None}, {(): []}, {"": {}}, {"\ud800": 1}, {"a": 10**5000},
    {"a": {"b": Decimal("sNaN")}}, {"x": float("inf")},
]  # fmt: skip
FIELDS = [
    *(("gift_checkout", name) for name in GiftCheckoutSchema().fields),
    *(("personalized_offer", name) for name in PersonalizedOfferSchema().fields),
    *(("options", name) for name in OptionsSchema().fields),
]


def validated(part: str, body: Any) -> None:
    """Validate a body, as the payload or as the options; an answer is as good as our error."""
    with suppress(ValidationError):
        if part == "options":
            schemas.validate("gift_checkout", {}, body)
        else:
            schemas.validate(part, body)


def places(value: Any, members: Mapping[str, Any]) -> list[Any]:
    """Give a value alone, in a list, and as each member of rows, columns and an object."""
    nested = [[{one: value}, [{one: value}], {one: [value]}] for one in members]
    return [value, [value], {"a": value}, *(one for three in nested for one in three)]


@pytest.mark.parametrize(("part", "name"), FIELDS)
def test_wrong_value_of_a_field_is_a_validation_error(part: str, name: str) -> None:
    """In any place of a field, alone, in rows, in columns and deeper."""
    schema: Any = {
        "gift_checkout": GiftCheckoutSchema, "personalized_offer": PersonalizedOfferSchema,
        "options": OptionsSchema,
    }[part]()  # fmt: skip
    field = schema.fields[name]
    members = getattr(getattr(field, "row", getattr(field, "schema", None)), "fields", {})
    for value in WRONG:
        for placed in places(value, members):
            validated(part, {name: placed})


@pytest.mark.parametrize("part", ["gift_checkout", "personalized_offer", "options"])
def test_wrong_body_is_a_validation_error(part: str) -> None:
    """A body of another type, and one with names that are none."""
    for value in WRONG:
        validated(part, value)
        with suppress(TypeError):  # not every value can be a name
            validated(part, {value: value})


@pytest.mark.parametrize("value", [None, 5, [], {}, "", "Strict", ...], ids=repr)
def test_wrong_kind_and_strictness_are_validation_errors(value: Any) -> None:
    """What may be written is listed."""
    with pytest.raises(ValidationError) as raised:
        schemas.validate(value, {})
    assert "gift_checkout" in raised.value.messages["kind"][0]
    with pytest.raises(ValidationError) as raised:
        schemas.validate("gift_checkout", {}, request_context=value)
    assert raised.value.messages == {"request_context": ["Must be one of: strict, relaxed."]}


@pytest.mark.parametrize(
    "call",
    [
        lambda value: schemas.rows_form(value, {}),
        lambda value: schemas.rows_form("gift_checkout", value),
        lambda value: schemas.rows_form("gift_checkout", {"subscription_items": value}),
        lambda value: schemas.rows_form("gift_checkout", {"item_tiers": {"price": value}}),
        schemas.flatten,
    ],
    ids=["kind", "payload", "table", "column", "messages"],
)
def test_wrong_form_is_a_validation_error(call: Callable[[Any], Any]) -> None:
    """What `rows_form` and `flatten` cannot read they refuse or give as it is."""
    for value in WRONG:
        with suppress(ValidationError):
            call(value)


@pytest.mark.parametrize("read", [schemas.read_hosted_page, schemas.read_offers])
def test_wrong_answer_is_a_value_error(read: Callable[[Any], Any]) -> None:
    """An answer of any shape is read or refused."""
    for value in WRONG:
        for body in (
            value,
            {"hosted_page": value, "personalized_offers": value},
            {"hosted_page": {"url": value, "id": value}, "personalized_offers": [value]},
            {"hosted_page": {"url": "https://x", "id": "x", "expires_at": value, "state": value},
             "personalized_offers": [{"id": "x"}], "expires_at": value, "brand": value},
        ):  # fmt: skip
            with suppress(ValueError):
                read(body)
