"""What looks private is found in any text, and what does not is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.stopwatch import Stopwatch

from worker.logs.events import API_CALL, JOB_STARTED
from worker.logs.redaction import REDACTED, redact_event, scrub

PRIVATE = [
    ("mail to maria@example.com now", "maria"),
    ("user.квіточка@example.com", "квіточка"),
    ("a+b.c_d-e@mail.example.co.uk", "a+b"),
    ("email=maria%40example.com&x=1", "maria"),
    ("from 203.0.113.9:5555", "203.0.113.9"),
    ("from 10.0.0.7.", "10.0.0.7"),
    ("from 2001:db8::8a2e:370:7334 again", "8a2e"),
    ("from ::ffff:203.0.113.9", "203.0.113.9"),
    ("https://acme-test.chargebee.com/pages/v3/CanaryPage123/", "CanaryPage"),
    ("GET /pages/v3/CanaryPage123/ HTTP/1.1", "CanaryPage"),
    ("//acme.chargebee.com/pages/v4/CanaryPage123?x=1", "CanaryPage"),
    ("Authorization: Basic dGVzdF9DYW5hcnk6", "dGVzdF9"),
    ("{'authorization': 'Basic dGVzdF9DYW5hcnk6'}", "dGVzdF9"),
    ("(b'Authorization', b'Token xyzzyxyzzy')", "xyzzy"),
    ("basic dGVzdF9DYW5hcnk6", "dGVzdF9"),
    ("Bearer abc.def-ghi", "abc.def"),
    ("key test_CanaryKey0123456789abcdef", "CanaryKey"),
    ("x=live_CanaryKey0123456789abcdef;", "CanaryKey"),
    ("redis://user:S3cretWord@host:6379/0", "S3cretWord"),
    ("rediss+sentinel://:S3cretWord@a,b/m", "S3cretWord"),
]


@pytest.mark.parametrize(("text", "private"), PRIVATE)
def test_scrub_takes_out_what_looks_private(text: str, private: str) -> None:
    """E-mail, IP, page, key and credential are replaced, wherever they stand."""
    for around in ("{}", "x {} y", '"{}"', "[{}]", "a={}", "\n{}\n"):
        scrubbed = scrub(around.format(text))
        assert private not in scrubbed
        assert REDACTED in scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job.succeeded",
        "5f2b9a30c4d94c1e8a7b6f5d4e3c2b1a",
        "gift_checkout",
        "acme-test",
        "/api/v2/hosted_pages/checkout_gift_for_items",
        "2026-11-21T23:20:38.123456Z",
        "23:20:38",
        "{largesse:0}:job:abc",
        "version 9.1.2",
        "127.0.0.1:8400 and ::1 and [::1]:8400",
        "subscription_items[quantity][0]",
        "worker/retry/rules.py:12 in decide",
        "test_site live_chat",
        "the basic idea",
        "https://acme.chargebee.com/api/v2/personalized_offers",
    ],
)
def test_scrub_leaves_the_harmless_alone(text: str) -> None:
    """Ids, times, paths, codes and loopback addresses stay readable."""
    assert scrub(text) == text


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "a@" * 50_000, "1.1.1." * 20_000, "::" * 50_000, "://" + "u:" * 50_000,
     "/pages/" * 10_000, "authorization" * 5_000, "%40" * 30_000],
)  # fmt: skip
def test_scrub_is_quick_on_hostile_texts(text: str) -> None:
    """No pattern takes long, whatever it is given; the text is cut."""
    started = Stopwatch()
    assert len(scrub(text)) < 10_000
    assert started.own_s < 0.5


@given(st.text())
def test_scrub_takes_any_text(text: str) -> None:
    """No text makes it fail, and a second pass changes nothing."""
    once = scrub(text)
    assert scrub(once) == once


def test_redact_event_keeps_only_declared_fields() -> None:
    """A known event prints the fields it is documented with and nothing else."""
    line = redact_event(
        {"event": JOB_STARTED, "level": "info", "job_id": "j", "payload": {"a": 1}, "who": "Maria"}
    )
    assert line == {
        "event": JOB_STARTED,
        "level": "info",
        "job_id": "j",
        "payload": REDACTED,
        "who": REDACTED,
    }


def test_redact_event_scrubs_declared_fields_too() -> None:
    """A private value in a field that is allowed is still found."""
    line = redact_event({"event": API_CALL, "reason": "no maria@example.com", "status": 404})
    assert line["reason"] == f"no {REDACTED}"
    assert line["status"] == 404


def test_redact_event_knows_private_names_anywhere() -> None:
    """In lines of unknown events, private names hide their values at every depth."""
    line = redact_event(
        {
            "event": "something",
            "email": "x",
            "data": {"first_name": "Maria", "list": [{"ip": "1"}, ("maria@example.com",)]},
            "n": 3,
            "x": [0.5, float("inf")],
            "raw": b"Maria",
            "thing": object(),
        }
    )
    assert line["email"] == REDACTED
    assert line["data"] == {"first_name": REDACTED, "list": [{"ip": REDACTED}, [REDACTED]]}
    assert line["x"] == [0.5, "inf"]
    assert (line["n"], line["raw"], line["thing"]) == (3, "<bytes>", "<object>")


def test_redact_event_bounds_its_depth() -> None:
    """A value that holds itself ends."""
    loop: list[object] = []
    loop.append(loop)
    assert "<list>" in str(redact_event({"event": "x", "loop": loop}))
