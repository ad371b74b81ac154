"""Jobs, dead letters and held jobs: every page and move, in a browser over a working fleet."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from rig.shelf import OFFER

from worker import JobHandle

pytestmark = pytest.mark.browser

MISSING = {"subscription_items": [{"item_price_id": "missing_1"}]}
GOOD = {"subscription_items": [{"item_price_id": "private-plan", "quantity": 2}]}


def test_job_is_found_by_key_and_page(page: Page, stack: Any) -> None:
    """The search finds a job; its page has the timeline, the result, and no address."""
    job = stack.ended(stack.producer.gift_checkout(GOOD, key="order-77"), "succeeded")
    hosted = job.result(timeout=5).hosted_page
    assert hosted is not None
    for words in ("order-77", hosted.id, job.id):
        page.goto(f"{stack.url}/jobs")
        page.get_by_label("Job id, key or hosted page id").fill(words)
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name=job.id)).to_have_count(1)
    page.get_by_role("link", name=job.id).click()
    expect(page.get_by_role("heading", name="gift-checkout")).to_be_visible()
    timeline = page.get_by_role("listitem")
    expect(timeline.nth(0)).to_contain_text("enqueued")
    expect(timeline.nth(1)).to_contain_text("attempt 1")
    expect(timeline.nth(2)).to_contain_text("published")
    expect(page.get_by_label("Result as JSON")).to_contain_text(hosted.id)
    assert hosted.url not in page.content()
    page.get_by_role("button", name="Show values of the result").click()
    expect(page.get_by_label("Result as JSON")).to_contain_text(hosted.url)


def test_jobs_are_found_by_what_they_are(page: Page, stack: Any) -> None:
    """Site, kind, state, code and time each leave others out; a slip of a time is explained."""
    good = stack.ended(stack.producer.gift_checkout(GOOD), "succeeded")
    dead = stack.ended(stack.producer.gift_checkout(MISSING), "failed")
    offer = stack.ended(
        stack.producer.personalized_offer({**OFFER, "customer_id": "y"}), "succeeded"
    )
    page.goto(f"{stack.url}/jobs")

    def found(*wanted: JobHandle) -> None:
        page.get_by_role("button", name="Search").click()
        for job in (good, dead, offer):
            expect(page.get_by_role("link", name=job.id)).to_have_count(int(job in wanted))

    page.get_by_label("Site", exact=True).select_option("acme-test")
    found(good, dead, offer)
    page.get_by_label("Kind", exact=True).select_option("gift_checkout")
    found(good, dead)
    page.get_by_label("Code, class or status").fill("resource_not_found")
    found(dead)
    page.get_by_label("Code, class or status").fill("")
    page.get_by_label("State", exact=True).select_option("succeeded")
    found(good)
    page.get_by_label("Until").fill("1h")
    found()
    page.get_by_label("Until").fill("")
    page.get_by_label("Since").fill("yesterday")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("“Since” is no time: write 30m")).to_be_visible()
    expect(page.get_by_label("Since")).to_have_attribute("aria-invalid", "true")


def test_dead_job_is_discarded_from_its_page(page: Page, stack: Any) -> None:
    """It leaves the dead letters, its outcome stays, and it cannot be replayed any more."""
    job = stack.ended(stack.producer.gift_checkout(MISSING), "failed")
    page.goto(f"{stack.url}/jobs/{job.id}")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_text("The job is discarded.")).to_be_visible()
    expect(page.get_by_role("region", name="Actions")).to_contain_text("not possible")
    page.goto(f"{stack.url}/dead")
    expect(page.locator(f'input[value="{job.id}"]')).to_have_count(0)
    assert job.state() == "failed"


def test_running_job_is_cancelled_after_its_attempt(page: Page, stack: Any) -> None:
    """The page of a job that runs says so, and what a cancel will do."""
    stack.sandbox.admin.add_fault("error", status=503, times=1)
    stack.sandbox.admin.set(latency_ms=2_000)
    job = stack.ended(stack.producer.gift_checkout(GOOD), "running")
    page.goto(f"{stack.url}/jobs/{job.id}")
    expect(page.get_by_role("region", name="Timeline")).to_contain_text("runs now, delivery 1")
    expect(page.get_by_role("region", name="Actions")).to_contain_text("after this attempt")
    page.get_by_role("button", name="Cancel").click()
    expect(
        page.get_by_text("The job is running. It is cancelled after this attempt.")
    ).to_be_visible()
    stack.sandbox.admin.set(latency_ms=0)
    stack.ended(job, "cancelled")
    page.reload()
    timeline = page.get_by_role("region", name="Timeline")
    expect(timeline).to_contain_text("503")
    expect(timeline).to_contain_text("cancelled")


def test_dead_job_is_replayed_from_its_page(page: Page, stack: Any) -> None:
    """Values are hidden until asked for; a replay puts it into its line, where it is cancelled."""
    job = stack.ended(stack.producer.gift_checkout(MISSING), "failed")
    page.goto(f"{stack.url}/jobs/{job.id}")
    payload = page.get_by_label("Payload as JSON")
    expect(payload).to_contain_text("item_price_id")
    expect(payload).to_contain_text("•••")
    expect(payload).not_to_contain_text("missing_1")
    page.get_by_role("button", name="Show values").click()
    expect(payload).to_contain_text("missing_1")
    actions = page.get_by_role("region", name="Actions")
    expect(actions).to_contain_text("No earlier attempt made a page")
    stack.operator.pause("acme-test")
    page.get_by_role("button", name="Replay with a new key").click()
    expect(page.get_by_text("The job waits in its line again.")).to_be_visible()
    assert job.state() == "queued"
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The job is cancelled.")).to_be_visible()
    assert job.state() == "cancelled"


def test_dead_letters_are_grouped_filtered_and_replayed(page: Page, stack: Any) -> None:
    """A group leads to its jobs; many are chosen, the plan is shown, and they run again."""
    jobs = [stack.ended(stack.producer.gift_checkout(MISSING), "failed") for _ in range(2)]
    other = stack.ended(
        stack.producer.personalized_offer({**OFFER, "customer_id": "x"}), "succeeded"
    )
    assert other.state() == "succeeded"
    page.goto(f"{stack.url}/dead")
    page.get_by_role("link", name=re.compile("resource_not_found")).first.click()
    expect(page).to_have_url(re.compile("code=resource_not_found"))
    for job in jobs:
        page.get_by_role("checkbox", name=f"Choose job {job.id}").check()
    stack.operator.pause("acme-test")
    page.get_by_role("button", name="Replay…").click()
    expect(page.get_by_role("heading", name="Replay 2 jobs?")).to_be_visible()
    expect(page.get_by_text("2 of 2 would run")).to_be_visible()
    expect(page.get_by_text("run, same key")).to_have_count(2)
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_text("2 jobs are waiting again.")).to_be_visible()
    assert {job.state() for job in jobs} == {"queued"}
    stack.operator.resume("acme-test")
    for job in jobs:
        stack.ended(job, "failed")
    page.goto(f"{stack.url}/dead")
    page.get_by_label("Choose all shown").check()
    page.get_by_role("button", name="Discard…").click()
    page.get_by_role("button", name="Discard", exact=True).click()
    expect(page.get_by_text(re.compile("discarded"))).to_be_visible()
    expect(page.get_by_text("None: all is well.")).to_be_visible()


def test_held_job_needs_a_decision(page: Page, stack: Any) -> None:
    """Its window is over: the same key is refused, a new one warns, and the audit has it all."""
    job = stack.held()
    page.goto(f"{stack.url}/held")
    page.get_by_role("checkbox", name=f"Choose job {job.id}").check()
    page.get_by_role("button", name="Replay…").click()
    expect(page.get_by_text("be refused")).to_be_visible()
    expect(page.get_by_text("0 of 1 would run")).to_be_visible()
    expect(page.get_by_role("button", name="Replay", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Back").click()
    page.get_by_role("checkbox", name=f"Choose job {job.id}").check()
    page.get_by_role("button", name="Replay with a new key…").click()
    expect(page.get_by_text("1 may leave a page that no app received.")).to_be_visible()
    page.get_by_role("button", name="Replay with a new key", exact=True).click()
    stack.ended(job, "succeeded")
    page.goto(f"{stack.url}/audit")
    row = page.get_by_role("row").filter(has_text=job.id).first
    expect(row).to_contain_text("replay")
    expect(row).to_contain_text("new key")
    expect(row).to_contain_text("dashboard")


def test_held_job_is_discarded(page: Page, stack: Any) -> None:
    """It ends as failed, and whoever waits for it is told."""
    job = stack.held()
    page.goto(f"{stack.url}/jobs/{job.id}")
    expect(page.get_by_role("region", name="Actions")).to_contain_text("not possible")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_text("The job is discarded.")).to_be_visible()
    assert job.state() == "failed"
