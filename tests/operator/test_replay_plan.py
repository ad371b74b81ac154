"""What a replay would do, in words: every case, against what the script then does."""

from __future__ import annotations

from typing import Any

import pytest

from worker.engine.record import JobState, Record
from worker.operator.replay_plan import plan_replay

NOW = 1_800_000_000_000
WINDOW = 25 * 60_000
MINUTE = 60_000


def record(**changed: Any) -> Record:
    """A record of a gift checkout that failed two hours ago."""
    fields: dict[str, Any] = dict.fromkeys(Record.__slots__)
    fields |= {
        "job_id": "j", "kind": "gift_checkout", "site": "acme", "lane": "bulk",
        "state": JobState.FAILED, "attempts": 1, "deliveries": 0, "epoch": 0, "orphans": 0,
        "cancelling": False, "history": (), "first_delivery_at_ms": NOW - 120 * MINUTE,
    }  # fmt: skip
    return Record(**{**fields, **changed})


def plan(one: Record | None, *, new_key: bool = False, has_message: bool = True) -> Any:
    """The plan, now."""
    return plan_replay(
        "j", one, new_key=new_key, has_message=has_message, now_ms=NOW, window_ms=WINDOW
    )


@pytest.mark.parametrize(
    ("one", "has_message", "says"),
    [
        (None, False, "dropped after its time"),
        (record(), False, "dropped"),
        (record(state=JobState.SUCCEEDED), True, "nothing to replay"),
        (record(state=JobState.RUNNING), True, "It is running"),
        (record(unsure_since_ms=NOW - WINDOW - 1), True, "no longer protects"),
    ],
)
def test_plan_refuses(one: Record | None, has_message: bool, says: str) -> None:
    """What the script would refuse is refused, with the reason."""
    found = plan(one, has_message=has_message)
    assert (found.is_accepted, found.key, found.may_double) == (False, None, False)
    assert says in found.text


@pytest.mark.parametrize(
    "state", [JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED, JobState.HELD]
)
def test_plan_of_a_job_that_made_no_page(state: JobState) -> None:
    """Either key is safe, and it says so."""
    for new_key in (False, True):
        found = plan(record(state=state), new_key=new_key)
        assert found.is_accepted
        assert found.key == ("new" if new_key else "same")
        assert not found.may_double
        assert "No earlier attempt made a page" in found.text


def test_plan_warns_of_an_answer_that_is_kept() -> None:
    """For half an hour the API may repeat its refusal to the same key; a new one is safe."""
    fresh = record(first_delivery_at_ms=NOW - 29 * MINUTE)
    assert "may repeat its earlier answer" in plan(fresh).text
    assert "may repeat" not in plan(fresh, new_key=True).text
    assert "may repeat" not in plan(record(first_delivery_at_ms=NOW - 31 * MINUTE)).text


def test_plan_within_the_window() -> None:
    """The same key finds the page; a new one may double it."""
    unsure = record(state=JobState.HELD, unsure_since_ms=NOW - WINDOW)
    assert plan(unsure).key == "same"
    assert "finds a page" in plan(unsure).text
    assert plan(unsure, new_key=True).may_double


def test_plan_after_the_window() -> None:
    """Only a new key runs, and it warns."""
    unsure = record(state=JobState.HELD, unsure_since_ms=NOW - WINDOW - 1)
    assert not plan(unsure).is_accepted
    found = plan(unsure, new_key=True)
    assert (found.is_accepted, found.key, found.may_double) == (True, "new", True)
    assert found.as_json()["would"] == "replay"


def test_plan_of_a_read() -> None:
    """Offers can be asked for again without any fear, though the script wants a new key late."""
    late = record(kind="personalized_offer", unsure_since_ms=NOW - WINDOW - 1)
    assert not plan(late).is_accepted
    assert "a repeat does no harm" in plan(late).text
    assert not plan(late, new_key=True).may_double
    assert plan(record(kind="personalized_offer")).is_accepted
