"""The hosted page in a real browser, from the API's answer to the redirect."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

pytestmark = pytest.mark.browser


def make(sandbox_url: str, **params: str) -> dict[str, Any]:
    """Ask the API for a gift checkout, in the place of a backend."""
    answer = httpx.post(
        f"{sandbox_url}/api/v2/hosted_pages/checkout_gift_for_items",
        auth=("test_sandbox_key", ""),
        data={
            "subscription_items[item_price_id][0]": "birdseed-box-USD-yearly",
            "subscription_items[quantity][0]": "2",
            **params,
        },
    )
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()["hosted_page"]
    return page


def fill(page: Page, role: str, first: str, last: str, email: str) -> None:
    """Fill in one person, by the labels that a visitor sees."""
    group = page.get_by_role("group", name=role, exact=True)
    group.get_by_label("First name").fill(first)
    group.get_by_label("Last name").fill(last)
    group.get_by_label("E-mail").fill(email)


def test_gift_is_completed_in_a_browser(browser: BrowserContext, sandbox_url: str) -> None:
    """Open, fill in, send; redirected with id and state; the customers are on the admin page."""
    hosted = make(
        sandbox_url,
        **{
            "gifter[customer_id]": "cust_ada",
            "business_entity_id": "be_eu",
            "redirect_url": f"{sandbox_url}/_sandbox/?from=gift",
        },
    )
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(hosted["url"])
    expect(page.get_by_role("heading", name="Send a gift")).to_be_visible()
    expect(page.get_by_text("birdseed-box-USD-yearly")).to_be_visible()

    fill(page, "From you", "Ada", "Lovelace", "ada@example.com")
    fill(page, "For", "Bo", "Díaz", "bo@example.com")
    page.get_by_label("Message").fill("Happy birthday! 🎂")
    page.get_by_label("Deliver on").fill("2099-12-24")
    page.get_by_role("button", name="Send the gift").click()

    page.wait_for_url("**/_sandbox/?from=gift*")
    query = parse_qs(urlsplit(page.url).query)
    assert query == {"from": ["gift"], "id": [hosted["id"]], "state": ["succeeded"]}
    table = page.get_by_role("table").filter(has_text="Business entity").filter(has_text="E-mail")
    for text in ("cust_ada", "Ada Lovelace", "Bo Díaz", "bo@example.com"):
        expect(table.get_by_text(text)).to_be_visible()
    expect(table.get_by_text("be_eu")).to_have_count(2)
    assert problems == []

    # The same two people again: both are found, nobody is created.
    again = make(sandbox_url, **{"gifter[customer_id]": "cust_ada"})
    page.goto(again["url"])
    fill(page, "From you", "Somebody", "Else", "else@example.com")
    fill(page, "For", "Robert", "D", "BO@example.com")
    page.get_by_role("button", name="Send the gift").click()
    expect(page.get_by_role("heading", name="Your gift is on its way")).to_be_visible()
    assert httpx.get(f"{sandbox_url}/_sandbox/counts").json()["customers"] == 2


def test_form_is_checked_before_and_after_it_is_sent(
    browser: BrowserContext, sandbox_url: str
) -> None:
    """The browser asks for what is missing; the server says what is wrong beside the field."""
    page = browser.new_page()
    page.goto(make(sandbox_url)["url"])
    page.get_by_role("button", name="Send the gift").click()
    assert page.evaluate("document.activeElement.id") == "gifter_first_name"
    fill(page, "From you", "Ada", "Lovelace", "ada@localhost")
    fill(page, "For", "Bo", "Diaz", "bo@example.com")
    page.get_by_role("button", name="Send the gift").click()
    said = "Please enter an e-mail address."
    expect(page.get_by_role("alert")).to_contain_text(f"Your e-mail: {said}")
    field = page.locator("#gifter_email")
    expect(field).to_have_value("ada@localhost")
    expect(field).to_have_accessible_description(said)


def test_page_can_be_cancelled_in_a_browser(browser: BrowserContext, sandbox_url: str) -> None:
    """Cancelling needs no field filled in."""
    page = browser.new_page()
    page.goto(make(sandbox_url)["url"])
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen(
    browser: BrowserContext, sandbox_url: str, width: int, scheme: Any
) -> None:
    """Nothing is cut off or scrolls sideways, and text has contrast, in both schemes."""
    hosted = make(sandbox_url, **{"coupon_ids[0]": "W" * 100})
    httpx.post(f"{sandbox_url}/_sandbox/faults", json={"fault": "error", "times": 1})
    httpx.post(
        f"{sandbox_url}/api/v2/hosted_pages/checkout_gift_for_items",
        auth=("test_sandbox_key", ""),
        headers={"chargebee-idempotency-key": "k" * 100},
    )
    page = browser.new_page()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    for url in (hosted["url"], f"{sandbox_url}/_sandbox/"):
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(_WORST_CONTRAST) >= 4.5


#: The lowest contrast ratio of any text with what is painted behind it (WCAG 2).
_WORST_CONTRAST = """() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parts(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll('body *')].filter(e =>
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
  return Math.min(...texts.map(e => {
    const pair = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => a - b);
    return (pair[1] + 0.05) / (pair[0] + 0.05);
  }));
}"""
