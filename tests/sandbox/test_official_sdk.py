"""The official SDK works against the sandbox as it does against the API."""

from __future__ import annotations

import socket
from typing import Any

import chargebee
import pytest


@pytest.fixture
def sdk(box: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The SDK pointed at the sandbox: its host names lead to loopback."""
    port = int(box.host.partition(":")[2])
    resolve = socket.getaddrinfo

    def loopback(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", loopback)
    monkeypatch.setattr(chargebee.Chargebee, "verify_ca_certs", False)
    return chargebee.Chargebee(
        api_key="test_sandbox_key",
        site="acme-test",
        chargebee_domain=f"localhost:{port}",
        protocol="http",
    )


def test_sdk_makes_a_page(sdk: Any, box: Any) -> None:
    """A gift checkout of every shape is understood and its answer read."""
    result = sdk.HostedPage.checkout_gift_for_items(
        {
            "gifter": {"customer_id": "cust_1"},
            "subscription_items": [
                {"item_price_id": "basic-USD", "quantity": 2},
                {"item_price_id": "addon-USD"},
            ],
            "coupon_ids": ["WELCOME10"],
            "redirect_url": "https://shop.example.com/?a=b c",
        },
        {"chargebee-idempotency-key": "k", "chargebee-event-email": "all-disabled"},
    )
    assert result.hosted_page.type == "checkout_gift"
    assert result.hosted_page.state == "created"
    last = box.last()
    assert (last["host"].partition(":")[0], last["site"]) == ("acme-test.localhost", "acme-test")
    assert (last["skip"], last["idempotency_key"]) == (["email"], "k")
    read = sdk.HostedPage.retrieve(result.hosted_page.id).hosted_page
    assert read.url == result.hosted_page.url


def test_sdk_reads_offers(sdk: Any, box: Any) -> None:
    """Offers are asked for on the grow host, as JSON."""
    result = sdk.PersonalizedOffer.personalized_offers({"customer_id": "c", "roles": ["admin"]})
    assert len(result.personalized_offers) == 1
    assert result.expires_at > 0
    assert box.last()["host"].startswith("acme-test.grow.localhost")


def test_sdk_raises_what_the_api_refuses(sdk: Any) -> None:
    """A refusal is the SDK's own error with code and parameter."""
    with pytest.raises(chargebee.InvalidRequestError) as caught:
        sdk.HostedPage.checkout_gift_for_items({"layout": "modal"})
    assert caught.value.api_error_code == "param_wrong_value"
    assert caught.value.param == "layout"
    assert caught.value.http_status_code == 400
