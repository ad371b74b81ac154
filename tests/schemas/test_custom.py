"""The free object of an offer: any JSON, and nothing else."""

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
from schemas.free_object import DEPTH_MAX

VECTORS = Path(__file__).parent.parent / "vectors"

Refusal = Callable[..., dict[str, list[str]]]

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
).filter(lambda value: "inf" not in repr(value))


def custom_of(value: Any) -> Any:
    """Return what becomes of a value under `custom.x`."""
    job = schemas.validate("personalized_offer", {"customer_id": "c", "custom": {"x": value}})
    return job.payload["custom"].get("x")


def nested(levels: int, kind: str) -> Any:
    """Return a value of so many levels of lists or objects."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


@given(value=json_values)
def test_json_comes_through_unchanged(value: Any) -> None:
    """Every finite JSON value of reasonable size comes out equal, key case and all."""
    assert custom_of(value) == value


def test_key_case_is_kept() -> None:
    """The keys are the merchant's own: viewCount stays viewCount."""
    params = json.loads((VECTORS / "offer_04.json").read_text())["params"]
    custom = schemas.validate("personalized_offer", params).payload["custom"]
    assert list(custom) == ["viewCount", "Nested", "cf_KeepCase", "empty"]
    assert custom["Nested"] == {"Deep_Key": [1, 2.5, None, True, {"InnerKey": "v"}]}
    assert custom["cf_KeepCase"] == {"Lower_Me": 1}


def test_none_is_stripped_from_objects_and_kept_in_lists() -> None:
    """A key without a value goes at every level; a gap in a list keeps its neighbours' places."""
    assert custom_of({"a": None, "b": {"c": None}, "d": [None, {"e": None}]}) == {
        "b": {},
        "d": [None, {}],
    }


@pytest.mark.parametrize(
    ("given", "kept"), [("1.5", "1.5"), ("-2.50", "-2.50"), ("1E+3", "1000"), ("-0", "0")]
)
def test_decimal_becomes_text(given: str, kept: str) -> None:
    """A Decimal goes out as plain text, as everywhere; the SDK fails on it."""
    assert custom_of(Decimal(given)) == kept
    assert type(custom_of(Decimal(given))) is str


@pytest.mark.parametrize(
    "wrong",
    [
        *(float("nan"), float("inf"), float("-inf"), json.loads("1e400"), Decimal("NaN")),
        *(
            2**63,
            -(2**63) - 1,
            10**400,
            b"bytes",
            {1, 2},
            range(2),
            1j,
            "\ud800",
            "a\x00b",
            "\x1b",
        ),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_is_not_json_is_refused(wrong: object, refusal: Refusal) -> None:
    """NaN, infinity, more than 64 bits, bytes, sets, NUL and half pairs are refused by path."""
    payload = {"customer_id": "c", "custom": {"x": [0, {"y": wrong}]}}
    assert list(refusal("personalized_offer", payload)) == ["custom.x.1.y"]


@pytest.mark.parametrize("key", [1, None, True, ("a",), 1.5, b"k"], ids=repr)
def test_key_is_a_string(key: object, refusal: Refusal) -> None:
    """A key that is no string is refused, not turned into one."""
    found = refusal("personalized_offer", {"customer_id": "c", "custom": {"x": {key: 1}}})
    assert list(found.values()) == [["A key is a string."]]


def test_line_breaks_and_tabs_are_text() -> None:
    """A text of the merchant may have lines."""
    assert custom_of("a\r\n\tb") == "a\r\n\tb"


@pytest.mark.parametrize("kind", ["list", "object"])
def test_depth_is_bounded(kind: str, refusal: Refusal) -> None:
    """So many levels are accepted, and one more is refused, without recursing any deeper."""
    assert custom_of(nested(DEPTH_MAX - 1, kind)) == nested(DEPTH_MAX - 1, kind)
    for levels in (DEPTH_MAX, 5_000):
        payload = {"customer_id": "c", "custom": {"x": nested(levels, kind)}}
        found = refusal("personalized_offer", payload)
        assert list(found.values()) == [[f"Deeper than {DEPTH_MAX} levels."]]


@pytest.mark.parametrize("wrong", ["x", 1, [1], True], ids=repr)
def test_custom_is_an_object(wrong: object, refusal: Refusal) -> None:
    """`custom` itself is an object."""
    payload = {"customer_id": "c", "custom": wrong}
    assert refusal("personalized_offer", payload) == {"custom": ["Not an object."]}
