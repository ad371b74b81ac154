"""The short way through a schema gives what marshmallow gives, or leaves the word to it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError

from schemas.base import _LEFT, JobSchema
from schemas.gift_checkout import GiftCheckoutSchema
from schemas.options import OptionsSchema
from schemas.part import Part
from schemas.personalized_offer import PersonalizedOfferSchema, RelaxedPersonalizedOfferSchema
from schemas.table import Table

SCHEMAS = (
    GiftCheckoutSchema(),
    PersonalizedOfferSchema(),
    RelaxedPersonalizedOfferSchema(),
    OptionsSchema(),
)
#: Good and bad values of all fields, in one sack.
LEAVES = st.one_of(
    st.sampled_from(
        ["", "in_app", "en-US", "xx-YY", "Europe/Paris", "a@b.example", "12.50", "text", "1e5",
         "line\nbreak", "skip,email", "email", "bulk", "10.0.0.1", "long" * 70]
    ),
    st.sampled_from([None, True, 0, 1, -1, 2**31, 2**63, 1.5, float("nan"), b"bytes"]),
)  # fmt: skip


class Subclass(dict[str, Any]):
    """A dict that may behave in its own way."""


def objects(schema: JobSchema, depth: int = 0) -> st.SearchStrategy[Any]:
    """Make objects that are valid, nearly valid or wild."""
    values: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in schema.fields.items():
        one: st.SearchStrategy[Any] = LEAVES | st.lists(LEAVES, max_size=2)
        if isinstance(field, Part) and depth < 2:
            one |= objects(field.schema, depth + 1)  # type: ignore[arg-type]
        elif isinstance(field, Table) and depth < 2:
            row = objects(field.row, depth + 1)
            cells = st.lists(LEAVES, max_size=3)
            names = st.sampled_from([*field.row.fields, "unknown"])
            one |= st.lists(row | st.none(), max_size=3) | st.dictionaries(names, cells)
        values[name] = one
    values["unknown"] = LEAVES
    some = st.sets(st.sampled_from(sorted(values)), max_size=4)
    drawn = some.flatmap(
        lambda names: st.fixed_dictionaries({n: values[n] for n in sorted(names)})
    )
    wild: st.SearchStrategy[Any] = drawn
    return wild | drawn.map(Subclass) | drawn.map(OrderedDict)


def told(load: Any, given: Any) -> tuple[str, Any, Any]:
    """Give the result with the order of its fields, or all that is wrong."""
    try:
        loaded = load(given)
    except ValidationError as error:
        return "wrong", error.messages, None
    return "right", repr(loaded), None if loaded is None else list(loaded)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda one: type(one).__name__)
@given(data=st.data())
def test_short_way_gives_what_marshmallow_gives(schema: JobSchema, data: st.DataObject) -> None:
    """Whatever comes in, both ways give the same result in the same order, or the same faults."""
    value = data.draw(objects(schema) | LEAVES)
    assert told(schema.load, value) == told(lambda one: Schema.load(schema, one), value)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"redirect_url": "https://shop.example/thanks"},
        {"subscription_items": [{"item_price_id": "plan", "quantity": 1}], "coupon_ids": ["a"]},
        {"subscription_items": {"item_price_id": ["plan"], "quantity": [1]}},
        {"gifter": {"customer_id": "ada", "locale": "en-US"}, "layout": "in_app"},
    ],
)
def test_short_way_is_taken_by_good_payloads(payload: dict[str, Any]) -> None:
    """A good payload does not go through marshmallow's own loading."""
    assert GiftCheckoutSchema()._taken(payload) is not _LEFT


def test_short_way_is_closed_where_a_hook_looks_at_several_fields() -> None:
    """A schema with a hook of its own beside the base's says that its fields are not alone."""
    for schema in SCHEMAS:
        hooks = [hook for found in schema._hooks.values() for hook in found]
        assert schema.fields_alone == (len(hooks) == 1)


@given(st.lists(st.dictionaries(st.sampled_from(["item_price_id", "quantity"]), LEAVES)))
@example([{"item_price_id": "plan"}, {}, {"quantity": 0}])
def test_short_way_of_rows_names_the_same_rows(rows: list[dict[str, Any]]) -> None:
    """Faults in rows come out under the index of their row, by either way."""
    schema = GiftCheckoutSchema().fields["subscription_items"].row  # type: ignore[attr-defined]
    assert told(lambda one: schema.load(one, many=True), rows) == told(
        lambda one: Schema.load(schema, one, many=True), rows
    )
