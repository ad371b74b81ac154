"""What is masked, and what may be seen."""

from __future__ import annotations

import json

from worker.operator.payload import MASK, mask, masked_outcome


def test_mask_keeps_the_structure() -> None:
    """Names, lists and null stay; every value goes, whatever its type."""
    assert mask({"a": [{"b": 1, "c": True}, "x"], "d": None, "e": {}}) == {
        "a": [{"b": MASK, "c": MASK}, MASK], "d": None, "e": {},
    }  # fmt: skip


def test_outcome_hides_address_and_offers() -> None:
    """Ids, state and expiry stay; the address of the page and the offers' contents do not."""
    outcome = {
        "state": "succeeded",
        "hosted_page": {"id": "p", "url": "https://secret", "state": "created", "embed": True},
        "offers": [{"id": "o", "text": "secret"}, "secret"],
        "brand": {"name": "secret"},
        "error": None,
    }
    shown = masked_outcome(outcome)
    assert "secret" not in json.dumps(shown)
    assert shown["hosted_page"]["id"] == "p"
    assert shown["offers"][0]["id"] == "o"
    assert outcome["hosted_page"]["url"] == "https://secret"
