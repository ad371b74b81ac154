"""The hosted page, from its address to what a completed checkout leaves behind."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

PEOPLE = {
    "gifter_first_name": "Ada",
    "gifter_last_name": "Lovelace",
    "gifter_email": "ada@example.com",
    "receiver_first_name": "Bo",
    "receiver_last_name": "Diaz",
    "receiver_email": "Bo@example.com",
    "message": "Happy birthday",
}


def make(box: Any, body: str = "", **headers: str) -> dict[str, Any]:
    """Make a page through the API."""
    answer = box.gift(body, **headers)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()["hosted_page"]
    return page


def opened(box: Any, page: dict[str, Any]) -> str:
    """Open a page in a browser's place; its token."""
    shown = box.client.get(page["url"])
    assert shown.status_code == 200
    found = re.search(r'name="token" value="([^"]+)"', shown.text)
    assert found is not None
    return found[1]


def complete(box: Any, page: dict[str, Any], **fields: str) -> httpx.Response:
    """Open the page, fill it in and send it."""
    form = {"token": opened(box, page), "action": "complete", **PEOPLE, **fields}
    answer: httpx.Response = box.client.post(page["url"], data=form)
    return answer


def state(box: Any, page: dict[str, Any]) -> str:
    """The state as the API gives it."""
    answer = box.call("GET", f"/api/v2/hosted_pages/{page['id']}")
    return str(answer.json()["hosted_page"]["state"])


def test_page_goes_through_its_states(box: Any) -> None:
    """Created, requested when opened, succeeded when completed, then acknowledged, once."""
    page = make(box)
    assert state(box, page) == "created"
    opened(box, page)
    assert state(box, page) == "requested"
    assert box.call("POST", f"/api/v2/hosted_pages/{page['id']}/acknowledge").status_code == 409
    assert complete(box, page).status_code == 200
    assert state(box, page) == "succeeded"
    acknowledged = box.call("POST", f"/api/v2/hosted_pages/{page['id']}/acknowledge")
    assert acknowledged.json()["hosted_page"]["state"] == "acknowledged"
    assert acknowledged.json()["hosted_page"]["resource_version"] > page["resource_version"]
    again = box.call("POST", f"/api/v2/hosted_pages/{page['id']}/acknowledge")
    assert (again.status_code, again.json()["api_error_code"]) == (
        409,
        "invalid_state_for_request",
    )


def test_page_of_another_site_is_not_found(box: Any) -> None:
    """A page is read with the key of its own site only, and on its own host."""
    page = make(box)
    path = f"/api/v2/hosted_pages/{page['id']}"
    assert box.call("GET", path, key="test_other_key").status_code == 404
    other = {"host": "other-test.chargebee.com"}
    assert box.client.get(page["url"], headers=other).status_code == 404
    own = {"host": "acme-test.chargebee.com"}
    assert box.client.get(page["url"], headers=own).status_code == 200


def test_completed_page_shows_what_it_made(box: Any) -> None:
    """The content of the page names gifter, receiver, gift and subscription."""
    body = "subscription_items[item_price_id][0]=basic-USD&subscription_items[quantity][0]=2"
    page = make(box, body + "&gifter[customer_id]=cust_ada")
    complete(box, page, scheduled_date="2099-12-24")
    content = box.call("GET", f"/api/v2/hosted_pages/{page['id']}").json()["hosted_page"][
        "content"
    ]
    assert content["customer"]["id"] == "cust_ada"
    assert content["subscription"]["subscription_items"] == [
        {"item_price_id": "basic-USD", "quantity": 2}
    ]
    gift = content["gift"]
    assert (gift["status"], gift["gifter"]["note"]) == ("scheduled", "Happy birthday")
    assert gift["scheduled_at"] == 4_101_753_600
    assert gift["gift_receiver"]["email"] == "Bo@example.com"
    assert [event["type"] for event in box.get("/events")["events"]] == [
        "customer_created", "customer_created", "subscription_created", "gift_scheduled",
    ]  # fmt: skip


def test_completion_redirects_with_id_and_state(box: Any) -> None:
    """The customer is sent to ``redirect_url``, its own query kept."""
    page = make(box, "redirect_url=https%3A%2F%2Fshop.example.com%2Fthanks%3Fsrc%3Da%2520b%23top")
    answer = complete(box, page)
    assert answer.status_code == 303
    target = urlsplit(answer.headers["location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == "https://shop.example.com/thanks"
    assert parse_qs(target.query) == {"src": ["a b"], "id": [page["id"]], "state": ["succeeded"]}
    assert target.fragment == "top"
    policy = box.client.get(page["url"]).headers["content-security-policy"]
    assert "form-action 'self';" in policy  # the page is done: no form leads anywhere any more


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//evil.example", "https://", "x y", "ftp://a/"]
)
def test_completion_redirects_to_the_web_only(box: Any, url: str) -> None:
    """An address that is no http(s) URL is shown nowhere and followed nowhere."""
    page = make(box, str(httpx.QueryParams({"redirect_url": url})))
    answer = complete(box, page)
    assert (answer.status_code, "location" in answer.headers) == (200, False)
    assert state(box, page) == "succeeded"


def test_gifter_is_found_by_id_at_completion(box: Any) -> None:
    """A gifter who exists by then is used as they are, in their own business entity."""
    page = make(box, "gifter[customer_id]=cust_ada")
    box.post("/customers", {
        "site": "acme-test", "id": "cust_ada", "email": "old@example.com",
        "business_entity_id": "be_eu",
    }, status=201)  # fmt: skip
    complete(box, page)
    ada, bo = box.get("/customers")["customers"]
    assert (ada["id"], ada["email"]) == ("cust_ada", "old@example.com")
    assert (bo["email"], bo["business_entity_id"]) == ("bo@example.com", "be_eu")
    created = [e for e in box.get("/events")["events"] if e["type"] == "customer_created"]
    assert [event["customer_id"] for event in created] == [bo["id"]]


def test_gifter_is_created_with_the_id_of_the_call(box: Any) -> None:
    """A gifter who is not there is created under that id, in the business entity of the page."""
    page = make(box, "gifter[customer_id]=cust_new", chargebee_business_entity_id="be_1")
    assert box.get("/customers")["customers"] == []
    complete(box, page)
    found = [(c["id"], c["business_entity_id"]) for c in box.get("/customers")["customers"]]
    assert found[0] == ("cust_new", "be_1")
    assert found[1][1] == "be_1"


def test_gifter_without_an_id_is_created_each_time(box: Any) -> None:
    """Without an id there is no lookup: each checkout makes a gifter, the receiver is found."""
    for _ in range(2):
        complete(box, make(box))
    emails = [customer["email"] for customer in box.get("/customers")["customers"]]
    assert emails == ["ada@example.com", "bo@example.com", "ada@example.com"]


def test_receiver_is_the_first_with_the_address(box: Any) -> None:
    """Of several customers with the address the first created wins, case apart."""
    for name in ("first", "second"):
        box.post("/customers", {"site": "acme-test", "id": name, "email": "BO@example.com"})
    page = make(box)
    complete(box, page)
    answer = box.call("GET", f"/api/v2/hosted_pages/{page['id']}").json()
    assert answer["hosted_page"]["content"]["gift"]["gift_receiver"]["customer_id"] == "first"
    assert box.get("/counts")["customers"] == 3


@pytest.mark.parametrize(
    "elsewhere",
    [{"site": "other-test"}, {"site": "acme-test", "business_entity_id": "be_other"}],
)
def test_receiver_is_looked_for_in_the_gifters_entity(box: Any, elsewhere: dict[str, str]) -> None:
    """A customer of another business entity or site is somebody else."""
    box.post("/customers", {"id": "elsewhere", "email": "bo@example.com"} | elsewhere)
    complete(box, make(box, "business_entity_id=be_1"))
    bo = box.get("/customers?site=acme-test")["customers"][-1]
    assert bo["id"] != "elsewhere"
    assert bo["business_entity_id"] == "be_1"


def test_events_of_the_checkout_are_not_suppressed(box: Any) -> None:
    """Skip headers act on the events of their own call; the checkout's are sent all the same."""
    page = make(box, "", chargebee_event_webhook="all-disabled")
    assert box.get("/events")["events"] == []
    assert box.last()["skip"] == ["webhooks"]
    complete(box, page)
    events = box.get("/events")["events"]
    assert [event["type"] for event in events][-2:] == ["gift_scheduled", "gift_unclaimed"]
    for event in events:
        assert (event["call_skip"], event["suppressed"]) == (["webhooks"], [])
    assert "so every event here is sent" in box.client.get(f"{box.url}/_sandbox/").text


def test_page_can_be_cancelled(box: Any) -> None:
    """Cancelled it makes nothing and cannot be completed."""
    page = make(box, "redirect_url=https%3A%2F%2Fshop.example.com")
    token = opened(box, page)
    answer = box.client.post(page["url"], data={"token": token, "action": "cancel"})
    assert answer.status_code == 200
    assert "Cancelled" in answer.text
    assert state(box, page) == "cancelled"
    again = box.client.post(page["url"], data={"token": token, "action": "complete", **PEOPLE})
    assert (again.status_code, box.get("/counts")["customers"]) == (200, 0)


def test_page_is_completed_once(box: Any) -> None:
    """Sent twice, the form makes one gift."""
    page = make(box)
    form = {"token": opened(box, page), "action": "complete", **PEOPLE}
    for _ in range(2):
        assert "on its way" in box.client.post(page["url"], data=form).text
    assert box.get("/counts")["customers"] == 2


def test_page_expires_by_the_clock(box: Any) -> None:
    """One second before its end it opens; then it says that it has expired, with 410."""
    page = make(box)
    box.post("/clock", {"now_ms": page["expires_at"] * 1000 - 1000, "frozen": True})
    token = opened(box, page)
    box.post("/clock", {"now_ms": page["expires_at"] * 1000})
    late = box.client.get(page["url"])
    assert late.status_code == 410
    assert "expired" in late.text
    form = {"token": token, "action": "complete", **PEOPLE}
    assert box.client.post(page["url"], data=form).status_code == 410
    assert box.get("/counts")["customers"] == 0


def test_page_life_is_a_setting(box: Any) -> None:
    """``page_expires_s`` holds for the pages made after it."""
    box.post("/settings", {"page_expires_s": 60})
    page = make(box)
    assert page["expires_at"] - page["created_at"] == 60


def test_unknown_page_is_not_found(box: Any) -> None:
    """An address that was cut short says so."""
    answer = box.client.get(f"{box.url}/pages/v3/nothing/")
    assert answer.status_code == 404
    assert "no such page" in answer.text


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("gifter_first_name", " ", "fill this in"),
        ("gifter_last_name", "x" * 151, "At most 150"),
        ("gifter_email", "ada", "enter an e-mail"),
        ("receiver_last_name", "", "fill this in"),
        ("receiver_email", "a@" + "b" * 70 + ".example", "enter an e-mail"),
        ("message", "x" * 501, "At most 500"),
        ("scheduled_date", "tomorrow", "enter a date"),
        ("scheduled_date", "2001-01-01", "in the past"),
        ("token", "guessed", "stale"),
    ],
)
def test_form_says_what_is_wrong(box: Any, field: str, value: str, text: str) -> None:
    """What is wrong is said beside its field, and what was typed is kept."""
    page = make(box)
    answer = complete(box, page, **{field: value})
    assert answer.status_code == 400
    assert text in answer.text
    if field != "token":
        assert f'aria-describedby="{field}_error"' in answer.text
    assert 'value="Ada"' in answer.text or field == "gifter_first_name"
    assert box.get("/counts")["customers"] == 0


def test_form_survives_a_broken_body(box: Any) -> None:
    """A body that is no form shows the form again."""
    page = make(box)
    answer = box.client.post(page["url"], content=b"a=%ff")
    assert answer.status_code == 400
    assert "Send the gift" in answer.text


HOSTILE = "<script>alert('x')</script>"


def test_everything_shown_is_escaped(box: Any) -> None:
    """Text of callers and visitors is text, on the page and on the admin page."""
    body = httpx.QueryParams({
        "subscription_items[item_price_id][0]": HOSTILE, "coupon_ids[0]": HOSTILE,
        "gifter[customer_id]": HOSTILE, "gifter[locale]": '"><script>',
        "redirect_url": "https://a.example/'\"><script>",
    })  # fmt: skip
    page = make(box, str(body), chargebee_idempotency_key=HOSTILE)
    shown = box.client.get(page["url"]).text
    wrong = complete(box, page, gifter_email=HOSTILE, message=HOSTILE).text
    done = complete(box, page, receiver_first_name=HOSTILE, message=HOSTILE).text
    box.fault("body", text=HOSTILE)
    admin = box.client.get(f"{box.url}/_sandbox/").text
    for text in (shown, wrong, done, admin):
        assert "<script" not in text
    for text in (shown, wrong, admin):
        assert html.escape(HOSTILE, quote=False).replace("'", "&#39;") in text


def test_layouts_differ(box: Any) -> None:
    """An in-app page has no head of its own and may be framed; a full page may not."""
    full, in_app = make(box), make(box, "layout=in_app")
    shown = box.client.get(full["url"])
    assert 'class="shop"' in shown.text
    assert "frame-ancestors 'none'" in shown.headers["content-security-policy"]
    shown = box.client.get(in_app["url"])
    assert 'class="shop"' not in shown.text
    assert "frame-ancestors *" in shown.headers["content-security-policy"]


def test_page_headers_guard_its_address(box: Any) -> None:
    """The address opens the page, so it is neither cached nor sent on as a referrer."""
    headers = box.client.get(make(box)["url"]).headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_page_shows_the_names_of_a_catalogue(box: Any) -> None:
    """An item price is shown by its name where there is one."""
    box.post("/catalogue", {"item_prices": [{"id": "basic-USD", "name": "Birdseed box"}]})
    page = make(box, "subscription_items[item_price_id][0]=basic-USD")
    assert "Birdseed box" in box.client.get(page["url"]).text
