"""``POST /personalized_offers``."""

from __future__ import annotations

import json
from typing import Any

import pytest

FULL = {
    "customer_id": "cust_1",
    "subscription_id": "sub_1",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "ada@example.com",
    "external_user_id": "u-42",
    "roles": ["admin", "sales-manager"],
    "custom": {"plan_name": "pro", "seats": 12, "trial": False, "nested": {"viewCount": [1]}},
    "request_context": {
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
        "locale": "en-US",
        "timezone": "America/New_York",
        "url": "https://app.example.com/billing?tab=plan&x=1",
        "referrer_url": "https://app.example.com/",
    },
}


@pytest.mark.parametrize(
    "payload",
    [
        {"customer_id": "c"},
        FULL,
        {"customer_id": "c", "roles": [], "custom": {}, "email": None, "request_context": {}},
        {"customer_id": "c" * 50, "first_name": "f" * 150, "roles": ["r" * 50]},
    ],
)
def test_offer_is_answered(box: Any, payload: Any) -> None:
    """Every legal request gets one offer with the documented attributes."""
    answer = box.offer(payload)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"personalized_offers", "expires_at", "brand"}
    assert body["expires_at"] > box.get("/clock")["now"]
    assert set(body["brand"]) == {"id", "name"}
    (offer,) = body["personalized_offers"]
    assert set(offer) == {"id", "offer_id", "content", "options"}
    assert set(offer["content"]) == {"title", "description"}
    for option in offer["options"]:
        assert {"id", "label", "processing_type"} <= set(option)
    assert box.last()["executed"]


def test_offer_is_the_same_each_time(box: Any) -> None:
    """Asking again changes nothing: it is a read."""
    first, again = (box.offer({"customer_id": "c"}).json() for _ in range(2))
    other = box.offer({"customer_id": "d"}).json()
    assert first["personalized_offers"] == again["personalized_offers"]
    assert first["personalized_offers"] != other["personalized_offers"]


def test_offer_may_be_an_empty_list(box: Any) -> None:
    """No offer is 200 with an empty list, not an error."""
    answer = box.offer({"customer_id": "no_offer_1"})
    assert (answer.status_code, answer.json()["personalized_offers"]) == (200, [])


@pytest.mark.parametrize(
    ("payload", "param"),
    [
        ({"customer_id": "c" * 51}, "customer_id"),
        ({"customer_id": 17}, "customer_id"),
        ({"customer_id": 1.5}, "customer_id"),
        ({"customer_id": "\ud800"}, "customer_id"),
        ({"customer_id": "c", "subscription_id": "s" * 51}, "subscription_id"),
        ({"customer_id": "c", "first_name": "f" * 151}, "first_name"),
        ({"customer_id": "c", "last_name": "f" * 151}, "last_name"),
        ({"customer_id": "c", "email": "a" * 60 + "@example.com"}, "email"),
        ({"customer_id": "c", "email": "nobody"}, "email"),
        ({"customer_id": "c", "roles": "admin"}, "roles"),
        ({"customer_id": "c", "roles": ["a", "r" * 51]}, "roles[1]"),
        ({"customer_id": "c", "roles": [1]}, "roles[0]"),
        ({"customer_id": "c", "external_user_id": "u" * 51}, "external_user_id"),
        ({"customer_id": "c", "custom": []}, "custom"),
        ({"customer_id": "c", "request_context": "x"}, "request_context"),
        ({"customer_id": "c", "request_context": {"user_agent": "u" * 256}},
         "request_context[user_agent]"),
        ({"customer_id": "c", "request_context": {"locale": "u" * 51}}, "request_context[locale]"),
        ({"customer_id": "c", "request_context": {"timezone": "u" * 65}},
         "request_context[timezone]"),
        ({"customer_id": "c", "request_context": {"url": "u" * 251}}, "request_context[url]"),
        ({"customer_id": "c", "request_context": {"referrer_url": "u" * 251}},
         "request_context[referrer_url]"),
    ],
)  # fmt: skip
def test_offer_refuses_a_wrong_value(box: Any, payload: Any, param: str) -> None:
    """A value out of its bounds is 400 ``param_wrong_value`` with its path."""
    answer = box.offer(payload)
    assert answer.status_code == 400
    assert answer.json()["api_error_code"] == "param_wrong_value"
    assert answer.json()["param"] == param


@pytest.mark.parametrize(
    ("payload", "param"),
    [
        ({}, "customer_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "c", "business_entity_id": "be"}, "business_entity_id"),
        ({"customer_id": "c", "request_context": {"ip": "x"}}, "request_context[ip]"),
    ],
)
def test_offer_refuses_missing_and_unknown(box: Any, payload: Any, param: str) -> None:
    """The customer is needed, and what the operation does not have is refused."""
    error = box.offer(payload).json()
    assert (error["api_error_code"], error["param"]) == ("invalid_request", param)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"customer_id": NaN}',
        b'{"customer_id": ' + b"1" * 9000 + b"}",
        b"\xff",
        b"[" * 9000,
    ],
)
def test_offer_refuses_what_is_not_an_object(box: Any, body: bytes) -> None:
    """A body that is no JSON object is 400, never 500."""
    answer = box.offer(body)
    assert (answer.status_code, answer.json()["api_error_code"]) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["customer_id", "subscription_id"])
def test_offer_refuses_the_documented_prefix(box: Any, name: str) -> None:
    """A customer or subscription that begins so does not exist."""
    answer = box.offer({"customer_id": "c", name: "missing_1"})
    assert answer.status_code == 404
    assert (answer.json()["api_error_code"], answer.json()["param"]) == (
        "resource_not_found",
        name,
    )


def test_offer_needs_the_subscription_with_several_brands(box: Any) -> None:
    """With more than one brand in the catalogue the subscription must be named."""
    box.post("/catalogue", {"brands": ["a", "b"]})
    error = box.offer({"customer_id": "c"}).json()
    assert (error["api_error_code"], error["param"]) == ("param_wrong_value", "subscription_id")
    assert box.offer({"customer_id": "c", "subscription_id": "s"}).status_code == 200


def test_offer_takes_a_form_only_when_told_to(box: Any) -> None:
    """Form encoding is a setting; ``custom`` is one JSON text then."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = f"customer_id=c&roles[0]=admin&custom={json.dumps({'a': 1})}&request_context[url]=u"
    assert box.call("POST", "/api/v2/personalized_offers", body=body, headers=form).is_error
    box.post("/settings", {"offers_form": True})
    answer = box.call("POST", "/api/v2/personalized_offers", body=body, headers=form)
    assert answer.status_code == 200, answer.text
    wrong = body.replace("{", "")
    answer = box.call("POST", "/api/v2/personalized_offers", body=wrong, headers=form)
    assert answer.status_code == 400
