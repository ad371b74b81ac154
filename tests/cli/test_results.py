"""`largesse results follow`: every ending, as it happens."""

from __future__ import annotations

from collections.abc import Callable

from rig.command import Ran
from rig.shelf import Shelf

Typed = Callable[..., Ran]


def test_results_follow_prints_every_ending_once(shelf: Shelf, typed: Typed) -> None:
    """A group sees each ending; what it handled does not come again."""
    page = shelf.succeed(shelf.gift())
    dead = shelf.fail(shelf.gift())
    words = ("results", "follow", "--group", "billing", "--timeout", "0.2", "--json")
    ran = typed(*words)
    assert ran.code == 0, ran.err
    assert [(one["job_id"], one["state"]) for one in ran.objects()] == [
        (page.id, "succeeded"), (dead.id, "failed"),
    ]  # fmt: skip
    assert typed(*words).out == ""
    again = shelf.fail(shelf.gift())
    line = typed(*words[:-1]).out
    assert line.startswith(f"{again.id} gift-checkout failed")


def test_results_follow_from_now(shelf: Shelf, typed: Typed) -> None:
    """A new group that starts now leaves out what ended before."""
    shelf.succeed(shelf.gift())
    ran = typed(
        "results", "follow", "--group", "new", "--from", "now", "--timeout", "0.2", "--json"
    )
    assert (ran.code, ran.out) == (0, "")


def test_results_follow_tells_what_was_missed(shelf: Shelf, typed: Typed) -> None:
    """A line on stderr, and following goes on."""
    job = shelf.succeed(shelf.gift())
    shelf.client.hset(
        shelf.queue.key("missed"), mapping={"count billing": 7, "since billing": 1_700_000_000_000}
    )
    ran = typed("results", "follow", "--group", "billing", "--timeout", "0.2", "--json")
    assert ran.code == 0
    assert [one["job_id"] for one in ran.objects()] == [job.id]
    assert "7 outcomes since 2023-11-14 22:13:20 UTC were cut" in ran.err


def test_results_follow_needs_a_group(typed: Typed) -> None:
    """Without a name there is nothing that could remember."""
    ran = typed("results", "follow")
    assert ran.code == 2
    assert "--group" in ran.err
