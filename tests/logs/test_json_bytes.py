"""JSON as it is published and logged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.logs.json_bytes import json_bytes

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_json_bytes_read_back_the_same(value: dict[str, Any]) -> None:
    """Whatever JSON can say comes back: long integers and halves of surrogate pairs too."""
    assert json.loads(json_bytes(value)) == value


def test_json_bytes_are_short_and_readable() -> None:
    """No blanks, and letters of any script as they are."""
    assert (
        json_bytes({"name": "Åsa", "n": [1, 2**70]}) == b'{"name":"\\u00c5sa","n":[1,%d]}' % 2**70
    )
    assert json_bytes({"name": "Åsa", "n": [1, None]}) == '{"name":"Åsa","n":[1,null]}'.encode()


def test_json_bytes_refuse_what_json_has_not() -> None:
    """An object of Python's own is a mistake, not a text."""
    with pytest.raises(TypeError):
        json_bytes({"a": {1, 2}})
