"""The one table of calls."""

from __future__ import annotations

import pickle

import pytest

import schemas
from worker.errors import AmbiguousError, InvalidJobError
from worker.operations import OPERATIONS, operation


def test_every_kind_is_in_the_table() -> None:
    """The table and the schemas know the same kinds."""
    assert tuple(OPERATIONS) == schemas.KINDS
    assert all(row.kind == kind for kind, row in OPERATIONS.items())


def test_rows_say_what_the_documentation_says() -> None:
    """Path, host, encoding and idempotency are those of the API's documentation."""
    gift, offer = operation("gift_checkout"), operation("personalized_offer")
    assert gift.path == "/api/v2/hosted_pages/checkout_gift_for_items"
    assert (gift.sub_domain, gift.encoding) == (None, "form")
    assert (gift.idempotent, gift.repeatable) == (True, False)
    assert offer.path == "/api/v2/personalized_offers"
    assert (offer.sub_domain, offer.encoding) == ("grow", "json")
    assert (offer.idempotent, offer.repeatable) == (False, True)


@pytest.mark.parametrize("kind", ["gift", "", "Gift_Checkout"])
def test_unknown_kind_is_an_invalid_job(kind: str) -> None:
    """A kind that is not in the table is refused as an invalid job."""
    with pytest.raises(InvalidJobError) as caught:
        operation(kind)
    assert list(caught.value.messages) == ["kind"]


def test_table_cannot_be_changed() -> None:
    """Nobody adds a row at run time."""
    with pytest.raises(TypeError):
        OPERATIONS["x"] = operation("gift_checkout")  # type: ignore[index]


def test_answers_become_parts_of_an_outcome() -> None:
    """Each call's answer is read into its own part of the outcome."""
    page = {"id": "p", "url": "https://a.example/p", "state": "created", "expires_at": 5}
    assert operation("gift_checkout").read_answer({"hosted_page": page}) == {"hosted_page": page}
    assert operation("personalized_offer").read_answer(
        {"personalized_offers": [{"id": "o"}], "expires_at": 5}
    ) == {"offers": [{"id": "o"}], "expires_at": 5, "brand": None}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_answer_of_no_use_is_ambiguous(kind: str) -> None:
    """An empty object is no success: it may have been executed, and the error holds no body."""
    with pytest.raises(AmbiguousError) as caught:
        operation(kind).read_answer({"canary": 1}, status=201, replayed=True)
    error = caught.value
    assert (error.reason, error.status, error.replayed) == ("unusable_answer", 201, True)
    assert error.__context__ is None
    assert str(pickle.loads(pickle.dumps(error))) == "unusable_answer, status 201"
