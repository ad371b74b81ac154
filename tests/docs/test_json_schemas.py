"""The JSON Schemas of docs/json_schemas accept and refuse what the marshmallow schemas do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import marshmallow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import schemas

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "other_languages.md").read_text(encoding="utf-8")
VECTORS = Path(__file__).resolve().parents[1] / "vectors"
DOCUMENTS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((DOCS / "json_schemas").glob("*.json"))
}
VALIDATORS = {name: Draft202012Validator(one) for name, one in DOCUMENTS.items()}


def accepted(name: str, value: Mapping[str, Any]) -> bool:
    """Say whether the marshmallow schema of a document accepts a value."""
    job: Any = (name.removesuffix("_relaxed"), value, {})
    if name == "options":
        job = ("gift_checkout", {}, value)
    try:
        schemas.validate(
            *job, request_context="relaxed" if name.endswith("_relaxed") else "strict"
        )
    except marshmallow.ValidationError:
        return False
    return True


#: Values of every sort: each is tried in every field of every object.
TEXTS = [
    "", "a", "acme", "in_app", "full_page", "bulk", "interactive", "webhooks", "email, actions",
    " webhooks ,", "nothing", "a b", " a", "a ", "a\n", "a\tb", "a\x7fb", "a\x85b", "a\u2028b",
    "\x00", "ünïcode", "顧客", "🌸", "a@b.co", "a@b", "a@@b.co", "a.b@c-d.e_f", ".a@b.co",
    "a@-b.co", "a@b-.co", "a@b.co.", "a@b.co\n", "ä@ü.ö", "a b@c.de", 'a"b@c.de', "a\u3000@b.co",
    "a@b\u2003.co", "0", "00", "1", "-1", "1.50", "1.", ".5", "1e3", "1\n", "0.0", "٣",
    "x" * 33, "9" * 33, "9" * 34, "9" * 39, "9" * 40, "x" * 50, "x" * 51, "x" * 64, "x" * 65,
    "x" * 70, "x" * 71, "x" * 100, "x" * 101, "x" * 150, "x" * 151, "x" * 250, "x" * 251,
    "https://shop.example", "HTTP://u:p@shop.example:80/a?b#c", "http://[::1]", "https://", "//a",
    "https:a", "ftp://a.b", "https://a b", "https://a\u3000b", "https://:80", "https://a@", "http://ä",
    "https://a:x", "https://a\\b", "https://a/\\b", " https://a", "https://a ", "https://a@b@c",
    "https://[::1", "https://a\n", "https://a\tb",
    "x" * 255, "x" * 256, "🌸" * 50, "🌸" * 51,
    f"{'x' * 66}@b.c", f"{'x' * 67}@b.c", f"{'x' * 250}@b.c", f"{'x' * 251}@b.c",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 0.5, -0.5, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 31_622_400, 31_622_401, 1e300,
]  # fmt: skip
OTHERS: list[Any] = [
    None, True, False, [], {}, [None], ["a"], ["webhooks", "email"], ["nothing"], [1], [["a"]],
    ["x" * 50, "x" * 51], ["x" * 100, "x" * 101], {"a": 1}, [{}], [{"quantity": 1}],
    [{"quantity": 0}],
    {"quantity": [1, None]}, {"quantity": None}, {"quantity": 1}, [None, {"item_price_id": "a"}],
    [{"item_price_id": ["a"]}], {"item_price_id": ["a", 1]}, {"nothing": ["a"]},
    [{"nothing": None}],
    {"price": [0], "starting_unit": [0, 2**31]}, {"customer_id": "a"}, {"locale": None},
    {"user": "a@b.co"},
    {"ip": "1.2.3.4"}, {"device": " a"}, {"url": "a"}, {"a": {"b": [None, "c", {"d": False}]}},
    {"a\n": 1}, {"a\x00": 1}, {"a\x00": None}, {"a": "b\x00"}, {"a": "b\tc\n"}, {"a": ["b\x7f"]},
]  # fmt: skip
VALUES = [*TEXTS, *NUMBERS, *OTHERS]

#: What a JSON Schema cannot say: document, value, and where the page lists it.
BEYOND = [
    ("gift_checkout", {"subscription_items": [{"quantity": 10.0}]}, "10.0"),
    ("gift_checkout", {"gifter": {"locale": "xx-US"}}, "locale"),
    ("personalized_offer", {
        "customer_id": "a",
        "request_context": {"user_agent": "a", "locale": "en", "timezone": "Mars/X", "url": "u"},
     }, "time zone"),
    ("personalized_offer", {"customer_id": "a", "custom": {"a": 2**63}}, "64 bits"),
    ("personalized_offer", {"customer_id": "a", "custom": {"a": "\ud800"}}, "surrogate"),
    ("personalized_offer", {"customer_id": "a", "custom": {"a": [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}},
     "16 levels"),
    ("gift_checkout", {"coupon_ids": ["x" * 100] * 700}, "65,536 bytes"),
    ("options", {"deadline_s": 5, "delay_s": 5}, "`delay_s`"),
    ("options", {"origin": {"ip": "1.2.3.400"}}, "`origin.ip`"),
]  # fmt: skip


def leaves(schema: Any) -> list[tuple[list[str], dict[str, Any]]]:
    """Give each property of a document's objects, by its path."""
    found = []
    for name, one in schema.get("properties", {}).items():
        found.append(([name], one))
        found += [([name, *path], leaf) for path, leaf in leaves(one)]
    return found


def whole(document: str, path: list[str], value: Any) -> dict[str, Any]:
    """Give a payload that holds the value at the path and is good elsewhere."""
    base: dict[str, Any] = {} if document in {"options", "gift_checkout"} else {"customer_id": "a"}
    for name in reversed(path[1:]):
        context = {"user_agent": "a", "locale": "en", "timezone": "UTC", "url": "u"}
        value = {**(context if path[0] == "request_context" else {}), name: value}
    return {**base, path[0]: value}


def beyond(document: str, path: list[str], value: Any) -> bool:
    """Say whether the answer rests on a check that the page lists as beyond a JSON Schema."""
    if path[-1] in {"locale", "timezone", "ip"}:
        return isinstance(value, str)
    return path == ["custom"] and isinstance(value, int | float)


def rows(document: str) -> list[tuple[list[str], Any]]:
    """Give every field of a document with every value."""
    fields = [path for path, _ in leaves(DOCUMENTS[document])]
    return [(path, value) for path in fields for value in VALUES]


def cells(document: str) -> list[tuple[list[str], Any]]:
    """Give every cell of a document's tables with every value, in a row and in a column."""
    found: list[tuple[list[str], Any]] = []
    for name, one in DOCUMENTS[document]["properties"].items():
        for column in next(
            (x["properties"] for x in one.get("anyOf", []) if "properties" in x), {}
        ):
            for value in VALUES:
                found += [([name], [{column: value}]), ([name], {column: [None, value]})]
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_is_a_json_schema(name: str) -> None:
    """Each file is valid in the dialect that it names, and its patterns can be read."""
    assert DOCUMENTS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(DOCUMENTS[name])
    patterns = re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(DOCUMENTS[name]))
    for pattern in patterns:
        text = json.loads(f'"{pattern}"')
        assert re.compile(text)
        assert "(?" not in text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_agrees_on_every_value_in_every_field(name: str) -> None:
    """Each field takes and refuses the same values, and both answers occur."""
    answers = set()
    for path, value in [*rows(name), *cells(name)]:
        if beyond(name, path, value):
            continue
        payload = whole(name, path, value)
        expected = accepted(name, payload)
        assert VALIDATORS[name].is_valid(payload) == expected, (path, value)
        answers.add(expected)
    assert answers == {True, False}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_agrees_on_unknown_and_missing_fields(name: str) -> None:
    """An unknown field is refused at every depth, and so is an object that lacks one."""
    for payload in (
        {},
        {"nothing": 1},
        {"nothing": None},
        {"customer_id": None},
        {"origin": {"x": 1}},
    ):
        assert VALIDATORS[name].is_valid(payload) == accepted(name, payload)
    for context in ({}, {"url": "u"}, {"url": None}):
        payload = {"customer_id": "a", "request_context": context}
        assert VALIDATORS[name].is_valid(payload) == accepted(name, payload)
    good = {"user_agent": "a", "locale": "en", "timezone": "UTC", "url": "u"}
    for missing in good:
        payload = {
            "customer_id": "a",
            "request_context": {k: v for k, v in good.items() if k != missing},
        }
        assert VALIDATORS[name].is_valid(payload) == accepted(name, payload)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_agrees_on_mixtures(name: str, data: st.DataObject) -> None:
    """Payloads of several fields, rows and columns, good and bad, get the same answer."""
    numbers = st.one_of(st.integers(-2, 3), st.sampled_from([2**31 - 1, 2**31]))
    cell = st.one_of(st.none(), numbers, st.text(max_size=4), st.booleans())
    known = [
        "item_price_id",
        "quantity",
        "unit_price_in_decimal",
        "ending_unit",
        "price",
        "nothing",
    ]
    table = st.one_of(
        st.lists(st.one_of(st.none(), st.dictionaries(st.sampled_from(known), cell)), max_size=3),
        st.dictionaries(st.sampled_from(known), st.one_of(st.none(), st.lists(cell, max_size=3))),
    )
    free = st.recursive(
        st.one_of(cell, st.floats(allow_nan=False, allow_infinity=False)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    )
    texts = st.one_of(st.none(), st.text(max_size=6), st.sampled_from(TEXTS))
    names = [path[0] for path, _ in leaves(DOCUMENTS[name])]
    payload: dict[str, Any] = {}
    for field in data.draw(st.lists(st.sampled_from(names), max_size=4, unique=True)):
        tables = field in {"subscription_items", "item_tiers"}
        payload[field] = data.draw(table if tables else free if field == "custom" else texts)
    assert VALIDATORS[name].is_valid(payload) == accepted(name, payload)


#: Requests captured from the official SDK; two hold what JSON cannot: decimals, or a float that
#: stands for a whole number.
CAPTURED = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))["params"] or {}
    for path in sorted(VECTORS.glob("*.json"))
    if path.stem not in {"gift_06", "offer_11"}
}


@pytest.mark.parametrize("vector", CAPTURED)
def test_document_agrees_on_captured_requests(vector: str) -> None:
    """Parameters that the official SDK was given get the same answer."""
    name = "gift_checkout" if vector.startswith("gift") else "personalized_offer"
    assert VALIDATORS[name].is_valid(CAPTURED[vector]) == accepted(name, CAPTURED[vector])


@pytest.mark.parametrize(("name", "value", "listed"), BEYOND, ids=[one[2] for one in BEYOND])
def test_what_a_document_cannot_say_is_listed(name: str, value: Any, listed: str) -> None:
    """The JSON Schema takes it, marshmallow does not, and the page says so."""
    assert VALIDATORS[name].is_valid(value)
    assert not accepted(name, value)
    section = PAGE.split("\n## What a JSON Schema cannot say\n")[1].split("\n## ")[0]
    assert listed in " ".join(section.split())


def test_every_check_beyond_is_shown() -> None:
    """The page's list has one line for each case above, and one for the two that must agree."""
    section = PAGE.split("\n## What a JSON Schema cannot say\n")[1].split("\n## ")[0]
    assert len(re.findall(r"^- ", section, re.MULTILINE)) == len(BEYOND) + 1
    disagreeing = ({"business_entity_id": "a"}, {"business_entity_id": "b"})
    with pytest.raises(marshmallow.ValidationError):
        schemas.validate("gift_checkout", *disagreeing)
    assert VALIDATORS["gift_checkout"].is_valid(disagreeing[0])
    assert VALIDATORS["options"].is_valid(disagreeing[1])
    assert "`business_entity_id`" in section
