"""`largesse held`: jobs whose outcome nobody knows, and a person's decision."""

from __future__ import annotations

from collections.abc import Callable

from rig.command import Ran
from rig.shelf import Shelf

Typed = Callable[..., Ran]

#: Milliseconds after which the idempotency window (25 minutes) is over.
LONG_AGO = 26 * 60_000


def test_held_list_and_show(shelf: Shelf, typed: Typed) -> None:
    """A held job is listed with the last attempt's failure and found by it."""
    job = shelf.hold(shelf.gift())
    (one,) = typed("held", "list", "--code", "read_timeout", "--json").objects()
    assert (one["job_id"], one["class"], one["state"]) == (job.id, "held", "held")
    assert one["unsure_since"] is not None
    assert "held" in typed("held", "show", job.id).out


def test_held_replay_within_the_window_keeps_the_key(shelf: Shelf, typed: Typed) -> None:
    """A page that the unknown attempt made is found again: the plan says so."""
    job = shelf.hold(shelf.gift(), unsure_ms=60_000)
    (plan,) = typed("held", "replay", job.id, "--dry-run", "--json").objects()
    assert (plan["would"], plan["key"], plan["may_double"]) == ("replay", "same", False)
    assert "protects until" in plan["why"]
    assert typed("held", "replay", job.id).code == 0
    assert job.state() == "queued"


def test_held_replay_after_the_window_needs_a_new_key(shelf: Shelf, typed: Typed) -> None:
    """It is refused with the reason, exit 1; with a new key it runs and counts an orphan."""
    job = shelf.hold(shelf.gift(), unsure_ms=LONG_AGO)
    planned = typed("held", "replay", job.id, "--dry-run", "--json")
    assert planned.code == 1
    assert planned.objects()[0]["would"] == "refuse"
    ran = typed("held", "replay", job.id, "--json")
    assert ran.code == 1
    assert ran.objects()[0]["done"] == "refused"
    assert "--new-key" in ran.objects()[0]["why"]
    (plan,) = typed("held", "replay", job.id, "--new-key", "--dry-run", "--json").objects()
    assert (plan["key"], plan["may_double"]) == ("new", True)
    assert typed("held", "replay", job.id, "--new-key").code == 0
    (shown,) = typed("jobs", "show", job.id, "--json").objects()
    assert (shown["state"], shown["orphans"], shown["new_keys"]) == ("queued", 1, 1)


def test_held_replay_of_many_says_which_were_refused(shelf: Shelf, typed: Typed) -> None:
    """The others go on; the exit code says that one was refused."""
    good = shelf.hold(shelf.gift())
    late = shelf.hold(shelf.gift(), unsure_ms=LONG_AGO)
    ran = typed("held", "replay", "--all", "--json")
    assert ran.code == 1
    assert {one["job_id"]: one["done"] for one in ran.objects()} == {
        good.id: "replayed", late.id: "refused",
    }  # fmt: skip


def test_held_discard_publishes_a_failure(shelf: Shelf, typed: Typed) -> None:
    """Whoever waits for the job is told that it failed."""
    job = shelf.hold(shelf.gift())
    assert typed("held", "discard", "--all", "--yes").code == 0
    result = shelf.producer.results.wait(job.id, timeout=5)
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.cls == "discarded"
