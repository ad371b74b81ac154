"""The overview, sites, ways in and what holds for all pages, in a browser over a working fleet."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

MISSING = {"subscription_items": [{"item_price_id": "missing_1"}]}
GOOD = {"subscription_items": [{"item_price_id": "private-plan", "quantity": 2}]}
CHARTS = (
    "Jobs a minute, by outcome", "From enqueue to result", "Calls of the API",
    "Waiting and in flight", "Age of the oldest waiting job", "429s and other retries a minute",
)  # fmt: skip


def test_overview_counts_what_the_fleet_does(page: Page, stack: Any) -> None:
    """Cards, charts and workers are there, and the events keep them fresh by themselves."""
    page.goto(stack.url)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    for title in CHARTS:
        expect(page.get_by_role("img", name=title)).to_be_visible()
        expect(page.locator("summary").filter(has_text=title.split(",")[0])).to_be_visible()
    live = page.locator("#live")
    expect(live).to_have_attribute("data-updates", re.compile(r"\d"))
    stack.sandbox.admin.set(latency_ms=2500)
    jobs = [stack.producer.gift_checkout(GOOD) for _ in range(3)]
    table = page.locator('[data-live="workers"]')
    expect(
        table.get_by_role("link", name=re.compile("|".join(job.id for job in jobs)))
    ).to_be_visible()
    stack.sandbox.admin.set(latency_ms=0)
    for job in jobs:
        stack.ended(job, "succeeded")
    places = page.locator('[data-live="places"]')
    # Workers write their figures every few seconds.
    expect(places.get_by_role("cell", name="acme-test")).to_be_visible(timeout=15_000)
    expect(places.get_by_role("cell", name="gift-checkout")).to_be_visible()
    expect(page.locator("rect.bar-succeeded").first).to_be_attached()


def test_overview_lists_workers_that_wait_for_work(page: Page, stack: Any) -> None:
    """A worker that holds no job is there, idle, with its size, its version and its last word."""
    page.goto(stack.url)
    row = page.locator('[data-live="workers"]').get_by_role("row").nth(1)
    expect(row).to_contain_text("idle")
    expect(row).to_contain_text("0 of 8")
    expect(row).to_contain_text(re.compile(r"\d s ago"))


def test_overview_draws_depth_and_retries(page: Page, stack: Any) -> None:
    """What waits behind a paused site is drawn, and so are 429s, each also as numbers."""
    stack.sandbox.admin.add_fault("throttle", times=1)
    stack.ended(stack.producer.gift_checkout(GOOD), "succeeded")
    stack.operator.pause("acme-test")
    jobs = [stack.producer.gift_checkout(GOOD) for _ in range(3)]
    page.goto(f"{stack.url}/?site=acme-test")
    waiting = page.locator('[data-live="cards"] div').filter(has_text="Waiting")
    expect(waiting).to_contain_text("3")
    chart = page.locator('[data-live="charts"]')
    expect(chart.locator("rect.bar-429s").first).to_be_attached(timeout=15_000)
    expect(chart.locator("polyline.line-waiting, circle.line-waiting").first).to_be_attached(
        timeout=15_000
    )
    page.reload()
    page.locator("summary").filter(has_text="429s and other retries").click()
    numbers = page.get_by_role("region", name="429s and other retries a minute, as numbers")
    expect(numbers.get_by_role("columnheader", name="429s")).to_be_visible()
    for job in jobs:
        job.cancel()


def test_overview_says_when_redis_is_unreachable(page: Page, stack: Any) -> None:
    """The page that is open says so and goes on when it is back; a new one says it whole."""
    page.goto(stack.url)
    expect(page.locator("#live")).to_have_attribute("data-updates", re.compile(r"\d"))
    stack.server.pause()
    try:
        expect(page.locator("#pulse")).to_contain_text("trying again", timeout=20_000)
    finally:
        stack.server.resume()
    expect(page.locator("#pulse")).to_be_empty(timeout=20_000)


def test_overview_can_be_paused_and_narrowed(page: Page, stack: Any) -> None:
    """Updates stop at a press, and a choice of site and kind is kept."""
    page.goto(stack.url)
    live = page.locator("#live")
    expect(live).to_have_attribute("data-updates", re.compile(r"\d"))
    page.get_by_role("button", name="Pause updates").click()
    expect(page.get_by_role("button", name="Pause updates")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.get_by_label("Kind", exact=True).select_option("personalized_offer")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("kind=personalized_offer"))
    expect(page.get_by_label("Kind", exact=True)).to_have_value("personalized_offer")


def test_read_only_shows_and_changes_nothing(page: Page, stack: Any) -> None:
    """No button of a move is there, values stay hidden, and a forged form is refused."""
    job = stack.ended(stack.producer.gift_checkout(MISSING), "failed")
    url = stack.open("--read-only")
    for path in ("/", "/jobs", f"/jobs/{job.id}", "/sites", "/dead", "/held", "/audit"):
        page.goto(f"{url}{path}")
        expect(page.get_by_text("read-only")).to_be_visible()
        for name in (
            "Replay",
            "Discard",
            "Cancel",
            "Pause acme-test",
            "Change the rate",
            "Show v",
        ):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
    page.goto(f"{url}/jobs/{job.id}")
    expect(page.get_by_text("Values are hidden.")).to_be_visible()
    answer = page.request.post(f"{url}/jobs/{job.id}/discard", form={"csrf": "x"})
    assert answer.status == 403
    assert job.state() == "failed"


def test_actions_are_made_with_the_keyboard_alone(page: Page, stack: Any) -> None:
    """A site is paused and resumed without a mouse; what was done is said aloud."""
    page.goto(f"{stack.url}/sites")
    page.get_by_label("Reason").focus()
    page.keyboard.type("lunch")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Pause acme-test")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("acme-test is paused.")
    page.get_by_role("button", name="Resume acme-test").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_contain_text("acme-test goes on.")


def test_page_that_is_not_there_leads_back(page: Page, stack: Any) -> None:
    """A job that nobody knows is told in words, with the way back."""
    answer = page.request.get(f"{stack.url}/jobs/{'0' * 32}")
    assert answer.status == 404
    assert "dropped after its time" in answer.text()
    assert '<a href="/">Overview</a>' in answer.text()


def test_site_is_paused_resumed_and_slowed(page: Page, stack: Any) -> None:
    """Pause holds jobs back, resume lets them go, and the rate changes for the fleet."""
    page.goto(f"{stack.url}/sites")
    site = page.get_by_role("region", name="acme-test")
    site.get_by_label("Reason").fill("price change")
    site.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("acme-test is paused.")).to_be_visible()
    expect(site).to_contain_text("A person paused it at")
    job = stack.producer.gift_checkout(GOOD)
    page.goto(stack.url)
    expect(page.locator('[data-live="sites"]')).to_contain_text(
        "acme-test is paused: price change"
    )
    page.goto(f"{stack.url}/sites")
    expect(site).to_contain_text("1 interactive")
    site.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("acme-test goes on.")).to_be_visible()
    stack.ended(job, "succeeded")
    site.get_by_label("Calls a minute").fill("30")
    site.get_by_role("button", name="Change the rate").click()
    expect(site).to_contain_text("set by hand: 30")
    site.get_by_role("button", name="Back to the settings").click()
    expect(site).not_to_contain_text("set by hand")


def test_password_lets_in_and_out(page: Page, stack: Any) -> None:
    """The login keeps the page that was asked for; the name is in the audit list."""
    url = stack.open(env={"LARGESSE_DASHBOARD_PASSWORD": "correct-horse-battery"})
    page.goto(f"{url}/sites")
    page.get_by_label("Password or token").fill("correct-horse-battery")
    page.get_by_label("Your name").fill("Ada")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sites")).to_be_visible()
    page.get_by_role("button", name="Pause acme-test").click()
    expect(page.get_by_text("acme-test is paused.")).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("cell", name="dashboard Ada").first).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto(url)
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_pages_are_read_with_the_keyboard(page: Page, stack: Any) -> None:
    """The first stop skips to the content; each page has one main heading and named controls."""
    job = stack.ended(stack.producer.gift_checkout(MISSING), "failed")
    for path in ("/", "/jobs", f"/jobs/{job.id}", "/sites", "/dead", "/held", "/audit"):
        page.goto(f"{stack.url}{path}")
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text("Skip to the content")
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        nameless = page.evaluate(_NAMELESS)
        assert nameless == [], path


@pytest.mark.parametrize("width", [390, 1100, 1200])
def test_pages_fit_the_screen(page: Page, stack: Any, width: int) -> None:
    """From a phone to a desk nothing is wider than the screen."""
    job = stack.ended(stack.producer.gift_checkout(MISSING, key="k" * 60), "failed")
    page.set_viewport_size({"width": width, "height": 844})
    for path in ("/", "/jobs", f"/jobs/{job.id}", "/sites", "/dead", "/held", "/audit"):
        page.goto(f"{stack.url}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(
    page: Page, stack: Any, scheme: Callable[[], str]
) -> None:
    """Light and dark: every text has a contrast of 4.5 or more."""
    job = stack.ended(stack.producer.gift_checkout(MISSING), "failed")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path in ("/", "/jobs", f"/jobs/{job.id}", "/sites", "/dead", "/audit"):
        page.goto(f"{stack.url}{path}")
        assert page.evaluate(_FAINT) == [], path


_NAMELESS = """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select')]
  .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length))
  .map((one) => one.outerHTML)"""

_FAINT = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const parse = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const f = (c) => (c /= 255) <= .03928 ? c / 12.92
    : ((c + .055) / 1.055) ** 2.4; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const over = (top, below) => { const a = top[3] / 255;
    return [0, 1, 2].map((n) => top[n] * a + below[n] * (1 - a)).concat(255); };
  const ground = (one) => { const own = parse(getComputedStyle(one).backgroundColor);
    return own[3] === 255 ? own : over(own, one.parentElement ? ground(one.parentElement)
      : [255, 255, 255, 255]); };
  const faint = [];
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !one.checkVisibility() || one.closest('svg, .hidden, .skip, option')) continue;
    const [x, y] = [light(parse(getComputedStyle(one).color)), light(ground(one))];
    const contrast = (Math.max(x, y) + .05) / (Math.min(x, y) + .05);
    if (contrast < 4.5) faint.push(one.outerHTML.slice(0, 90) + ' ' + contrast.toFixed(2));
  }
  return faint;
}"""
