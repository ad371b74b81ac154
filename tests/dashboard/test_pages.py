"""What the pages show of jobs in every state, and what they hide."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from rig.keys import keys
from rig.shelf import GIFT, PRIVATE, Shelf
from rig.visitor import Visitor

from worker import Producer, Settings
from worker.encryption import Cipher
from worker.engine.keys import Keyspace

Visit = Callable[..., Visitor]
LONG_AGO = 26 * 60_000


def csrf_of(text: str) -> str:
    """The secret of the first form on a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def test_pages_hide_what_is_private(visit: Visit, shelf: Shelf) -> None:
    """No value of a payload and no page's address is on any page."""
    jobs = [
        shelf.succeed(shelf.gift()), shelf.fail(shelf.gift()), shelf.hold(shelf.gift()),
        shelf.fail(shelf.offer()),
    ]  # fmt: skip
    visitor = visit()
    paths = ["/", "/jobs", "/dead", "/held", "/sites", *(f"/jobs/{job.id}" for job in jobs)]
    text = "".join(visitor.get(path).text for path in paths)
    assert not any(secret in text for secret in PRIVATE)


def test_values_are_revealed_on_a_setting_alone(visit: Visit, shelf: Shelf) -> None:
    """Without it there is no button and the move is refused; with it each look is noted."""
    job = shelf.fail(shelf.gift())
    page = visit().get(f"/jobs/{job.id}").text
    assert "/reveal" not in page
    closed = visit()
    secret = csrf_of(closed.get(f"/jobs/{job.id}").text)
    assert closed.post(f"/jobs/{job.id}/reveal", data={"csrf": secret}).status_code == 403
    opened = visit(reveal=True, read_only=True)
    secret = csrf_of(opened.get(f"/jobs/{job.id}").text)
    shown = opened.post(f"/jobs/{job.id}/reveal", data={"csrf": secret})
    assert "private-plan" in shown.text
    with shelf.operator() as operator:
        assert [(one.action, one.target) for one in operator.audit.read()] == [("reveal", job.id)]


def test_search_finds_by_any_name_of_a_job(visit: Visit, shelf: Shelf) -> None:
    """Id, key and hosted page lead to the job; filters leave others out."""
    job = shelf.succeed(shelf.gift("order-1"), page_id="page-of-1")
    other = shelf.gift("order-2", site="globex")
    visitor = visit()
    for words in (job.id, "order-1", "page-of-1"):
        text = visitor.get("/jobs", params={"q": words}).text
        assert job.id in text, words
        assert other.id not in text, words
    text = visitor.get("/jobs", params={"site": "globex", "state": "queued", "since": "1h"}).text
    assert other.id in text
    assert job.id not in text
    assert "is no time" in visitor.get("/jobs", params={"since": "yesterday"}).text
    assert "No job matches" in visitor.get("/jobs", params={"q": "nobody"}).text


def test_overview_shows_who_follows(visit: Visit, shelf: Shelf) -> None:
    """Each group with what it has not handled, and what it missed."""
    visitor = visit()
    assert "No group follows the outcomes." in visitor.get("/").text
    shelf.client.xgroup_create(shelf.queue.key("outcomes"), "b<illing", "0", mkstream=True)
    shelf.succeed(shelf.gift())
    shelf.client.hset(shelf.queue.key("missed"), "count b<illing", 4_321)
    text = visit().get("/").text
    (row,) = re.findall(r'<tr><td class="any" data-label="Group">.*?</tr>', text)
    assert "b&lt;illing" in row
    assert 'data-label="Not handled">1<' in row
    assert "4,321" in row or "4 321" in row or "4321" in row


@pytest.mark.parametrize("path", ["/jobs/unknown", "/nowhere", "/dead/nothing"])
def test_what_is_not_there_is_said(visit: Visit, path: str) -> None:
    """A page of the dashboard's own, with 404."""
    answer = visit().get(path)
    assert answer.status_code in {404, 405}
    assert "Not found" in answer.text


def test_texts_of_others_are_escaped(visit: Visit, shelf: Shelf) -> None:
    """A key or a reason with markup is shown as it is written."""
    job = shelf.hold(shelf.gift("<script>alert(1)</script>"))
    visitor = visit()
    secret = csrf_of(visitor.get(f"/jobs/{job.id}").text)
    visitor.post(
        "/sites/acme-test/pause", data={"csrf": secret, "reason": "<img src=x onerror=alert(1)>"}
    )
    for path in ("/jobs", f"/jobs/{job.id}", "/held", "/sites", "/", "/audit"):
        text = visitor.get(path).text
        assert "<script>alert" not in text, path
        assert "<img" not in text, path
    assert "&lt;img" in visitor.get("/sites").text


def test_actions_on_many_jobs_say_what_was_refused(visit: Visit, shelf: Shelf) -> None:
    """Those that may run do, the others stay, and the page says both."""
    good, late = shelf.hold(shelf.gift()), shelf.hold(shelf.gift(), unsure_ms=LONG_AGO)
    visitor = visit()
    secret = csrf_of(visitor.get("/held").text)
    chosen = {"csrf": secret, "verb": "replay", "job": [good.id, late.id]}
    plan = visitor.post("/held/plan", data=chosen).text
    assert "1 of 2 would run" in plan
    assert "be refused" in plan
    assert {good.state(), late.state()} == {"held"}
    assert visitor.post("/held/act", data=chosen).status_code == 303
    assert (good.state(), late.state()) == ("queued", "held")
    text = visitor.get("/held").text
    assert "1 job is waiting again." in text
    assert "1 refused." in text
    assert visitor.post("/held/plan", data={"csrf": secret, "verb": "replay"}).status_code == 303
    assert "No job was chosen." in visitor.get("/held").text


def test_groups_lead_to_their_jobs(visit: Visit, shelf: Shelf) -> None:
    """Each group counts its jobs, and its link shows these alone."""
    missing = [shelf.fail(shelf.gift()) for _ in range(2)]
    wrong = shelf.fail(shelf.gift(), code="param_wrong_value", status=400)
    visitor = visit()
    links = dict(
        re.findall(r'<a href="(/dead\?code=[^"]+)"><b>(\d+)</b>', visitor.get("/dead").text)
    )
    assert sorted(links.values()) == ["1", "2"]
    (link,) = (one for one, count in links.items() if count == "2")
    text = visitor.get(link.replace("&amp;", "&")).text
    assert all(job.id in text for job in missing)
    assert wrong.id not in text


@pytest.mark.parametrize("rate", ["", "fast", "nan", "-1", "inf", "99999999"])
def test_rate_that_is_none_is_refused(visit: Visit, shelf: Shelf, rate: str) -> None:
    """The site keeps its rate, and the page says what a rate is."""
    shelf.queue.configure("acme-test", interval_ms=1_000)
    visitor = visit()
    secret = csrf_of(visitor.get("/sites").text)
    visitor.post("/sites/acme-test/rate", data={"csrf": secret, "rate": rate})
    assert "The rate must be a number" in visitor.get("/sites").text
    with shelf.operator() as operator:
        (site,) = operator.sites()
    assert (site.hand_rate, site.interval_ms) == (None, 1_000)


@pytest.mark.parametrize("path", ["/sites/unknown/pause", "/sites/acme-test/explode"])
def test_actions_that_do_not_exist_change_nothing(visit: Visit, shelf: Shelf, path: str) -> None:
    """A misspelt site is not made up, a misspelt move does nothing: 404."""
    shelf.queue.configure("acme-test")
    visitor = visit()
    secret = csrf_of(visitor.get("/sites").text)
    assert visitor.post(path, data={"csrf": secret}).status_code == 404
    with shelf.operator() as operator:
        assert [(one.name, one.paused_reason) for one in operator.sites()] == [("acme-test", None)]


def test_pages_say_what_is_encrypted_with_a_missing_key(visit: Visit, shelf: Shelf) -> None:
    """Without the key: state, times and the id of the key; with it: all that is shown else."""
    environ = {**shelf.environ, "LARGESSE_ENCRYPTION_KEYS": keys("k1")}
    plain, keyed = shelf.settings, Settings.from_env(environ)
    with Producer(keyed) as producer:
        waiting = producer.gift_checkout(GIFT, key="order-1", site="acme-test", delay_s=600)
        done = producer.gift_checkout(GIFT, key="order-2", site="acme-test")
    shelf.succeed(done, page_id="page-of-2")
    cipher, keyspace = Cipher.of(keyed), Keyspace()
    outcome: Any = shelf.client.get(keyspace.outcome(done.id))
    sealed = cipher.encrypt(outcome, job_id=done.id, part="outcome")
    attempt = cipher.encrypt(b'{"at":1,"status":404}', job_id=done.id, part="attempt")
    shelf.client.set(keyspace.outcome(done.id), sealed)
    shelf.client.rpush(keyspace.history(done.id), attempt)
    visitor = visit()
    for job in (waiting, done):
        assert "encrypted with key k1" in visitor.get(f"/jobs/{job.id}").text
    assert "encrypted with key k1" in visitor.get("/jobs").text
    assert "page-of-2" not in visitor.get(f"/jobs/{done.id}").text
    shelf.settings = keyed
    visitor = visit()
    for job, words in ((waiting, "order-1"), (done, "page-of-2"), (done, "404")):
        text = visitor.get(f"/jobs/{job.id}").text
        assert words in text
        assert "encrypted with" not in text
    shelf.settings = plain
