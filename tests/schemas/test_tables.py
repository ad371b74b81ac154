"""Items and tiers in both spellings."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas

VECTORS = Path(__file__).parent.parent / "vectors"
TABLES = ("subscription_items", "item_tiers")

Refusal = Callable[..., dict[str, list[str]]]

rows_of_items = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "item_price_id": st.sampled_from(["plan", "addon", "charge"]),
            "quantity": st.integers(1, 9) | st.none(),
            "unit_price": st.integers(0, 9),
        },
    ),
    max_size=5,
)


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Spell rows as columns, with gaps as None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def test_columns_keep_their_spelling() -> None:
    """Columns come out as columns: the order of the pairs on the wire follows the spelling."""
    params = json.loads((VECTORS / "gift_13.json").read_text())["params"]
    assert schemas.validate("gift_checkout", params).payload == params


@given(rows=rows_of_items)
def test_spellings_mean_the_same(rows: list[dict[str, Any]]) -> None:
    """Rows and columns of the same table have the same digest and the same rows."""
    as_rows = schemas.validate("gift_checkout", {"subscription_items": rows})
    as_columns = schemas.validate("gift_checkout", {"subscription_items": columns_of(rows)})
    assert as_rows.request_digest("acme") == as_columns.request_digest("acme")
    assert schemas.rows_form("gift_checkout", as_columns.payload) == as_rows.payload


@pytest.mark.parametrize("table", TABLES)
def test_gap_keeps_its_place(table: str) -> None:
    """A None in a column, and an empty or missing row, leave the places of the others alone."""
    columns = {
        "item_price_id": ["a", None, "c"],
        "price" if table == TABLES[1] else "quantity": [1],
    }
    job = schemas.validate("gift_checkout", {table: columns})
    assert job.payload == {table: columns}
    rows = schemas.rows_form("gift_checkout", job.payload)[table]
    assert [row.get("item_price_id") for row in rows] == ["a", None, "c"]
    gapped = schemas.validate("gift_checkout", {table: [{"item_price_id": "a"}, None, rows[2]]})
    assert gapped.payload[table] == [{"item_price_id": "a"}, {}, {"item_price_id": "c"}]


def test_gaps_at_the_end_are_dropped() -> None:
    """What is empty at the end of a table is nothing, and so is a table of nothing."""
    padded = {"item_price_id": ["a", None, None], "quantity": [None, None], "unit_price": None}
    for spelling in (padded, [{"item_price_id": "a"}, {}, None, {"quantity": None}]):
        rows = schemas.rows_form(
            "gift_checkout", schemas.validate("gift_checkout", {TABLES[0]: spelling}).payload
        )
        assert rows == {TABLES[0]: [{"item_price_id": "a"}]}
    for empty in ([], {}, [{}], [None], {"quantity": []}, {"quantity": [None]}):
        assert schemas.validate("gift_checkout", {TABLES[0]: empty}).payload == {}


def test_values_are_canonical_in_both_spellings() -> None:
    """A Decimal becomes text in a column as it does in a row."""
    columns = {"quantity_in_decimal": [Decimal("1.50"), None, Decimal("2E+1")]}
    job = schemas.validate("gift_checkout", {"subscription_items": columns})
    assert job.payload == {"subscription_items": {"quantity_in_decimal": ["1.50", None, "20"]}}


@pytest.mark.parametrize("table", TABLES)
def test_error_names_row_and_field_in_either_spelling(table: str, refusal: Refusal) -> None:
    """The third row's price id is found under the same path, however the table is spelled."""
    expected = {f"{table}.2.item_price_id": ["Not a string."]}
    assert refusal("gift_checkout", {table: [{}, {}, {"item_price_id": 3}]}) == expected
    assert refusal("gift_checkout", {table: {"item_price_id": ["a", None, 3]}}) == expected


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("wrong", ["plan", 1, True, 1.5, {1, 2}], ids=repr)
def test_table_is_rows_or_columns(table: str, wrong: object, refusal: Refusal) -> None:
    """Whatever is neither a list nor an object is refused."""
    assert refusal("gift_checkout", {table: wrong}) == {
        table: ["Neither a list of rows nor an object of columns."]
    }


@pytest.mark.parametrize("table", TABLES)
def test_shape_of_rows_and_columns_is_checked(table: str, refusal: Refusal) -> None:
    """A row is an object, a column a list, and both have known names only."""
    assert refusal("gift_checkout", {table: ["plan"]}) == {f"{table}.0": ["Not an object."]}
    assert refusal("gift_checkout", {table: {"item_price_id": "plan"}}) == {
        f"{table}.item_price_id": ["Not a list: a column is one."]
    }
    assert refusal("gift_checkout", {table: [{"nope": 1}]}) == {
        f"{table}.0.nope": ["Unknown field."]
    }
    assert refusal("gift_checkout", {table: {"nope": [1]}}) == {
        f"{table}.nope": ["Unknown field."]
    }
    assert refusal("gift_checkout", {table: {"Item_Price_Id": []}}) == {
        f"{table}.Item_Price_Id": ["Unknown field. Did you mean item_price_id?"]
    }
