"""Every field against the bounds of the API's own description."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import schemas

DESCRIPTIONS = Path(__file__).parent.parent / "vectors" / "schemas"
KIND_OF = {"gift_request": "gift_checkout", "offer_request": "personalized_offer"}
LIMITS = {"int32": 2**31 - 1, "int64": 2**63 - 1}

# Fields whose text must be something: a value of the greatest length that is valid.
LONGEST = {
    "email": "a" * 58 + "@example.com",
    "locale": "en-US-x-" + "-".join(["abcdefgh"] * 4) + "-abcdef",
    "timezone": None,
    "redirect_url": "https://shop.example/" + "ü" * 229,
}

Refusal = Callable[..., dict[str, list[str]]]


def described() -> Iterator[tuple[str, tuple[str, ...], dict[str, Any], bool]]:
    """Yield every leaf that the descriptions name: kind, path, rules, is it a list."""
    for stem, kind in KIND_OF.items():
        description = json.loads((DESCRIPTIONS / f"{stem}.schema.json").read_text())
        yield from _leaves(kind, (), description)


def _leaves(
    kind: str, path: tuple[str, ...], node: dict[str, Any]
) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any], bool]]:
    for name, rules in node["properties"].items():
        if rules["type"] == "array":
            yield kind, (*path, name), rules["items"], True
        elif "properties" in rules:
            yield from _leaves(kind, (*path, name), rules)
        elif rules["type"] != "object":
            yield kind, (*path, name), rules, False


LEAVES = list(described())
TEXTS = [leaf for leaf in LEAVES if "maxLength" in leaf[2]]
NUMBERS = [leaf for leaf in LEAVES if leaf[2]["type"] == "integer"]
DECIMALS = [leaf for leaf in TEXTS if leaf[1][-1].endswith("_in_decimal")]


def name_of(leaf: Any) -> str:
    """Name a test case by the path of its field."""
    return ".".join(leaf[1]) if isinstance(leaf, tuple) else str(leaf)


def body(leaf: tuple[str, tuple[str, ...], dict[str, Any], bool], value: object) -> dict[str, Any]:
    """Return the smallest body with this value in this field."""
    kind, path, _, listed = leaf
    filled: Any = [value] if listed else value
    for name in reversed(path):
        filled = {name: filled}
    return ({"customer_id": "cust_1"} | filled) if kind == "personalized_offer" else filled


def path_of(leaf: tuple[str, tuple[str, ...], dict[str, Any], bool]) -> str:
    """Return the path under which an error of the first value is expected."""
    _, path, _, listed = leaf
    if listed and len(path) == 2:
        return f"{path[0]}.0.{path[1]}"
    return ".".join([*path, "0"] if listed else path)


def longest(leaf: tuple[str, tuple[str, ...], dict[str, Any], bool]) -> str | None:
    """Return a valid text of the greatest length allowed; None if there is no such text."""
    limit = leaf[2]["maxLength"]
    if leaf in DECIMALS:
        return "1" * (limit - 3) + ".25"
    if leaf[2].get("enum"):
        return None
    return LONGEST.get(leaf[1][-1], "ü" * limit)


def test_descriptions_name_every_field_of_the_schemas() -> None:
    """The descriptions and the schemas name the same fields, so no bound goes untested."""
    names = {(kind, path[0]) for kind, path, _, _ in LEAVES} | {("personalized_offer", "custom")}
    ours = {
        (kind, name)
        for kind, loaded in schemas.job._SCHEMAS.items()
        for name in loaded["strict"].fields
    }
    assert names == ours
    assert len(LEAVES) == 31


@pytest.mark.parametrize("leaf", TEXTS, ids=name_of)
def test_text_is_bounded_as_described(
    leaf: tuple[str, tuple[str, ...], dict[str, Any], bool], refusal: Refusal
) -> None:
    """The longest text is accepted and one character more is refused."""
    limit, valid = leaf[2]["maxLength"], longest(leaf)
    if valid is not None:
        assert len(valid) == limit
        assert refusal(leaf[0], body(leaf, valid), request_context="relaxed") == {}
    found = refusal(leaf[0], body(leaf, "1" * (limit + 1)), request_context="relaxed")
    assert found == {path_of(leaf): [f"Longer than {limit} characters."]}


@pytest.mark.parametrize("wrong", [1, 1.5, True, b"x", ["x"], {"x": "x"}], ids=repr)
@pytest.mark.parametrize("leaf", [leaf for leaf in TEXTS if leaf not in DECIMALS], ids=name_of)
def test_text_is_a_string(
    leaf: tuple[str, tuple[str, ...], dict[str, Any], bool], wrong: object, refusal: Refusal
) -> None:
    """Whatever is no string is refused under its path."""
    assert refusal(leaf[0], body(leaf, wrong), request_context="relaxed") == {
        path_of(leaf): ["Not a string."]
    }


@pytest.mark.parametrize(
    "wrong", ["a\nb", "a\rb", "a\x00b", "a\tb", "\x7f", "a\x85b", "a\u2028b", "\ud800"], ids=ascii
)
@pytest.mark.parametrize("leaf", [leaf for leaf in TEXTS if leaf not in DECIMALS], ids=name_of)
def test_text_holds_no_control_character(
    leaf: tuple[str, tuple[str, ...], dict[str, Any], bool], wrong: str, refusal: Refusal
) -> None:
    """No field of text takes a line break, a control character or half a surrogate pair."""
    if wrong == "a\tb" and leaf[1][-1] in {"user_agent", "url", "referrer_url"}:
        return  # a header may hold a tab, and so may what an app passes on
    assert refusal(leaf[0], body(leaf, wrong), request_context="relaxed") == {
        path_of(leaf): ["Control characters and line breaks are not allowed."]
    }


@pytest.mark.parametrize("leaf", NUMBERS, ids=name_of)
def test_number_is_bounded_as_described(
    leaf: tuple[str, tuple[str, ...], dict[str, Any], bool], refusal: Refusal
) -> None:
    """The least and greatest integers are accepted, their neighbours outside refused."""
    rules = leaf[2]
    least = 0 if leaf[1][-1] == "starting_unit" else rules.get("minimum", 0)
    greatest = LIMITS[rules["format"]]
    for value in (least, greatest):
        assert refusal(leaf[0], body(leaf, value)) == {}
    for value in (least - 1, greatest + 1):
        assert refusal(leaf[0], body(leaf, value)) == {
            path_of(leaf): [f"Must be between {least} and {greatest}."]
        }


@pytest.mark.parametrize("wrong", [1.0, 1.5, True, False, "1", Decimal(1), [1], {}], ids=repr)
@pytest.mark.parametrize("leaf", NUMBERS, ids=name_of)
def test_number_is_an_int(
    leaf: tuple[str, tuple[str, ...], dict[str, Any], bool], wrong: object, refusal: Refusal
) -> None:
    """A float, even a whole one, a boolean, a Decimal and a numeric string are no integers."""
    found = refusal(leaf[0], body(leaf, wrong))
    assert list(found) == [path_of(leaf)]
    assert found[path_of(leaf)][0].startswith("Not a whole number")


@pytest.mark.parametrize("leaf", DECIMALS, ids=name_of)
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("0", "0"),
        ("0.5", "0.5"),
        ("12.50", "12.50"),
        (Decimal("2.50"), "2.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("-0"), "0"),
        (Decimal(7), "7"),
    ],
    ids=repr,
)
def test_decimal_comes_out_plain(
    leaf: tuple[str, tuple[str, ...], dict[str, Any], bool], given: object, kept: str
) -> None:
    """A decimal goes out as plain digits, from a string or from a Decimal."""
    table, column = leaf[1]
    job = schemas.validate("gift_checkout", {table: [{column: given}]})
    assert job.payload == {table: [{column: kept}]}


@pytest.mark.parametrize("leaf", DECIMALS, ids=name_of)
@pytest.mark.parametrize(
    "wrong",
    [
        *("", "-1", "+1", ".5", "5.", "1e3", "1E3", "01", " 1", "1 ", "1,5", "1_0", "0x1", "NaN"),
        *("Infinity", "\u0663", "1\n", 1.5, 1, True, Decimal(-1), Decimal("NaN"), Decimal("-inf")),
        *(Decimal("1E+99999999"), Decimal("1E-99999999"), Decimal("9" * 200)),
    ],
    ids=ascii,
)
def test_decimal_is_refused_unless_plain(
    leaf: tuple[str, tuple[str, ...], dict[str, Any], bool], wrong: object, refusal: Refusal
) -> None:
    """Signs, exponents, blanks, floats and ints are refused in a decimal."""
    found = refusal(leaf[0], body(leaf, wrong))
    assert list(found) == [path_of(leaf)]


@pytest.mark.parametrize("value", ["in_app", "full_page"])
def test_layout_is_one_of_two(value: str, refusal: Refusal) -> None:
    """Both layouts are accepted, a third and another spelling are refused."""
    assert refusal("gift_checkout", {"layout": value}) == {}
    for wrong in ("modal", value.upper(), "", 1, [value]):
        assert refusal("gift_checkout", {"layout": wrong}) == {
            "layout": ["Must be one of: in_app, full_page."]
        }


def test_customer_of_an_offer_is_required(refusal: Refusal) -> None:
    """A request for offers needs a customer id that is not empty."""
    for wrong in ({}, {"customer_id": None}):
        assert refusal("personalized_offer", wrong) == {"customer_id": ["This field is required."]}
    assert refusal("personalized_offer", {"customer_id": ""}) == {"customer_id": ["Empty."]}


def test_nothing_of_a_gift_is_required(refusal: Refusal) -> None:
    """A gift checkout may be empty, as the API's description has it."""
    assert refusal("gift_checkout", {}) == {}
    assert schemas.validate("gift_checkout", {}).payload == {}


def test_payload_of_none_is_refused(refusal: Refusal) -> None:
    """It is a forgotten `return` of the app, and would make an empty checkout page."""
    for kind in schemas.KINDS:
        assert refusal(kind, None) == {
            "payload": ["Must be an object, not None: give {} for no fields."]
        }


@pytest.mark.parametrize("table", ["subscription_items", "item_tiers"])
def test_empty_item_price_is_refused(table: str, refusal: Refusal) -> None:
    """An item price without a name is a missing value, in either spelling of a table."""
    for given in ([{"item_price_id": ""}], {"item_price_id": [""]}):
        assert refusal("gift_checkout", {table: given}) == {f"{table}.0.item_price_id": ["Empty."]}


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example", "HTTP://shop.example:8443/done?x=1#y", "http://[::1]:80/",
        "https://user:word@shop.example/", "https://bücher.example/ä?q=a%20b", "http://localhost",
        "https://shop.example?order=1",
    ],
)  # fmt: skip
def test_redirect_url_is_a_web_address(url: str, refusal: Refusal) -> None:
    """With `http` or `https` and a host."""
    assert refusal("gift_checkout", {"redirect_url": url}) == {}


@pytest.mark.parametrize(
    "url",
    [
        "", "shop.example/done", "/done", "//shop.example", "javascript:alert(1)", "https://",
        "https:///done", "https:shop.example", "ftp://shop.example", "https://shop example/",
        " https://shop.example", "https://shop.example ", "https://:80/", "https://a@/",
        "https://shop.example:port/", "https://[::1/", "https://shop.example\\@evil.example/",
    ],
)  # fmt: skip
def test_redirect_url_that_is_no_web_address_is_refused(url: str, refusal: Refusal) -> None:
    """The field is named, its value is not."""
    assert refusal("gift_checkout", {"redirect_url": url}) == {
        "redirect_url": ["Not a web address: give one such as https://shop.example/done."]
    }


@pytest.mark.parametrize("name", ["user_agent", "url", "referrer_url"])
def test_tab_in_a_request_context_is_legal(
    name: str, offer: dict[str, Any], refusal: Refusal
) -> None:
    """HTTP allows a tab in a header that an app passes on; other controls it does not."""
    for text, wrong in (("a\tb", False), ("a\nb", True), ("a\x00b", True)):
        payload = offer | {"request_context": {**offer["request_context"], name: text}}
        assert bool(refusal("personalized_offer", payload)) is wrong


REQUIRED = ("user_agent", "locale", "timezone", "url")


@pytest.mark.parametrize("missing", REQUIRED)
def test_request_context_is_complete_when_strict(
    missing: str, offer: dict[str, Any], refusal: Refusal
) -> None:
    """Strict validation demands the four documented fields; relaxed validation does not."""
    context = {name: text for name, text in offer["request_context"].items() if name != missing}
    for left in (context, context | {missing: None}):
        payload = offer | {"request_context": left}
        assert refusal("personalized_offer", payload) == {
            f"request_context.{missing}": ["This field is required."]
        }
        assert refusal("personalized_offer", payload, request_context="relaxed") == {}


def test_request_context_may_be_left_out(offer: dict[str, Any], refusal: Refusal) -> None:
    """Without a request context there is nothing to demand of it."""
    payload = {name: value for name, value in offer.items() if name != "request_context"}
    assert refusal("personalized_offer", payload) == {}
    assert refusal("personalized_offer", payload | {"request_context": None}) == {}


@pytest.mark.parametrize(
    "email",
    ["ada@example.com", "a.b+c@sub.example.co.uk", "user.квіточка@example.com", "a@例え.jp"],
)
def test_email_of_any_script_is_accepted(email: str, refusal: Refusal) -> None:
    """An address may be in any script: the API is the judge of what it can write to."""
    assert refusal("personalized_offer", {"customer_id": "c", "email": email}) == {}


@pytest.mark.parametrize(
    "email",
    [
        *("", "ada", "@example.com", "ada@", "ada@localhost", "a b@example.com", "a@@example.com"),
        *("a@b@example.com", ".a@example.com", "a.@example.com", "a..b@example.com"),
        *("a@-example.com", "a@example-.com", "a@example..com", "a@example.com.", '"a"@b.com'),
        *("a@b.com, c@d.com", "<a@b.com>", "a@b\u3000c.com", "a@exa mple.com"),
    ],
    ids=ascii,
)
def test_email_that_is_none_is_refused(email: str, refusal: Refusal) -> None:
    """What cannot be an e-mail address is refused."""
    assert refusal("personalized_offer", {"customer_id": "c", "email": email}) == {
        "email": ["Not an e-mail address."]
    }
