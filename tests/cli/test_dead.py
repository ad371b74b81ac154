"""`largesse dead`: look at dead letters, replay and discard them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rig.command import Ran
from rig.shelf import PRIVATE, Shelf

Typed = Callable[..., Ran]


def ids(ran: Ran) -> list[str]:
    """Ids of the jobs that were printed."""
    return [one["job_id"] for one in ran.objects()]


def test_dead_list_says_why(shelf: Shelf, typed: Typed) -> None:
    """Class, status, code, parameter and reason of each; nothing private."""
    job = shelf.fail(shelf.gift("order-1"))
    (one,) = typed("dead", "list", "--json").objects()
    assert one["job_id"] == job.id
    assert (one["class"], one["status"], one["api_error_code"]) == (
        "rejected", 404, "resource_not_found",
    )  # fmt: skip
    assert (one["attempts"], one["key"], one["unsure_since"]) == (1, "order-1", None)
    text = typed("dead", "list").out
    assert job.id in text
    assert not any(secret in text for secret in PRIVATE)


def test_dead_filters(shelf: Shelf, typed: Typed) -> None:
    """Site, kind, code, time and conditions each leave the others out, and all must fit."""
    missing = shelf.fail(shelf.gift("order-1"))
    wrong = shelf.fail(shelf.gift("order-2", site="globex"), code="param_wrong_value", status=400)
    offer = shelf.fail(shelf.offer())
    cases = {
        ("--site", "globex"): [wrong],
        ("--kind", "personalized_offer"): [offer],
        ("--code", "param_wrong_value"): [wrong],
        ("--code", "404"): [missing, offer],
        ("--code", "rejected", "--site", "acme-test", "--kind", "gift-checkout"): [missing],
        ("--where", "key=order-1"): [missing],
        ("--where", "key="): [offer],
        ("--where", "key!=", "--where", "status>=404"): [missing],
        ("--where", "api_error_code~WRONG"): [wrong],
        ("--where", "attempts>1"): [],
        ("--since", "1h"): [missing, wrong, offer],
        ("--since", "2100-01-01"): [],
    }
    for words, jobs in cases.items():
        found = ids(typed("dead", "list", *words, "--json"))
        assert sorted(found) == sorted(job.id for job in jobs), words
    assert len(ids(typed("dead", "list", "--limit", "2", "--json"))) == 2


@pytest.mark.parametrize(
    "condition", ["attempts", "colour=red", "attempts>many", "reason>3", "=3", ""]
)
def test_dead_refuses_a_condition_it_cannot_read(typed: Typed, condition: str) -> None:
    """A wrong condition ends with 2, before anything is done."""
    ran = typed("dead", "replay", "--where", condition)
    assert ran.code == 2
    assert "--where" in ran.err


def test_dead_show_spells_out_a_replay(shelf: Shelf, typed: Typed) -> None:
    """It says what a replay would do, with the same key and with a new one."""
    job = shelf.fail(shelf.gift())
    text = typed("dead", "show", job.id).out
    assert "replay: Sent with the same idempotency key." in text
    assert "replay --new-key: Sent with a new idempotency key." in text
    (shown,) = typed("dead", "show", job.id, "--json").objects()
    assert shown["plans"]["replay"]["key"] == "same"
    assert typed("dead", "show", shelf.gift().id).code == 6


def test_dead_replay_puts_a_job_back_into_its_line(shelf: Shelf, typed: Typed) -> None:
    """The job waits again under its id; a dry run says so and does nothing."""
    job = shelf.fail(shelf.gift())
    (plan,) = typed("dead", "replay", job.id, "--dry-run", "--json").objects()
    assert (plan["would"], plan["key"]) == ("replay", "same")
    assert job.state() == "failed"
    (done,) = typed("dead", "replay", job.id, "--json").objects()
    assert (done["done"], done["key"]) == ("replayed", "same")
    assert job.state() == "queued"
    assert typed("dead", "list").out == ""
    assert typed("dead", "replay", job.id).code == 6


def test_dead_replay_of_many_by_filter(shelf: Shelf, typed: Typed) -> None:
    """All that fit are replayed, though each leaves the list that is read; the others stay."""
    jobs = [shelf.fail(shelf.gift()) for _ in range(60)]
    other = shelf.fail(shelf.gift(), code="param_wrong_value")
    ran = typed("dead", "replay", "--code", "resource_not_found", "--json")
    assert ran.code == 0, ran.err
    assert set(ids(ran)) == {job.id for job in jobs}
    assert ids(typed("dead", "list", "--json")) == [other.id]


def test_dead_moves_need_a_choice(shelf: Shelf, typed: Typed) -> None:
    """Without ids, a filter or --all nothing is done, exit 2."""
    job = shelf.fail(shelf.gift())
    for move in ("replay", "discard"):
        ran = typed("dead", move)
        assert ran.code == 2
        assert "--all" in ran.err
    assert job.state() == "failed"
    assert typed("dead", "replay", "--all").code == 0
    assert job.state() == "queued"
    assert "nothing to do" in typed("dead", "replay", "--all").err


def test_dead_discard_drops_what_a_job_carries(shelf: Shelf, typed: Typed) -> None:
    """The letter is gone and cannot be replayed; its result stays."""
    job = shelf.fail(shelf.gift())
    (plan,) = typed("dead", "discard", job.id, "--dry-run", "--json").objects()
    assert plan["would"] == "discard"
    assert ids(typed("dead", "list", "--json")) == [job.id]
    (done,) = typed("dead", "discard", job.id, "--json").objects()
    assert done["done"] == "discarded"
    assert typed("dead", "list", "--json").out == ""
    assert job.state() == "failed"
    (shown,) = typed("jobs", "show", job.id, "--json").objects()
    assert shown["payload"] is None


def test_dead_moves_are_in_the_audit_list(shelf: Shelf, typed: Typed) -> None:
    """Who did what to which job, the refused included."""
    first, second = shelf.fail(shelf.gift()), shelf.fail(shelf.gift())
    typed("dead", "replay", first.id, "--new-key")
    typed("dead", "discard", second.id)
    with shelf.operator() as operator:
        newest, oldest = operator.audit.read()
    assert (oldest.action, oldest.target, oldest.detail) == ("replay", first.id, "new key")
    assert (newest.action, newest.target, newest.result) == ("discard", second.id, "done")
    assert newest.who.startswith("cli")
