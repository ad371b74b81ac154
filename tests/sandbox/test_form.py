"""Decoding of bracket form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sandbox.errors import Refusal
from worker.sandbox.form import decode


@pytest.mark.parametrize(
    ("body", "tree"),
    [
        (b"", {}),
        (b"layout=in_app", {"layout": "in_app"}),
        (b"coupon_ids%5B0%5D=WELCOME10&coupon_ids%5B1%5D=gift+code",
         {"coupon_ids": {0: "WELCOME10", 1: "gift code"}}),
        (b"gifter[customer_id]=c%201&gifter[locale]=fr-CA",
         {"gifter": {"customer_id": "c 1", "locale": "fr-CA"}}),
        (b"a%5Bb%5D%5B0%5D=x&a%5Bb%5D%5B2%5D=y", {"a": {"b": {0: "x", 2: "y"}}}),
        (b"a[b][0]=%D0%BA%D0%B2%D1%96%D1%82%D0%BA%D0%B0", {"a": {"b": {0: "квітка"}}}),
        (b"redirect_url=https%3A%2F%2Fx.example%2F%3Fa%3D1%26b%3Da%2520b",
         {"redirect_url": "https://x.example/?a=1&b=a%20b"}),
        (b"a=&b", {"a": "", "b": ""}),
        (b"a=1=2", {"a": "1=2"}),
        (b"a[10]=x&a[9]=y", {"a": {10: "x", 9: "y"}}),
    ],
)  # fmt: skip
def test_decode_reads_brackets(body: bytes, tree: dict[str, Any]) -> None:
    """Names, groups, lists and lists in groups come out as nested dicts of text."""
    assert decode(body) == tree


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"a=%ff", "invalid_request", None),
        (b"a=%4", "invalid_request", None),
        (b"a=%zz", "invalid_request", None),
        (b"a=1&a=2", "duplicate_entry", "a"),
        (b"a[b][0]=1&a[b][0]=2", "duplicate_entry", "a[b][0]"),
        (b"a=1&a[b]=2", "invalid_request", "a[b]"),
        (b"a[b]=1&a=2", "duplicate_entry", "a"),
        (b"a[]=1", "invalid_request", "a[]"),
        (b"a[b=1", "invalid_request", "a[b"),
        (b"[b]=1", "invalid_request", "[b]"),
        (b"a]=1", "invalid_request", "a]"),
        (b"a[b][0][c]=1", "invalid_request", "a[b][0][c]"),
    ],
)
def test_decode_refuses_what_is_malformed(body: bytes, code: str, param: str | None) -> None:
    """A broken escape, a bad name or a name given twice is an error that names it."""
    with pytest.raises(Refusal) as caught:
        decode(body)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


@given(st.binary(max_size=200) | st.text("ab[]=&%0 1+", max_size=60).map(str.encode))
def test_decode_reads_or_refuses_anything(body: bytes) -> None:
    """Whatever the bytes, there is a tree of text or a refusal; never another error."""
    try:
        tree = decode(body)
    except Refusal:
        return
    leaves: list[object] = [tree]
    while leaves:
        leaf = leaves.pop()
        assert isinstance(leaf, str | dict)
        leaves += leaf.values() if isinstance(leaf, dict) else ()
