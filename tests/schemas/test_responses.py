"""Answers are read leniently: what is needed must be there, the rest may be as it likes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import read_hosted_page, read_offers

PAGE = {
    "id": "page_1",
    "type": "checkout_gift",
    "url": "https://acme-test.chargebee.com/pages/v3/page_1/",
    "state": "created",
    "created_at": 1517464663,
    "expires_at": 1517468263,
    "resource_version": 1517444863979,
    "object": "hosted_page",
}
OFFERS = {
    "personalized_offers": [
        {
            "id": "a52ge40b",
            "offer_id": "51Ora2PrXz",
            "content": {"title": "<div>Need a break?</div>", "description": "<div></div>" * 30},
            "options": [{"id": "o1", "label": "CANCEL", "processing_type": "billing_update"}],
        }
    ],
    "brand": {"id": "1d5QXw39ar", "name": "SecureCheck"},
    "expires_at": 24134311,
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_hosted_page_is_read_whole() -> None:
    """All attributes come through, unknown ones too."""
    assert read_hosted_page({"hosted_page": PAGE | {"new": [1]}}) == PAGE | {"new": [1]}


def test_hosted_page_needs_id_and_url_only() -> None:
    """Whatever else is missing is None, if it is one of the four that are relied on."""
    page = {"id": "p", "url": "https://a.example/p"}
    assert read_hosted_page({"hosted_page": page}) == page | {"state": None, "expires_at": None}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"hosted_page": None},
        {"hosted_page": []},
        {"hosted_page": "p"},
        {"hosted_page": {}},
        {"hosted_page": PAGE | {"id": None}},
        {"hosted_page": PAGE | {"id": ""}},
        {"hosted_page": PAGE | {"id": 5}},
        {"hosted_page": PAGE | {"url": None}},
        {"hosted_page": PAGE | {"url": 5}},
        {"hosted_page": PAGE | {"url": ""}},
        {"hosted_page": PAGE | {"url": "javascript:alert(1)"}},
        {"personalized_offers": []},
    ],
    ids=str,
)
def test_hosted_page_of_no_use_is_refused(body: dict[str, Any]) -> None:
    """Without an id and a web address there is no page, and the text says no value."""
    with pytest.raises(
        ValueError, match=r"^the (answer|hosted page) h?a?s?(holds)? ?no "
    ) as caught:
        read_hosted_page(body)
    assert "page_1" not in str(caught.value)


@pytest.mark.parametrize(
    "odd", [None, "soon", "1517468263", 1.5, True, -1, 10**12, [], {}], ids=repr
)
def test_odd_expiry_counts_as_unknown(odd: object) -> None:
    """A page is not lost because its expiry cannot be read; it is then unknown."""
    assert read_hosted_page({"hosted_page": PAGE | {"expires_at": odd}})["expires_at"] is None
    assert read_offers(OFFERS | {"expires_at": odd})["expires_at"] is None


def test_offers_are_read_whole() -> None:
    """Offers come with all they hold, their brand and their expiry."""
    assert read_offers(OFFERS) == {
        "offers": OFFERS["personalized_offers"],
        "brand": OFFERS["brand"],
        "expires_at": 24134311,
    }


def test_no_offer_is_an_answer() -> None:
    """An empty list means that there is no offer now; expiry and brand may be missing."""
    nothing = {"offers": [], "brand": None, "expires_at": None}
    assert read_offers({"personalized_offers": []}) == nothing
    assert read_offers({"personalized_offers": [], "brand": "x"}) == nothing


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"personalized_offers": None},
        {"personalized_offers": {}},
        {"personalized_offers": [None]},
        {"personalized_offers": ["offer"]},
        {"personalized_offers": [{}]},
        {"personalized_offers": [{"id": 5}]},
        {"hosted_page": PAGE},
    ],
    ids=str,
)
def test_offers_of_no_use_are_refused(body: dict[str, Any]) -> None:
    """Something that is no list of offers with ids is refused."""
    with pytest.raises(ValueError, match=r"no list of offers|no id"):
        read_offers(body)


@given(page=anything, offers=anything, expires_at=anything, brand=anything)
def test_any_answer_is_read_or_refused(
    page: Any, offers: Any, expires_at: Any, brand: Any
) -> None:
    """Whatever the API answers, reading ends in a result or in a ValueError."""
    body = {"hosted_page": page, "personalized_offers": offers}
    for read in (read_hosted_page, read_offers):
        try:
            result = read(body | {"expires_at": expires_at, "brand": brand})
        except ValueError:
            continue
        assert isinstance(result["expires_at"], int | None)
