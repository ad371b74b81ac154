"""The options of a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas.options import WAIT_MAX_S

Refusal = Callable[..., dict[str, list[str]]]


def options_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the canonical form of options."""
    return schemas.validate("gift_checkout", {}, options).options


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"webhooks", "email"}, ["email", "webhooks"]),
        (["webhooks", "webhooks"], ["webhooks"]),
        (("actions",), ["actions"]),
        (iter(["email"]), ["email"]),
        ("webhooks,email, actions", ["actions", "email", "webhooks"]),
        ("", []),
        ([], []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_skip_is_sorted_names(given: object, kept: list[str]) -> None:
    """Any iterable of names, or a text with commas, comes out sorted and each name once."""
    assert options_of({"skip": given}) == {"skip": kept}


@pytest.mark.parametrize(
    "wrong", [["sms"], "sms", "Email", [1], 1, True, {"email": True}, b"email", [None]], ids=repr
)
def test_skip_knows_three_names(wrong: object, refusal: Refusal) -> None:
    """Another name, another case and another shape are refused."""
    assert list(refusal("gift_checkout", {}, {"skip": wrong})) == ["options.skip"]


HEADERS = [("business_entity_id", 50), ("brand_id", 50), ("origin.device", 255)]


def placed(path: str, value: object) -> dict[str, Any]:
    """Return options with a value at a path."""
    first, _, second = path.partition(".")
    return {first: {second: value} if second else value}


@pytest.mark.parametrize(("path", "limit"), HEADERS)
def test_header_text_is_printable_ascii(path: str, limit: int, refusal: Refusal) -> None:
    """What goes out as a header is printable ASCII up to its bound."""
    longest = placed(path, "x" * limit)
    assert options_of(longest) == longest
    assert refusal("gift_checkout", {}, placed(path, "x" * (limit + 1))) == {
        f"options.{path}": [f"Longer than {limit} characters."]
    }


@pytest.mark.parametrize("path", [*(path for path, _ in HEADERS), "origin.user", "origin.ip"])
@given(value=st.text(max_size=8), breaker=st.sampled_from("\r\n\x00\x0b\x0c\x1b\x7f\x85\u2028"))
def test_header_cannot_be_broken(path: str, value: str, breaker: str) -> None:
    """No line break or control character gets past validation, wherever it stands."""
    for text in (breaker + value, value + breaker, f"a@b.c{breaker}X-Injected: 1"):
        with pytest.raises(schemas.job.ValidationError) as caught:
            options_of(placed(path, text))
        assert list(caught.value.messages) == [f"options.{path}"]


@pytest.mark.parametrize("wrong", ["", " ", " a", "a ", "é", "名", 1, True, ["a"]], ids=ascii)
@pytest.mark.parametrize("path", [path for path, _ in HEADERS])
def test_header_text_refuses_what_no_header_carries(
    path: str, wrong: object, refusal: Refusal
) -> None:
    """Nothing, blanks at an end, other scripts and other types are refused."""
    assert list(refusal("gift_checkout", {}, placed(path, wrong))) == [f"options.{path}"]


@pytest.mark.parametrize(
    "address",
    [
        *("192.168.1.2", "0.0.0.0", "255.255.255.255", "::1", "2001:db8::ff00:42:8329"),
        *("::ffff:192.0.2.1", "localhost", "shop.example.com", "a-b.example", "x" * 63 + ".com"),
    ],
)
def test_ip_is_an_address_or_a_host(address: str) -> None:
    """IPv4, IPv6 and host names are accepted as they are."""
    assert options_of({"origin": {"ip": address}}) == {"origin": {"ip": address}}


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "1.2.3", "256.1.1.1", "1.2.3.4.5", "01.2.3.4", ":::", "1::2::3", "fe80::1%eth0"),
        *("host_name", "-a.com", "a-.com", "a..b", "a b", "x" * 64 + ".com", "a." * 130 + "com"),
        *("1.2.3.4/24", "[::1]", "1.2.3.4:80", "пример.рф"),
    ],
)
def test_ip_that_is_none_is_refused(wrong: str, refusal: Refusal) -> None:
    """A zone, a port, a prefix or a label that cannot be one is refused."""
    assert list(refusal("gift_checkout", {}, {"origin": {"ip": wrong}})) == ["options.origin.ip"]


@pytest.mark.parametrize("user", ["ada@example.com", "user.квіточка@example.com"])
def test_user_may_be_of_any_script(user: str) -> None:
    """The user's address may be non-ASCII: it gets a header of its own."""
    assert options_of({"origin": {"user": user}}) == {"origin": {"user": user}}


def test_user_is_an_address(refusal: Refusal) -> None:
    """What is no e-mail address, or a longer one than can be, is refused."""
    for wrong in ("ada", "a b@example.com", "a" * 243 + "@example.com", 5):
        found = refusal("gift_checkout", {}, {"origin": {"user": wrong}})
        assert list(found) == ["options.origin.user"]


@pytest.mark.parametrize("name", ["deadline_s", "delay_s"])
@pytest.mark.parametrize("value", [0.001, 1, 2.5, WAIT_MAX_S])
def test_seconds_are_kept(name: str, value: float) -> None:
    """Whole and broken seconds are accepted up to a year."""
    assert options_of({name: value}) == {name: value}


@pytest.mark.parametrize("name", ["deadline_s", "delay_s"])
@pytest.mark.parametrize(
    "wrong", [-1, -0.1, WAIT_MAX_S + 1, float("nan"), float("inf"), "5", True, [5]], ids=repr
)
def test_seconds_are_bounded(name: str, wrong: object, refusal: Refusal) -> None:
    """Negative, endless and more than a year, or no number at all, is refused."""
    assert list(refusal("gift_checkout", {}, {name: wrong})) == [f"options.{name}"]


def test_zero_is_a_delay_but_no_deadline(refusal: Refusal) -> None:
    """A job may start at once, but must be given some time."""
    assert options_of({"delay_s": 0}) == {"delay_s": 0}
    assert list(refusal("gift_checkout", {}, {"deadline_s": 0})) == ["options.deadline_s"]


def test_delay_ends_before_the_deadline(refusal: Refusal) -> None:
    """A job that would become due after its deadline is refused."""
    assert options_of({"delay_s": 5, "deadline_s": 5.5}) == {"delay_s": 5, "deadline_s": 5.5}
    for delay_s in (5.5, 6):
        found = refusal("gift_checkout", {}, {"delay_s": delay_s, "deadline_s": 5.5})
        assert list(found) == ["options.delay_s"]


def test_lane_is_one_of_two(refusal: Refusal) -> None:
    """The two lanes are accepted, and no third."""
    for lane in ("interactive", "bulk"):
        assert options_of({"lane": lane}) == {"lane": lane}
    assert refusal("gift_checkout", {}, {"lane": "express"}) == {
        "options.lane": ["Must be one of: interactive, bulk."]
    }


def test_options_that_are_none_are_not_set() -> None:
    """None means not given, at both levels."""
    unset = dict.fromkeys(["skip", "business_entity_id", "brand_id", "deadline_s", "lane"])
    assert options_of(unset | {"origin": {"user": None, "ip": "::1"}}) == {"origin": {"ip": "::1"}}
    assert options_of({"origin": None}) == {}


def test_unknown_options_are_refused(refusal: Refusal) -> None:
    """A misspelt option is an error, not a job that runs without it."""
    assert refusal("gift_checkout", {}, {"skips": [], "origin": {"agent": "x"}}) == {
        "options.skips": ["Unknown field. Did you mean skip?"],
        "options.origin.agent": ["Unknown field."],
    }
    assert refusal("gift_checkout", {}, ["skip"]) == {"options": ["Not an object."]}


@pytest.mark.parametrize("name", ["business_entity_id", "brand_id"])
def test_header_and_body_may_not_disagree(name: str, refusal: Refusal) -> None:
    """The API refuses two different values, so validation does; equal ones are fine."""
    assert refusal("gift_checkout", {name: "be_1"}, {name: "be_1"}) == {}
    assert refusal("gift_checkout", {name: "be_1"}, {name: "be_2"}) == {
        f"options.{name}": [f"Differs from `{name}` of the payload: the API refuses both."]
    }
    assert refusal("personalized_offer", {"customer_id": "c"}, {name: "be_2"}) == {}
