"""Hosts, keys, paths, methods and the ``chargebee-*`` headers."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from worker.sandbox.sites import Address, Sites, read_host

GIFT = "/api/v2/hosted_pages/checkout_gift_for_items"
OFFER = "/api/v2/personalized_offers"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1:8400", Address(None, grow=False)),
        ("localhost", Address(None, grow=False)),
        ("sandbox:8400", Address(None, grow=False)),
        ("[::1]:8400", Address(None, grow=False)),
        ("", Address(None, grow=False)),
        ("acme-test.chargebee.com", Address("acme-test", grow=False)),
        ("ACME-test.Chargebee.com:443", Address("acme-test", grow=False)),
        ("acme.grow.chargebee.com", Address("acme", grow=True)),
        ("acme.grow.localhost:8400", Address("acme", grow=True)),
        ("acme.chargebee.com.evil.example", Address(None, grow=False)),
    ],
)
def test_host_names_a_site(host: str, address: Address) -> None:
    """The template of the API's hosts is read; any other host stands for the whole sandbox."""
    assert read_host(host) == address


@pytest.mark.parametrize(
    ("host", "path", "key", "status", "code"),
    [
        ("acme-test.chargebee.com", GIFT, "test_sandbox_key", 200, None),
        ("acme-test.grow.chargebee.com", OFFER, "test_sandbox_key", 200, None),
        ("acme.localhost", GIFT, "live_acme_key", 200, None),
        ("acme-test.chargebee.com", OFFER, "test_sandbox_key", 404, "resource_not_found"),
        ("acme-test.grow.chargebee.com", GIFT, "test_sandbox_key", 404, "resource_not_found"),
        ("nobody.chargebee.com", GIFT, "test_sandbox_key", 404, "site_not_found"),
        ("acme.chargebee.com", GIFT, "test_sandbox_key", 401, "api_authentication_failed"),
        ("127.0.0.1", GIFT, "live_other_key", 401, "api_authentication_failed"),
    ],
)
def test_host_and_key_find_the_site(  # noqa: PLR0917
    box: Any, host: str, path: str, key: str, status: int, code: str | None
) -> None:
    """Offers live on the grow host and nothing else does; a key opens its own site only."""
    kind = "application/json" if path == OFFER else "application/x-www-form-urlencoded"
    body = b'{"customer_id":"c"}' if path == OFFER else b""
    headers = {"host": host, "content-type": kind}
    answer = box.call("POST", path, key=key, body=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json().get("api_error_code") == code
    assert box.last()["error"] == code


def test_page_url_opens_here_whatever_the_host(box: Any) -> None:
    """A page of a request for the API's own host leads to the sandbox."""
    headers = {"host": "acme-test.chargebee.com"}
    page = box.call("POST", GIFT, headers=headers).json()["hosted_page"]
    assert page["url"].startswith(f"{box.url}/pages/v3/")


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "basic_authentication_failed"),
        ("Bearer test_sandbox_key", "basic_authentication_failed"),
        ("Basic !!!", "api_authentication_failed"),
        ("Basic " + base64.b64encode(b"wrong:").decode(), "api_authentication_failed"),
        (
            "Basic " + base64.b64encode(b"test_sandbox_key:pw").decode(),
            "api_authentication_failed",
        ),
    ],
)
def test_authentication_fails(box: Any, authorization: str | None, code: str) -> None:
    """A missing or wrong key is 401, untyped, with a challenge."""
    headers = {} if authorization is None else {"authorization": authorization}
    answer = box.call("POST", GIFT, key=None, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["api_error_code"] == code
    assert "type" not in answer.json()
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert box.get("/counts")["auth_failed"] == 1


def test_log_masks_the_key(box: Any) -> None:
    """No key is in the request log, the list of sites or the admin page."""
    box.gift()
    shown = box.client.get(f"{box.url}/_sandbox/").text
    for text in (str(box.get("/requests")), str(box.get("/sites")), shown):
        assert "test_sandbox_key" not in text
        assert base64.b64encode(b"test_sandbox_key:").decode() not in text
    assert ["authorization", "Basic ****"] in box.last()["headers"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", GIFT, 405, "http_method_not_supported"),
        ("PUT", GIFT, 405, "http_method_not_supported"),
        ("GET", OFFER, 405, "http_method_not_supported"),
        ("POST", "/api/v2/hosted_pages/x", 405, "http_method_not_supported"),
        ("POST", "/api/v2/customers", 404, "resource_not_found"),
        ("GET", "/api/v2/", 404, "resource_not_found"),
        ("GET", "/api/v2/hosted_pages/unknown", 404, "resource_not_found"),
        ("POST", "/api/v2/hosted_pages/unknown/acknowledge", 404, "resource_not_found"),
    ],
)
def test_path_and_method(box: Any, method: str, path: str, status: int, code: str) -> None:
    """Unknown paths and wrong methods are refused as the API refuses them."""
    answer = box.call(method, path)
    assert (answer.status_code, answer.json()["api_error_code"]) == (status, code)


@pytest.mark.parametrize(
    ("header", "value", "accepted"),
    [
        ("chargebee-event-webhook", "all-disabled", True),
        ("chargebee-event-webhook", "true", False),
        ("chargebee-event-email", "all-disabled", True),
        ("chargebee-event-email", "all", False),
        ("chargebee-event-actions", "all-disabled", True),
        ("chargebee-event-actions", "", False),
        ("chargebee-business-entity-id", "be_1", True),
        ("chargebee-business-entity-id", "b" * 51, False),
        ("chargebee-brand-id", "b" * 51, False),
        ("chargebee-request-origin-ip", "203.0.113.9", True),
        ("chargebee-request-origin-ip", "2001:db8::1", True),
        ("chargebee-request-origin-ip", "host.example", True),
        ("chargebee-request-origin-ip", "not a host", False),
        ("chargebee-request-origin-device", "Android", True),
        ("chargebee-request-origin-user", "ada@example.com", True),
        ("chargebee-request-origin-user", "ada", False),
        ("chargebee-request-origin-user-encoded",
         base64.b64encode("user.квіточка@example.com".encode()).decode(), True),
        ("chargebee-request-origin-user-encoded", "ada@example.com", False),
        ("chargebee-request-origin-user-encoded", base64.b64encode(b"ada").decode(), False),
        ("chargebee-idempotency-key", "k" * 100, True),
        ("chargebee-idempotency-key", "k" * 101, False),
    ],
)  # fmt: skip
def test_headers_are_checked(box: Any, header: str, value: str, accepted: bool) -> None:
    """A header with a value that it cannot have is 400 and named."""
    answer = box.gift("", **{header: value})
    assert answer.is_success == accepted, answer.text
    if not accepted:
        error = answer.json()
        assert (error["api_error_code"], error["param"]) == ("param_wrong_value", header)


def test_headers_given_twice_are_refused(box: Any) -> None:
    """Two idempotency keys are a bug of the sender."""
    headers = [("chargebee-idempotency-key", "a"), ("Chargebee-Idempotency-Key", "b")]
    answer = box.call("POST", GIFT, headers=headers)
    assert (answer.status_code, answer.json()["param"]) == (400, "chargebee-idempotency-key")


@pytest.mark.parametrize("name", ["business_entity_id", "brand_id"])
def test_header_and_body_must_agree(box: Any, name: str) -> None:
    """Business entity and brand may come in the header, in the body, or as the same in both."""
    header = f"chargebee-{name.replace('_', '-')}"
    assert box.gift("", **{header: "one"}).json()["hosted_page"][name] == "one"
    assert box.gift(f"{name}=one", **{header: "one"}).json()["hosted_page"][name] == "one"
    error = box.gift(f"{name}=two", **{header: "one"}).json()
    assert (error["api_error_code"], error["param"]) == ("param_wrong_value", name)


def test_log_says_which_skip_headers_came(box: Any) -> None:
    """Each request is logged with the names of its skip headers."""
    box.gift("", chargebee_event_webhook="all-disabled", chargebee_event_email="all-disabled")
    assert box.last()["skip"] == ["email", "webhooks"]


@pytest.mark.parametrize(
    "keys", [{"Acme": ["k"]}, {"acme": []}, {"a": ["k"], "b": ["k"]}, {"": ["k"]}]
)
def test_sites_refuse_what_cannot_be(keys: Any) -> None:
    """A site has a name that a host can have, and a key of its own."""
    with pytest.raises(ValueError):
        Sites(keys)
