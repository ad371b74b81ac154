"""Requests captured from the official SDK: ours are the same bytes, but for its quirks."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from marshmallow import ValidationError

import schemas
from worker.api import ApiRequest, build_request
from worker.operations import operation
from worker.settings.site import Site

NAMES = [path.stem for path in sorted((Path(__file__).parent.parent / "vectors").glob("*.json"))]
QUIRKS = {"gift_06", "gift_07", "gift_12", "offer_04", "offer_05", "offer_10", "offer_11"}
KEY = "chargebee-idempotency-key"

# Headers that say who is calling, or belong to the connection.
OWN_HEADERS = {
    *("host", "accept-encoding", "connection", "user-agent", "authorization"),
    *("lang-version", "os-version", "content-length"),
}

Vectors = dict[str, dict[str, Any]]


def kind_of(name: str) -> str:
    """Return the kind of job that a vector is of."""
    return "gift_checkout" if name.startswith("gift") else "personalized_offer"


def built(name: str, params: Any, site: Site, *, key: str | None = None) -> ApiRequest:
    """Return our request for a vector's parameters; the SDK's None is no parameter."""
    job = schemas.validate(kind_of(name), params or {}, request_context="relaxed")
    return build_request(
        operation(job.kind),
        site=site,
        payload=job.payload,
        options=job.options,
        idempotency_key=key,
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUIRKS])
def test_request_equals_the_vector(name: str, vectors: Vectors, site: Site) -> None:
    """Method, host, path, body bytes and the API's own headers equal the SDK's."""
    vector = vectors[name]
    assert vector["sdk_quirk"] is None
    expected = vector["headers_out"]
    # A key the SDK made up is a random one; any stands for it.
    key = "any" if vector["idempotency_key_auto_generated"] else vector["headers_in"].get(KEY)
    request = built(name, vector["params"], site, key=key)
    url = urlsplit(request.url)
    assert (request.method, url.scheme) == (vector["method"], "https")
    assert (url.netloc, url.path, url.query) == (expected["Host"], vector["path"], "")
    assert request.body == vector["body"].encode()
    ours = {name.lower(): value for name, value in request.headers}
    theirs = {name.lower(): value for name, value in expected.items()}
    if vector["idempotency_key_auto_generated"]:
        theirs[KEY] = "any"
    for header in OWN_HEADERS:
        ours.pop(header, None)
        theirs.pop(header, None)
    assert ours == theirs


def test_every_vector_is_used(vectors: Vectors) -> None:
    """No vector is left out, and each quirk is one of those treated below."""
    assert {name for name, vector in vectors.items() if vector["sdk_quirk"]} == QUIRKS
    assert len(vectors) == 17


def test_decimal_is_text_and_float_is_refused(vectors: Vectors, site: Site) -> None:
    """gift_06: the Decimal goes out as the SDK sends it; the float in a price is refused."""
    (item,) = vectors["gift_06"]["params"]["subscription_items"]
    decimal = item | {"quantity_in_decimal": Decimal(item["quantity_in_decimal"]["__decimal__"])}
    with pytest.raises(ValidationError) as caught:
        built("gift_06", {"subscription_items": [decimal]}, site)
    assert list(caught.value.messages) == ["subscription_items.0.unit_price"]
    request = built("gift_06", {"subscription_items": [decimal | {"unit_price": 10}]}, site)
    assert request.body.decode() == vectors["gift_06"]["body"].removesuffix(".0")


def test_none_is_left_out(vectors: Vectors, site: Site) -> None:
    """gift_07: the SDK sends an empty text for None, we send nothing; gaps keep their places."""
    theirs = parse_qsl(vectors["gift_07"]["body"], keep_blank_values=True)
    request = built("gift_07", vectors["gift_07"]["params"], site)
    assert parse_qsl(request.body.decode()) == [(name, text) for name, text in theirs if text]


def test_key_case_is_not_guessed(vectors: Vectors, site: Site) -> None:
    """gift_12: the SDK lowers the case of names; to us another case is an unknown field."""
    with pytest.raises(ValidationError) as caught:
        built("gift_12", vectors["gift_12"]["params"], site)
    assert set(caught.value.messages) == {
        *("Redirect_URL", "cf_Gift_Note", "some_flag", "other_flag"),
        "subscription_items.0.Item_Price_Id",
    }


def test_case_of_custom_keys_is_kept(vectors: Vectors, site: Site) -> None:
    """offer_04: the merchant's own keys keep their case, and None is left out."""
    request = built("offer_04", vectors["offer_04"]["params"], site)
    assert request.body == (
        b'{"customer_id":"cust_1","custom":{"viewCount":6,"Nested":{"Deep_Key":[1,2.5,null,true,'
        b'{"InnerKey":"v"}]},"cf_KeepCase":{"Lower_Me":1},"empty":{}}}'
    )


def test_null_is_not_sent_and_empty_values_are(vectors: Vectors, site: Site) -> None:
    """offer_05: empty lists and objects stay, null does not."""
    request = built("offer_05", vectors["offer_05"]["params"], site)
    assert request.body == (
        vectors["offer_05"]["body"].replace('"subscription_id":null,', "").encode()
    )


def test_caller_sets_no_header_of_the_protocol(vectors: Vectors, site: Site) -> None:
    """offer_10: there is no way to override the content type; our own name is sent."""
    with pytest.raises(ValidationError) as caught:
        schemas.validate(
            "personalized_offer", {"customer_id": "c"}, {"Content-Type": "text/plain"}
        )
    assert list(caught.value.messages) == ["options.Content-Type"]
    headers = dict(built("offer_10", vectors["offer_10"]["params"], site).headers)
    assert headers["Content-Type"] == vectors["offer_10"]["headers_out"]["Content-Type"]
    assert headers["User-Agent"].startswith("largesse/")


def test_decimal_in_custom_is_text(site: Site) -> None:
    """offer_11: the SDK fails on a Decimal; we send it as text."""
    params = {"customer_id": "cust_1", "custom": {"amount": Decimal("1.5")}}
    assert built("offer_11", params, site).body == (
        b'{"customer_id":"cust_1","custom":{"amount":"1.5"}}'
    )
