"""``POST /hosted_pages/checkout_gift_for_items``: what is accepted, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from worker.sandbox.fields import INT32, INT64

FULL = (
    "layout=in_app&business_entity_id=be_eu_1&brand_id=brand_1&gifter%5Bcustomer_id%5D=cust_1"
    "&gifter%5Blocale%5D=fr-CA&redirect_url=https%3A%2F%2Fshop.example.com%2Fthanks%3Fsrc%3Dgift"
    "&subscription_items%5Bitem_price_id%5D%5B0%5D=plan-USD-yearly"
    "&subscription_items%5Bquantity%5D%5B0%5D=2&subscription_items%5Bunit_price%5D%5B0%5D=1999"
    "&subscription_items%5Bitem_price_id%5D%5B1%5D=addon-USD-yearly"
    "&subscription_items%5Bquantity%5D%5B1%5D=1&subscription_items%5Bunit_price%5D%5B1%5D=0"
    "&item_tiers%5Bitem_price_id%5D%5B0%5D=tiered-USD&item_tiers%5Bstarting_unit%5D%5B0%5D=1"
    "&item_tiers%5Bending_unit%5D%5B0%5D=10&item_tiers%5Bprice%5D%5B0%5D=500"
    "&item_tiers%5Bitem_price_id%5D%5B1%5D=tiered-USD&item_tiers%5Bstarting_unit%5D%5B1%5D=11"
    "&item_tiers%5Bprice%5D%5B1%5D=400&coupon_ids%5B0%5D=WELCOME10&coupon_ids%5B1%5D=gift+code"
)
ITEM = "subscription_items[item_price_id][0]=basic-USD"


@pytest.mark.parametrize(
    "body",
    [
        "",
        ITEM,
        FULL,
        # a gap where an item leaves a member out, and a blank where one is null
        (
            "subscription_items%5Bitem_price_id%5D%5B0%5D=plan-USD&subscription_items%5Bquantity%5D%5B0%5D="
            "&subscription_items%5Bitem_price_id%5D%5B1%5D=addon-USD"
            "&subscription_items%5Bitem_price_id%5D%5B2%5D=addon2-USD"
            "&subscription_items%5Bquantity%5D%5B2%5D=3&redirect_url="
        ),
        # the columns one after the other
        (
            "subscription_items%5Bitem_price_id%5D%5B0%5D=plan-USD"
            "&subscription_items%5Bitem_price_id%5D%5B1%5D=addon-USD"
            "&subscription_items%5Bquantity%5D%5B0%5D=1&subscription_items%5Bquantity%5D%5B1%5D=2"
        ),
        # decimals, more than ten rows, the bounds themselves
        ITEM + "&subscription_items[quantity_in_decimal][0]=2.50"
        "&subscription_items[unit_price_in_decimal][0]=19.99",
        "&".join(f"subscription_items[item_price_id][{i}]=p{i}" for i in range(12)),
        (
            f"{ITEM}&subscription_items[quantity][0]={INT32}"
            f"&subscription_items[unit_price][0]={INT64}"
        ),
        "item_tiers[item_price_id][0]=t&item_tiers[starting_unit][0]=0",
        "business_entity_id=" + "b" * 50,
        "redirect_url=" + "u" * 250,
        "coupon_ids[0]=" + "c" * 100,
    ],
)
def test_gift_is_accepted(box: Any, body: str) -> None:
    """Every legal form of a request makes a page."""
    answer = box.gift(body)
    assert answer.status_code == 200, answer.text
    assert box.get("/counts")["pages"] == 1


def test_gift_answers_with_the_documented_resource(box: Any) -> None:
    """The page has the documented attributes, of the documented types."""
    answer = box.gift(FULL)
    assert answer.headers["content-type"] == "application/json;charset=utf-8"
    page = answer.json()["hosted_page"]
    assert list(answer.json()) == ["hosted_page"]
    assert page["url"] == f"{box.url}/pages/v3/{page['id']}/"
    assert page["id"].startswith("__test__")
    assert len(page["id"]) <= 70
    assert page["type"] == "checkout_gift"
    assert page["state"] == "created"
    assert page["object"] == "hosted_page"
    assert page["layout"] == "in_app"
    assert (page["business_entity_id"], page["brand_id"]) == ("be_eu_1", "brand_1")
    assert page["expires_at"] - page["created_at"] == 3 * 3600
    assert page["resource_version"] // 1000 == page["updated_at"] == page["created_at"]
    assert "content" not in page


def test_gift_of_a_live_site_has_no_test_mark(box: Any) -> None:
    """Only the ids of a test site say that they are of one."""
    page = box.gift(ITEM, key="live_acme_key").json()["hosted_page"]
    assert not page["id"].startswith("__test__")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("layout=modal", "layout"),
        ("business_entity_id=" + "b" * 51, "business_entity_id"),
        ("brand_id=" + "b" * 51, "brand_id"),
        ("redirect_url=" + "u" * 251, "redirect_url"),
        ("redirect_url=a%00b", "redirect_url"),
        ("coupon_ids[3]=" + "c" * 101, "coupon_ids[3]"),
        ("gifter[customer_id]=" + "c" * 51, "gifter[customer_id]"),
        ("gifter[locale]=" + "c" * 51, "gifter[locale]"),
        ("gifter=me", "gifter"),
        ("coupon_ids=X", "coupon_ids"),
        ("coupon_ids[a]=X", "coupon_ids"),
        ("subscription_items[item_price_id]=X", "subscription_items[item_price_id]"),
        ("subscription_items[item_price_id][0]=" + "p" * 101,
         "subscription_items[item_price_id][0]"),
        ("subscription_items[quantity][0]=0", "subscription_items[quantity][0]"),
        ("subscription_items[quantity][1]=-1", "subscription_items[quantity][1]"),
        ("subscription_items[quantity][0]=10.0", "subscription_items[quantity][0]"),
        ("subscription_items[quantity][0]=two", "subscription_items[quantity][0]"),
        ("subscription_items[quantity][0]=2147483648", "subscription_items[quantity][0]"),
        ("subscription_items[unit_price][0]=-1", "subscription_items[unit_price][0]"),
        (f"subscription_items[unit_price][0]={INT64 + 1}", "subscription_items[unit_price][0]"),
        ("subscription_items[quantity_in_decimal][0]=" + "1" * 34,
         "subscription_items[quantity_in_decimal][0]"),
        ("subscription_items[quantity_in_decimal][0]=1e3",
         "subscription_items[quantity_in_decimal][0]"),
        ("subscription_items[unit_price_in_decimal][0]=" + "1" * 40,
         "subscription_items[unit_price_in_decimal][0]"),
        ("item_tiers[item_price_id][0]=" + "p" * 101, "item_tiers[item_price_id][0]"),
        ("item_tiers[starting_unit][0]=-1", "item_tiers[starting_unit][0]"),
        ("item_tiers[price][0]=-1", "item_tiers[price][0]"),
        ("item_tiers[starting_unit][0]=11&item_tiers[ending_unit][0]=10",
         "item_tiers[ending_unit][0]"),
        ("item_tiers[ending_unit][0]=x", "item_tiers[ending_unit][0]"),
        ("item_tiers[starting_unit_in_decimal][0]=" + "1" * 34,
         "item_tiers[starting_unit_in_decimal][0]"),
        ("item_tiers[ending_unit_in_decimal][0]=-1", "item_tiers[ending_unit_in_decimal][0]"),
        ("item_tiers[price_in_decimal][0]=" + "1" * 40, "item_tiers[price_in_decimal][0]"),
    ],
)  # fmt: skip
def test_gift_refuses_a_wrong_value(box: Any, body: str, param: str) -> None:
    """A value out of its bounds is 400 ``param_wrong_value`` with the name on the wire."""
    answer = box.gift(body)
    error = answer.json()
    assert answer.status_code == 400
    assert (error["api_error_code"], error["param"]) == ("param_wrong_value", param)
    assert error["type"] == "invalid_request"
    assert error["http_status_code"] == 400
    assert box.get("/counts")["pages"] == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("pass_thru_content=x", "pass_thru_content"),
        ("gifter[email]=a@b.c", "gifter[email]"),
        ("subscription_items[itemPriceId][0]=x", "subscription_items[itemPriceId]"),
    ],
)
def test_gift_refuses_an_unknown_parameter(box: Any, body: str, param: str) -> None:
    """A parameter that the operation does not have is named and refused."""
    error = box.gift(body).json()
    assert (error["api_error_code"], error["param"]) == ("invalid_request", param)


def test_gift_refuses_another_encoding(box: Any) -> None:
    """A JSON body is not read as a form."""
    answer = box.call("POST", "/api/v2/hosted_pages/checkout_gift_for_items", body=b"{}",
                      headers={"content-type": "application/json"})  # fmt: skip
    assert (answer.status_code, answer.json()["api_error_code"]) == (400, "invalid_request")


def test_gift_refuses_a_body_beyond_the_bound(box: Any) -> None:
    """More than 1 MiB is not read."""
    answer = box.gift("redirect_url=" + "u" * 2**20)
    assert (answer.status_code, answer.json()["message"]) == (400, "the body is too long")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ("subscription_items[item_price_id][2]=missing_plan", 404,
         "subscription_items[item_price_id][2]"),
        ("item_tiers[item_price_id][0]=missing_plan", 404, "item_tiers[item_price_id][0]"),
        ("subscription_items[item_price_id][0]=not_giftable_plan", 400,
         "subscription_items[item_price_id][0]"),
        ("coupon_ids[1]=missing_coupon", 404, "coupon_ids[1]"),
        ("business_entity_id=missing_be", 404, "business_entity_id"),
        ("brand_id=missing_brand", 404, "brand_id"),
    ],
)  # fmt: skip
def test_gift_refuses_the_documented_prefixes(
    box: Any, body: str, status: int, param: str
) -> None:
    """Ids that begin with a documented prefix do not exist, or cannot be given."""
    answer = box.gift(body)
    code = "resource_not_found" if status == 404 else "invalid_request"
    assert answer.status_code == status
    assert (answer.json()["api_error_code"], answer.json()["param"]) == (code, param)


def test_gift_follows_a_catalogue(box: Any) -> None:
    """With a catalogue only what it lists exists, on its own site alone."""
    box.post("/catalogue?site=acme-test", {
        "item_prices": [{"id": "basic-USD"}, {"id": "chair-USD", "giftable": False}],
        "coupons": ["TEN"],
        "business_entities": ["be_1"],
    })  # fmt: skip
    assert box.gift(ITEM + "&coupon_ids[0]=TEN&business_entity_id=be_1&brand_id=b").is_success
    for body, status in (
        ("subscription_items[item_price_id][0]=other", 404),
        ("subscription_items[item_price_id][0]=chair-USD", 400),
        ("coupon_ids[0]=ELEVEN", 404),
        ("business_entity_id=be_2", 404),
    ):
        assert box.gift(body).status_code == status, body
        assert box.gift(body, key="test_other_key").status_code == 200
    box.client.delete(f"{box.url}/_sandbox/catalogue?site=acme-test")
    assert box.gift("coupon_ids[0]=ELEVEN").status_code == 200
