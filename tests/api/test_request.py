"""Requests as they are built: encodings, headers and what a repr shows."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from worker.api import ApiRequest, build_request
from worker.api.encoding import encode_form, encode_json
from worker.errors import InvalidJobError
from worker.operations import OPERATIONS, operation
from worker.settings.site import Site

GIFT = operation("gift_checkout")
OFFER = operation("personalized_offer")


def headers_of(
    site: Site,
    options: dict[str, Any],
    payload: dict[str, Any] | None = None,
    key: str | None = None,
) -> dict[str, str]:
    """Return the API's own headers of a gift checkout."""
    request = build_request(
        GIFT, site=site, payload=payload or {}, options=options, idempotency_key=key
    )
    assert len({name.lower() for name, _ in request.headers}) == len(request.headers)
    return {name: text for name, text in request.headers if name.startswith("chargebee-")}


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({}, ""),
        ({"a": "b c&d=é~*'()!"}, "a=b+c%26d%3D%C3%A9~%2A%27%28%29%21"),
        ({"a": None, "b": 0, "c": True, "d": False}, "b=0&c=true&d=false"),
        ({"a": ["x", None, "z"]}, "a%5B0%5D=x&a%5B2%5D=z"),
        ({"a": {"b": "c", "d": None}}, "a%5Bb%5D=c"),
        ({"a": [{"b": 1}, {}, {"b": 3, "c": None}]}, "a%5Bb%5D%5B0%5D=1&a%5Bb%5D%5B2%5D=3"),
        ({"a": {"b": [1, None, 3]}}, "a%5Bb%5D%5B0%5D=1&a%5Bb%5D%5B2%5D=3"),
        ({"a": [], "b": {}, "c": [{}], "d": {"e": []}}, ""),
    ],
    ids=str,
)
def test_form_is_encoded_as_documented(payload: dict[str, Any], text: str) -> None:
    """Brackets, indexes, gaps, booleans and escapes are those of the official SDK."""
    assert encode_form(payload) == text.encode()


def test_long_list_has_an_index_each() -> None:
    """Indexes go on past nine."""
    names = [pair.split(b"=")[0] for pair in encode_form({"a": ["x"] * 12}).split(b"&")]
    assert names[-1] == b"a%5B11%5D"
    assert len(names) == 12


def test_offer_may_be_switched_to_a_form() -> None:
    """The other encoding that the documentation names: `custom` is then one JSON text."""
    payload = {"customer_id": "c", "custom": {"viewCount": [1, "é"]}, "roles": ["a"]}
    assert encode_form(payload, OFFER.json_fields) == (
        b"customer_id=c&custom=%7B%22viewCount%22%3A%5B1%2C%22%C3%A9%22%5D%7D&roles%5B0%5D=a"
    )


def test_switched_offer_says_so_in_its_content_type(site: Site) -> None:
    """The content type follows the encoding in the table."""
    request = build_request(
        replace(OFFER, encoding="form"),
        site=site,
        payload={"customer_id": "c"},
        options={},
        idempotency_key=None,
    )
    assert dict(request.headers)["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.body == b"customer_id=c"


def test_json_is_utf8_without_blanks() -> None:
    """JSON is written as the SDK writes it, and refuses what JSON does not know."""
    assert encode_json({"a": "é😀", "b": [1, 2.5, None, True]}) == (
        '{"a":"é😀","b":[1,2.5,null,true]}'.encode()
    )
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_json({"a": float("nan")})


@pytest.mark.parametrize(
    ("skip", "expected"),
    [
        ([], set()),
        (["actions"], {"chargebee-event-actions"}),
        (["email"], {"chargebee-event-email"}),
        (["webhooks"], {"chargebee-event-webhook"}),
        (
            ["actions", "email", "webhooks"],
            {"chargebee-event-actions", "chargebee-event-email", "chargebee-event-webhook"},
        ),
    ],
    ids=lambda value: "+".join(sorted(value)) or "none",
)
def test_skip_headers_say_all_disabled(site: Site, skip: list[str], expected: set[str]) -> None:
    """Each thing to skip is one header, whose only value is all-disabled."""
    assert headers_of(site, {"skip": skip}) == dict.fromkeys(expected, "all-disabled")


def test_context_and_origin_headers(site: Site) -> None:
    """Business entity, brand and origin each go out under their own name."""
    options = {
        "business_entity_id": "be_1",
        "brand_id": "brand_1",
        "origin": {"user": "ada@example.com", "ip": "::1", "device": "Android"},
    }
    assert headers_of(site, options) == {
        "chargebee-business-entity-id": "be_1",
        "chargebee-brand-id": "brand_1",
        "chargebee-request-origin-user": "ada@example.com",
        "chargebee-request-origin-ip": "::1",
        "chargebee-request-origin-device": "Android",
    }


def test_user_of_another_script_is_base64(site: Site) -> None:
    """The documentation's own example comes out, under the header for encoded users."""
    headers = headers_of(site, {"origin": {"user": "user.квіточка@example.com"}})
    assert headers == {
        "chargebee-request-origin-user-encoded": "dXNlci7QutCy0ZbRgtC+0YfQutCwQGV4YW1wbGUuY29t"
    }
    (encoded,) = headers.values()
    assert base64.b64decode(encoded, validate=True).decode() == "user.квіточка@example.com"


def test_site_fills_what_options_leave_open(site: Site) -> None:
    """A site's defaults go out unless the job says otherwise, in its options or its body."""
    site = replace(site, skip=("email",), business_entity_id="be_site", brand_id="brand_site")
    entity, brand = "chargebee-business-entity-id", "chargebee-brand-id"
    assert headers_of(site, {}) == {
        "chargebee-event-email": "all-disabled",
        entity: "be_site",
        brand: "brand_site",
    }
    chosen = headers_of(site, {"skip": [], "business_entity_id": "be_job"})
    assert chosen == {entity: "be_job", brand: "brand_site"}
    in_body = headers_of(site, {"skip": []}, {"business_entity_id": "be_b", "brand_id": "b"})
    assert in_body == {}


@pytest.mark.parametrize("key", ["k", "x" * 100, "order-1042"])
def test_idempotency_key_is_a_header(site: Site, key: str) -> None:
    """A key is sent as it is, in the spelling the documentation uses."""
    assert headers_of(site, {}, key=key) == {"chargebee-idempotency-key": key}


@pytest.mark.parametrize("key", ["", "x" * 101, "a\r\nb", "é", " a"], ids=ascii)
def test_idempotency_key_that_cannot_be_is_refused(site: Site, key: str) -> None:
    """An empty, long or unprintable key never leaves."""
    with pytest.raises(InvalidJobError) as caught:
        headers_of(site, {}, key=key)
    assert list(caught.value.messages) == ["key"]


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"business_entity_id": "a\r\nX: 1"}, "options.business_entity_id"),
        ({"brand_id": "é"}, "options.brand_id"),
        ({"origin": {"user": "a@b.c\n"}}, "options.origin.user"),
        ({"origin": {"ip": "::1\x00"}}, "options.origin.ip"),
        ({"origin": {"device": " x"}}, "options.origin.device"),
    ],
)
def test_record_written_by_others_cannot_break_a_header(
    site: Site, options: dict[str, Any], path: str
) -> None:
    """Options that never went through validation are stopped here, by path and without value."""
    with pytest.raises(InvalidJobError) as caught:
        headers_of(site, options)
    assert caught.value.messages == {path: ["A header carries printable ASCII only."]}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_origin_override_replaces_host_of_every_operation(site: Site, kind: str) -> None:
    """An overridden origin is used as it is, sub-domain or not."""
    site = replace(site, api_url="http://127.0.0.1:8400")
    request = build_request(
        operation(kind), site=site, payload={}, options={}, idempotency_key=None
    )
    assert request.url == f"http://127.0.0.1:8400{operation(kind).path}"


def test_request_is_the_same_every_time(site: Site) -> None:
    """Two attempts of a job are equal to the byte, headers and their order included."""
    options = {"skip": ["email", "webhooks"], "origin": {"user": "é@b.c"}}
    payload = {"coupon_ids": ["A"], "layout": "in_app"}
    first, second = (
        build_request(GIFT, site=site, payload=payload, options=options, idempotency_key="k")
        for _ in range(2)
    )
    assert first == second
    assert pickle.loads(pickle.dumps(first)) == first


def test_repr_shows_method_and_path_alone() -> None:
    """Neither body nor headers nor host are in a repr."""
    request = ApiRequest("POST", "https://acme.example/api/v2/x", (("H", "canary"),), b"canary")
    assert repr(request) == "ApiRequest(POST /api/v2/x)"


def test_no_authorization_is_in_a_request(site: Site) -> None:
    """The key joins the request only when it is sent."""
    request = build_request(GIFT, site=site, payload={}, options={}, idempotency_key=None)
    assert "authorization" not in {name.lower() for name, _ in request.headers}


def test_building_a_request_needs_no_http_client() -> None:
    """Only the client module imports httpx, so a dry run works without it."""
    code = "import sys, worker.api, worker.operations; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
