"""`largesse jobs`: find jobs, look at one, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from rig.command import Ran
from rig.shelf import PRIVATE, Shelf

Typed = Callable[..., Ran]


def ids(ran: Ran) -> list[str]:
    """Ids of the jobs that were printed."""
    assert ran.code == 0, ran.err
    return [one["job_id"] for one in ran.objects()]


def test_jobs_list_finds_every_state(shelf: Shelf, typed: Typed) -> None:
    """A job in each state is found by its state, and all of them without one."""
    done = shelf.succeed(shelf.gift())
    dead = shelf.fail(shelf.gift())
    held = shelf.hold(shelf.gift())
    running = shelf.gift()
    shelf.run(running)
    late = shelf.gift(delay_s=600)
    waiting = shelf.gift()
    gone = shelf.gift()
    typed("jobs", "cancel", gone.id)
    by_state = {
        "succeeded": done, "failed": dead, "held": held, "running": running, "delayed": late,
        "queued": waiting, "cancelled": gone,
    }  # fmt: skip
    for state, job in by_state.items():
        assert ids(typed("jobs", "list", "--state", state, "--json")) == [job.id], state
    assert set(ids(typed("jobs", "list", "--json"))) == {job.id for job in by_state.values()}


def test_jobs_list_filters_by_what_a_job_is(shelf: Shelf, typed: Typed) -> None:
    """Key, site, kind, hosted page and time each leave the others out."""
    first = shelf.succeed(shelf.gift("order-1"), page_id="page-of-1")
    other = shelf.gift("order-2", site="globex")
    offer = shelf.offer("order-1")
    assert set(ids(typed("jobs", "list", "--key", "order-1", "--json"))) == {first.id, offer.id}
    assert ids(typed("jobs", "list", "--page", "page-of-1", "--json")) == [first.id]
    assert ids(typed("jobs", "list", "--page", "page-of-", "--json")) == []
    assert ids(typed("jobs", "list", "--site", "globex", "--json")) == [other.id]
    assert ids(typed("jobs", "list", "--kind", "personalized-offer", "--json")) == [offer.id]
    assert len(ids(typed("jobs", "list", "--since", "1h", "--json"))) == 3
    assert ids(typed("jobs", "list", "--until", "1h", "--json")) == []


def test_jobs_list_says_when_there_is_more(shelf: Shelf, typed: Typed) -> None:
    """The limit is kept, the newest job comes first, and stderr says that there are more."""
    for _ in range(3):
        shelf.gift()
    time.sleep(0.002)  # times are whole milliseconds
    newest = shelf.gift()
    ran = typed("jobs", "list", "--limit", "2", "--json")
    assert len(ids(ran)) == 2
    assert ids(ran)[0] == newest.id
    assert "may be more" in ran.err


def test_jobs_list_as_a_table(shelf: Shelf, typed: Typed) -> None:
    """People get a table with a head; where nothing fits they are told so."""
    job = shelf.gift("order-7")
    ran = typed("jobs", "list")
    head, row = ran.out.splitlines()
    assert head.split()[:3] == ["JOB", "KIND", "SITE"]
    assert [job.id, "gift-checkout", "order-7"] == [
        row.split()[0],
        row.split()[1],
        row.split()[-1],
    ]
    assert "No job matches" in typed("jobs", "list", "--site", "nowhere").err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--state", "lost"], "STATE"),
        (["--since", "yesterday"], "--since"),
        (["--kind", "voucher"], "KIND"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_jobs_list_refuses_what_it_cannot_read(typed: Typed, words: list[str], what: str) -> None:
    """A wrong filter ends with 2 and names what was wrong."""
    ran = typed("jobs", "list", *words)
    assert ran.code == 2
    assert what in ran.err


def test_jobs_show_hides_values(shelf: Shelf, typed: Typed) -> None:
    """A job is shown with its story; what it carries and the page's address only on demand."""
    job = shelf.fail(shelf.gift("order-1"))
    ran = typed("jobs", "show", job.id, "--json")
    (shown,) = ran.objects()
    assert shown["payload"] == {
        "subscription_items": [{"item_price_id": "•••", "quantity": "•••"}]
    }
    assert [event["event"] for event in shown["events"]] == ["enqueued", "attempt", "published"]
    assert shown["events"][1]["code"] == "resource_not_found"
    text = typed("jobs", "show", job.id).out
    assert "resource_not_found" in text
    page = shelf.succeed(shelf.gift())
    quiet = ran.out + text + typed("jobs", "show", page.id, "--json").out
    assert not any(secret in quiet for secret in PRIVATE)
    assert "pages/v3" in typed("jobs", "show", page.id, "--reveal").out
    assert "private-plan" in typed("jobs", "show", job.id, "--reveal").out
    with shelf.operator() as operator:
        assert [one.action for one in operator.audit.read()] == ["reveal", "reveal"]


def test_jobs_show_of_an_unknown_job(typed: Typed) -> None:
    """Exit 6 and what to do next."""
    ran = typed("jobs", "show", "0" * 32)
    assert ran.code == 6
    assert "is unknown" in ran.err


def test_jobs_cancel(shelf: Shelf, typed: Typed) -> None:
    """A waiting job is cancelled, a running one is to be; one that ended or is unknown is not."""
    dead = shelf.fail(shelf.gift())
    running = shelf.gift()
    shelf.run(running)
    waiting = shelf.gift()
    ran = typed("jobs", "cancel", waiting.id, running.id, "--json")
    assert ran.code == 0
    assert [one["state"] for one in ran.objects()] == ["cancelled", "cancelling"]
    assert typed("jobs", "cancel", dead.id).code == 1
    assert typed("jobs", "cancel", dead.id, "0" * 32).code == 6
    assert waiting.state() == "cancelled"


def test_jobs_list_filters_by_code_and_fields(shelf: Shelf, typed: Typed) -> None:
    """Class, API error code, status and any field of a job, of its outcome or last attempt."""
    dead = shelf.fail(shelf.gift("order-1"), code="resource_not_found", status=404)
    other = shelf.fail(shelf.gift("order-2"), code="param_wrong_value", status=400)
    bulk = shelf.gift(lane="bulk")
    for code, job in (("404", dead), ("RESOURCE_NOT_FOUND", dead), ("param_wrong_value", other)):
        assert ids(typed("jobs", "list", "--code", code, "--json")) == [job.id], code
    assert set(ids(typed("jobs", "list", "--code", "rejected", "--json"))) == {dead.id, other.id}
    assert ids(typed("jobs", "list", "--where", "lane=bulk", "--json")) == [bulk.id]
    assert ids(typed("jobs", "list", "--where", "key~ORDER-1", "--json")) == [dead.id]
    both = ("--where", "attempts>=1", "--where", "status<404")
    assert ids(typed("jobs", "list", *both, "--json")) == [other.id]
    assert ids(typed("jobs", "list", "--key", "order-1", "--code", "400", "--json")) == []
    assert ids(typed("jobs", "list", "--where", "finished_at=", "--json")) == [bulk.id]


def test_jobs_list_refuses_a_field_that_does_not_exist(typed: Typed) -> None:
    """The fields that there are are named, exit 2."""
    ran = typed("jobs", "list", "--where", "colour=red")
    assert ran.code == 2
    assert "deliveries" in ran.err


def test_jobs_cancel_by_filter(shelf: Shelf, typed: Typed) -> None:
    """All that fit and have not ended are cancelled, after a look at what would happen."""
    shelf.fail(shelf.gift(site="globex"))
    first, second = shelf.gift(site="globex"), shelf.gift(site="globex", delay_s=600)
    stays = shelf.gift()
    foretold = typed("jobs", "cancel", "--site", "globex", "--dry-run", "--json").objects()
    assert {one["job_id"] for one in foretold} == {first.id, second.id}
    assert {one["would"] for one in foretold} == {"cancel it at once"}
    assert (first.state(), second.state()) == ("queued", "delayed")
    ran = typed("jobs", "cancel", "--site", "globex", "--json")
    assert {one["job_id"]: one["state"] for one in ran.objects()} == {
        first.id: "cancelled", second.id: "cancelled"
    }  # fmt: skip
    assert ran.code == 0
    assert stays.state() == "queued"
    again = typed("jobs", "cancel", "--site", "globex")
    assert (again.code, again.out) == (0, "")
    assert "nothing to do" in again.err


def test_jobs_cancel_foretells_each_state(shelf: Shelf, typed: Typed) -> None:
    """What a cancel would do depends on how far a job has come."""
    running = shelf.gift()
    shelf.run(running)
    ended = shelf.fail(shelf.gift())
    ran = typed("jobs", "cancel", running.id, ended.id, "0" * 32, "--dry-run")
    lines = ran.out.splitlines()
    assert "after this attempt" in lines[0]
    assert "it has ended" in lines[1]
    assert "the id is unknown" in lines[2]
    assert running.state() == "running"


@pytest.mark.parametrize("words", [(), ("3f2a", "--site", "acme-test")])
def test_jobs_cancel_needs_ids_or_filters(typed: Typed, words: tuple[str, ...]) -> None:
    """Neither or both is a slip: nothing is cancelled, exit 2."""
    ran = typed("jobs", "cancel", *words)
    assert ran.code == 2
    assert "JOB_IDs" in ran.err
