"""A job as a whole: its canonical form, its digest, its bounds and its errors."""

from __future__ import annotations

import hashlib
import json
import pickle
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas

Refusal = Callable[..., dict[str, list[str]]]

CANARY = "canary-7f3a@example.com"


def test_valid_job_is_canonical(gift: dict[str, Any], offer: dict[str, Any]) -> None:
    """A job that is already canonical comes out equal, in the caller's order, and stays so."""
    for kind, payload in (("gift_checkout", gift), ("personalized_offer", offer)):
        job = schemas.validate(kind, payload, {"skip": "email", "delay_s": 1})
        assert json.dumps(job.payload) == json.dumps(payload)
        assert schemas.validate(kind, job.payload, job.options) == job
        assert pickle.loads(pickle.dumps(job)) == job


def test_validation_leaves_the_input_alone(gift: dict[str, Any]) -> None:
    """The caller's own objects are neither changed nor shared."""
    before = json.dumps(gift)
    job = schemas.validate("gift_checkout", gift)
    job.payload["gifter"]["customer_id"] = "changed"
    job.payload["subscription_items"][0]["quantity"] = 9
    job.payload["coupon_ids"].append("MORE")
    assert json.dumps(gift) == before


def test_none_is_stripped_everywhere() -> None:
    """None means not given, in objects and in lists of texts."""
    gift = {"layout": None, "gifter": {"locale": None}, "coupon_ids": [None, "A", None]}
    assert schemas.validate("gift_checkout", gift).payload == {"coupon_ids": ["A"]}
    offer = {"customer_id": "c", "roles": ["a", None], "email": None, "custom": None}
    assert schemas.validate("personalized_offer", offer).payload == {
        "customer_id": "c",
        "roles": ["a"],
    }


def test_empty_containers_stay_in_json_and_vanish_from_forms() -> None:
    """A form cannot carry an empty list or object; JSON can."""
    assert schemas.validate("gift_checkout", {"coupon_ids": [], "gifter": {}}).payload == {}
    offer = {"customer_id": "c", "roles": [], "custom": {}}
    assert schemas.validate("personalized_offer", offer).payload == offer


def test_enum_of_text_comes_out_as_text() -> None:
    """A member of a text enumeration is its text."""

    class Layout(StrEnum):
        """A member of an app's own."""

        IN_APP = "in_app"

    payload = schemas.validate("gift_checkout", {"layout": Layout.IN_APP}).payload
    assert type(payload["layout"]) is str
    assert payload == {"layout": "in_app"}


def test_digest_is_of_the_request_alone(gift: dict[str, Any]) -> None:
    """When a job runs is no part of its digest; what it sends, and where, is."""

    def digest(payload: Any, options: Any = None, site: str = "acme") -> str:
        return schemas.validate("gift_checkout", payload, options).request_digest(site)

    plain = digest(gift)
    assert len(plain) == 64
    assert digest(dict(reversed(gift.items()))) == plain
    assert digest(gift, {"deadline_s": 9, "delay_s": 1, "lane": "bulk"}) == plain
    others = [
        digest(gift, site="acme-test"),
        digest(gift | {"layout": "full_page"}),
        digest(gift | {"coupon_ids": gift["coupon_ids"][::-1]}),
        digest(gift, {"skip": "email"}),
        digest(gift, {"business_entity_id": "be_eu_1"}),
        digest(gift, {"brand_id": "brand_1"}),
        digest(gift, {"origin": {"ip": "::1"}}),
    ]
    assert len({plain, *others}) == len(others) + 1


def test_digest_is_pinned() -> None:
    """The digest is stored with jobs, so a new release must compute the same."""
    job = schemas.validate("personalized_offer", {"customer_id": "ü"}, {"skip": ["email"]})
    text = (
        b'{"kind":"personalized_offer","options":{"skip":["email"]},'
        b'"payload":{"customer_id":"\\u00fc"},"site":"acme-test"}'
    )
    assert job.request_digest("acme-test") == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("kind", ["gift", "", "GIFT_CHECKOUT", None, 1, ["gift_checkout"]])
def test_unknown_kind_is_refused(kind: Any, refusal: Refusal) -> None:
    """A kind that does not exist is refused under its own path."""
    near = " Did you mean gift_checkout?" if kind == "GIFT_CHECKOUT" else ""
    assert refusal(kind, {}) == {
        "kind": [f"Must be one of: gift_checkout, personalized_offer.{near}"]
    }


@pytest.mark.parametrize("payload", [[], "x", 1, True, [{}]], ids=repr)
def test_payload_is_an_object(payload: object, refusal: Refusal) -> None:
    """A payload that is no object is refused as a whole."""
    assert refusal("gift_checkout", payload) == {"payload": ["Not an object."]}


@pytest.mark.parametrize("name", ["Redirect_URL", "LAYOUT", "cf_note", "pass_thru_content"])
def test_unknown_field_is_refused(name: str, refusal: Refusal) -> None:
    """Another case of a known name, and custom fields, are unknown: a guess is only asked."""
    near = {"Redirect_URL": " Did you mean redirect_url?", "LAYOUT": " Did you mean layout?"}
    assert refusal("gift_checkout", {name: "x"}) == {name: [f"Unknown field.{near.get(name, '')}"]}


@pytest.mark.parametrize(
    "name", [CANARY, "a.b", "x" * 65, "", "a b", "9", "a\nb", "_schema]", "é"], ids=ascii
)
def test_unknown_name_that_may_be_data_is_not_shown(name: str, refusal: Refusal) -> None:
    """A name that does not look like one is not repeated, whether at the top or below."""
    hidden = ["Unknown field."]
    assert refusal("gift_checkout", {name: 1}) == {"(unknown field)": hidden}
    assert refusal("gift_checkout", {"gifter": {name: 1}}) == {"gifter.(unknown field)": hidden}
    found = refusal("personalized_offer", {"customer_id": "c", "custom": {name: object()}})
    assert list(found) == ["custom.(unknown field)"]


def sized(size: int, filler: str = "x") -> dict[str, Any]:
    """Return an offer whose JSON has so many bytes."""
    empty = len(b'{"customer_id":"c","custom":{"x":""}}')
    return {"customer_id": "c", "custom": {"x": filler * ((size - empty) // len(filler.encode()))}}


def test_payload_of_64_kib_is_the_largest(refusal: Refusal) -> None:
    """The bound is on the bytes of the JSON: one more is refused."""
    assert refusal("personalized_offer", sized(65_536)) == {}
    assert refusal("personalized_offer", sized(65_537)) == {
        "payload": ["Larger than 65536 bytes of JSON."]
    }
    assert refusal("personalized_offer", sized(65_536, "€")) == {}
    assert refusal("personalized_offer", sized(65_540, "€")) == {
        "payload": ["Larger than 65536 bytes of JSON."]
    }


def test_bound_is_on_what_is_kept(refusal: Refusal) -> None:
    """What is stripped does not count."""
    padding = {f"k{number}": None for number in range(20_000)}
    assert refusal("personalized_offer", {"customer_id": "c", "custom": padding}) == {}


def test_options_are_bounded_too(refusal: Refusal) -> None:
    """Options of absurd size are refused before they are looked at."""
    assert refusal("gift_checkout", {}, {"skip": ["email"] * 100_000}) == {
        "options": ["Larger than 65536 bytes of JSON."]
    }


def test_all_errors_come_at_once(refusal: Refusal) -> None:
    """Payload and options are reported together, each under its path."""
    found = refusal("gift_checkout", {"layout": "x", "gifter": 5}, {"lane": "x"})
    assert set(found) == {"layout", "gifter", "options.lane"}


def test_number_of_errors_is_bounded(refusal: Refusal) -> None:
    """A thousand errors are a hundred and a count."""
    found = refusal("gift_checkout", {"coupon_ids": [1] * 1000})
    assert len(found) == 101
    assert found["payload"] == ["900 more fields are wrong."]


everything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=30,
)
known = st.sampled_from(
    [name for kind in schemas.job._SCHEMAS.values() for name in kind["strict"].fields]
)


@pytest.mark.parametrize("kind", schemas.KINDS)
@given(payload=everything | st.dictionaries(known, everything), options=everything)
def test_anything_is_validated_or_refused(kind: str, payload: Any, options: Any) -> None:
    """Whatever is given, validation ends in a valid job or in its own error."""
    try:
        job = schemas.validate(kind, payload, options)
    except schemas.job.ValidationError:
        return
    json.dumps([job.payload, job.options], allow_nan=False).encode()


places = st.sampled_from(
    [
        lambda value: ({"layout": value}, {}),
        lambda value: ({"redirect_url": value * 20}, {}),
        lambda value: ({"gifter": {"locale": value}}, {}),
        lambda value: ({"gifter": {value: 1}}, {}),
        lambda value: ({"coupon_ids": [value * 9]}, {}),
        lambda value: ({"coupon_ids": value}, {}),
        lambda value: ({"subscription_items": {value: [1]}}, {}),
        lambda value: ({"subscription_items": {"quantity": [value]}}, {}),
        lambda value: ({"subscription_items": [{"quantity_in_decimal": value}]}, {}),
        lambda value: ({"item_tiers": [{"price": value}, {value: value}]}, {}),
        lambda value: ({}, {"skip": [value]}),
        lambda value: ({}, {"lane": value, value: 1}),
        lambda value: ({}, {"origin": {"ip": value, "device": f"é{value}", "user": f"{value}@"}}),
        lambda value: ({}, {"deadline_s": value}),
        lambda value: ({}, {"business_entity_id": value * 9}),
    ]
)


@given(place=places)
def test_errors_never_repeat_a_value(place: Callable[[str], tuple[Any, Any]]) -> None:
    """A marked value in any field, or as the name of one, turns up in no part of the error."""
    payload, options = place(CANARY)
    with pytest.raises(schemas.job.ValidationError) as caught:
        schemas.validate("gift_checkout", payload, options)
    error = caught.value
    shown = f"{error} {error!r} {error.args} {error.messages} {error.data} {error.valid_data}"
    assert "canary" not in shown


def test_repr_shows_the_kind_alone(offer: dict[str, Any]) -> None:
    """A job holds private data, so its repr does not."""
    assert repr(schemas.validate("personalized_offer", offer)) == (
        "ValidJob(kind='personalized_offer')"
    )


HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("10k tiers", {"item_tiers": [{"item_price_id": "x", "starting_unit": 1}] * 10_000}),
    ("10k columns", {"item_tiers": {"item_price_id": ["x"] * 10_000, "price": [1] * 10_000}}),
    ("a million coupons", {"coupon_ids": ["A"] * 1_000_000}),
    ("a million gaps", {"subscription_items": {"quantity": [None] * 1_000_000}}),
    ("100k unknown names", {f"n{number}": 1 for number in range(100_000)}),
    ("a long text", {"redirect_url": "x" * 10_000_000}),
    ("__proto__", {"__proto__": {"layout": "in_app"}, "constructor": 1}),
    ("a huge integer", {"item_tiers": [{"price": 10**100_000}]}),
]


@pytest.mark.parametrize(("name", "payload"), HOSTILE, ids=[name for name, _ in HOSTILE])
def test_hostile_payload_is_refused_quickly(
    name: str, payload: dict[str, Any], refusal: Refusal
) -> None:
    """A structure of absurd size is refused by path in a moment, whatever is in it."""
    started = time.process_time()
    found = refusal("gift_checkout", payload)
    assert found, name
    assert time.process_time() - started < 0.5


def test_endless_structure_is_refused(refusal: Refusal) -> None:
    """A list and an object that hold themselves are refused."""
    endless: list[Any] = []
    endless.append(endless)
    assert refusal("gift_checkout", {"coupon_ids": endless}) != {}
    ring: dict[str, Any] = {}
    ring["a"] = ring
    assert refusal("personalized_offer", {"customer_id": "c", "custom": ring}) != {}


@pytest.mark.parametrize("name", ["😀" * 50, "\u202eevil\u202c", "עברית", "a\u200db"], ids=ascii)
def test_any_script_is_text(name: str, refusal: Refusal) -> None:
    """Emoji, right-to-left text and its marks are text: accepted, and counted in characters."""
    payload = {"customer_id": name, "first_name": name, "custom": {name: name}}
    assert refusal("personalized_offer", payload) == {}


def test_validation_is_fast(gift: dict[str, Any]) -> None:
    """A full gift checkout takes well under a third of a millisecond on an idle machine."""
    best = float("inf")
    for _ in range(30):
        started = time.process_time()
        for _ in range(10):
            schemas.validate("gift_checkout", gift, {"skip": ["email"]})
        best = min(best, (time.process_time() - started) / 10)
    assert best < 0.001
