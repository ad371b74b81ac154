"""Time zones and locales exist, or are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Refusal = Callable[..., dict[str, list[str]]]


@pytest.mark.parametrize(
    "zone", ["UTC", "America/New_York", "Europe/Kyiv", "Asia/Calcutta", "Etc/GMT+5", "EST"]
)
def test_time_zone_that_exists_is_accepted(zone: str, refusal: Refusal) -> None:
    """IANA names are accepted, old ones too."""
    payload = {"customer_id": "c", "request_context": {"timezone": zone}}
    assert refusal("personalized_offer", payload, request_context="relaxed") == {}


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Mars/Phobos",
        "america/new_york",
        "America",
        "../etc/passwd",
        "/etc/localtime",
        "GMT+99",
    ],
)
def test_time_zone_that_does_not_exist_is_refused(zone: str, refusal: Refusal) -> None:
    """A name that the IANA data base does not have is refused, and so is a path."""
    payload = {"customer_id": "c", "request_context": {"timezone": zone}}
    assert refusal("personalized_offer", payload, request_context="relaxed") == {
        "request_context.timezone": [
            "No such time zone: use an IANA name such as America/New_York."
        ]
    }


@pytest.mark.parametrize(
    "locale",
    [
        *("en", "en-US", "en_US", "EN-us", "fr-CA", "zh-Hant-TW", "sr-Latn-RS", "es-419", "fil"),
        *("en-TH", "iw", "no", "de-DE-1996", "ca-ES-valencia", "en-US-u-ca-gregory", "en-x-shop"),
    ],
)
def test_locale_that_exists_is_accepted(locale: str, refusal: Refusal) -> None:
    """Language, script and territory that exist make a locale, in both requests."""
    offer = {"customer_id": "c", "request_context": {"locale": locale}}
    assert refusal("personalized_offer", offer, request_context="relaxed") == {}
    assert refusal("gift_checkout", {"gifter": {"locale": locale}}) == {}


@pytest.mark.parametrize(
    "locale",
    [
        *("", "xx", "xx-YY", "en-XX", "en-ZZ", "und", "root", "C", "POSIX", "english", "en-USA"),
        *("en-", "-en", "en--US", "en US", "en-US.UTF-8", "zz-US", "en-Zzzz", "e", "en-u"),
    ],
)
def test_locale_that_does_not_exist_is_refused(locale: str, refusal: Refusal) -> None:
    """A made-up language, script or territory is refused, and so is what is no tag at all."""
    message = ["No such locale: use a language tag such as en-US."]
    offer = {"customer_id": "c", "request_context": {"locale": locale}}
    assert refusal("personalized_offer", offer, request_context="relaxed") == {
        "request_context.locale": message
    }
    assert refusal("gift_checkout", {"gifter": {"locale": locale}}) == {"gifter.locale": message}
