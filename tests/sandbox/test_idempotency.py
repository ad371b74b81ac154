"""Idempotency keys: the window, the replay, the 422 and the duplicate in progress."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

ITEM = "subscription_items[item_price_id][0]=basic-USD"
REPLAYED = "chargebee-idempotency-replayed"


def test_key_makes_one_page(box: Any) -> None:
    """The same request with the same key gets the stored answer, byte for byte, and says so."""
    first = box.gift(ITEM, chargebee_idempotency_key="k")
    again = box.gift(ITEM, chargebee_idempotency_key="k")
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert again.content == first.content
    counts = box.get("/counts")
    assert (counts["requests"], counts["executed"], counts["replayed"]) == (2, 1, 1)
    assert (counts["pages"], counts["idempotency_keys"]) == (1, 1)
    assert box.last()["page_id"] == first.json()["hosted_page"]["id"]


def test_no_key_makes_a_page_each_time(box: Any) -> None:
    """Without a key every request is a new one."""
    ids = {box.gift(ITEM).json()["hosted_page"]["id"] for _ in range(2)}
    assert len(ids) == 2
    assert box.get("/counts")["pages_without_key"] == 2


@pytest.mark.parametrize("change", ["body", "header", "path"])
def test_key_of_another_request_is_refused(box: Any, change: str) -> None:
    """Another body, path or ``chargebee-*`` header under a used key is 422."""
    box.gift(ITEM, chargebee_idempotency_key="k")
    if change == "body":
        answer = box.gift(ITEM + "2", chargebee_idempotency_key="k")
    elif change == "header":
        answer = box.gift(
            ITEM, chargebee_idempotency_key="k", chargebee_event_email="all-disabled"
        )
    else:
        answer = box.offer({"customer_id": "c"}, chargebee_idempotency_key="k")
    assert answer.status_code == 422
    assert answer.json()["api_error_code"] == "unable_to_process_request"
    assert box.get("/counts")["pages"] == 1


def test_key_ignores_headers_of_others(box: Any) -> None:
    """Headers that are not the API's do not make another request."""
    box.gift(ITEM, chargebee_idempotency_key="k", x_trace="1")
    again = box.gift(ITEM, chargebee_idempotency_key="k", x_trace="2")
    assert again.headers[REPLAYED] == "true"


def test_key_belongs_to_a_site(box: Any) -> None:
    """The same key on another site is another key."""
    box.gift(ITEM, chargebee_idempotency_key="k")
    other = box.gift(ITEM, chargebee_idempotency_key="k", key="test_other_key")
    assert REPLAYED not in other.headers
    assert box.get("/counts")["max_pages_per_key"] == 1


def test_refused_request_leaves_the_key_free(box: Any) -> None:
    """Only an executed request binds its key."""
    assert box.gift("layout=x", chargebee_idempotency_key="k").status_code == 400
    assert box.gift("layout=in_app", chargebee_idempotency_key="k").status_code == 200


@pytest.mark.parametrize(("later_ms", "replayed"), [(1_799_999, True), (1_800_000, False)])
def test_window_ends_after_30_minutes(box: Any, later_ms: int, replayed: bool) -> None:
    """One ms before the end of the window the answer is repeated, at the end a page is made."""
    box.post("/clock", {"frozen": True})
    box.gift(ITEM, chargebee_idempotency_key="k")
    box.post("/clock", {"advance_ms": later_ms})
    again = box.gift(ITEM, chargebee_idempotency_key="k")
    assert again.headers.get(REPLAYED) == ("true" if replayed else None)
    assert box.get("/counts")["max_pages_per_key"] == (1 if replayed else 2)
    assert box.get("/counts")["keys_with_many_pages"] == ([] if replayed else ["k"])


def test_window_is_not_extended_by_a_replay(box: Any) -> None:
    """The window begins with the first request."""
    box.post("/clock", {"frozen": True})
    box.gift(ITEM, chargebee_idempotency_key="k")
    for _ in range(2):
        box.post("/clock", {"advance_s": 1000})
        last = box.gift(ITEM, chargebee_idempotency_key="k")
    assert REPLAYED not in last.headers


def test_offer_may_carry_a_key(box: Any) -> None:
    """A key on an offer request is honoured."""
    box.offer({"customer_id": "c"}, chargebee_idempotency_key="k")
    again = box.offer({"customer_id": "c"}, chargebee_idempotency_key="k")
    assert again.headers[REPLAYED] == "true"


def test_duplicate_in_progress_is_locked_out(box: Any) -> None:
    """While the first is being executed a duplicate gets 429 ``lock_timeout``."""
    box.fault("latency", ms=400, times=1)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(box.gift, ITEM, chargebee_idempotency_key="k")
        while not box.get("/counts")["in_flight"]:
            pass
        other = box.gift(ITEM + "2", chargebee_idempotency_key="k")
        twin = box.gift(ITEM, chargebee_idempotency_key="k")
        first = slow.result()
    assert (twin.status_code, twin.json()["api_error_code"]) == (429, "lock_timeout")
    assert twin.headers["retry-after"] == "1"
    assert other.status_code == 422
    assert first.status_code == 200
    assert box.get("/counts")["pages"] == 1


def test_duplicate_in_progress_waits_when_told_to(box: Any) -> None:
    """With the setting ``wait`` the duplicate gets the answer of the first."""
    box.post("/settings", {"concurrent_duplicate": "wait"})
    box.fault("latency", ms=1_500, times=1)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(box.gift, ITEM, chargebee_idempotency_key="k") for _ in range(8)]
        answers = [one.result() for one in asked]
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED in answer.headers for answer in answers) == 7
    assert box.get("/counts")["max_in_flight"] == 8
