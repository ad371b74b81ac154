"""What answers mean: every status and code, and any garbage."""

from __future__ import annotations

import gzip
import json
import pickle
import re
import time
import zlib
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.api import ApiAnswer, parse_retry_after
from worker.api.answers import RawAnswer, read_answer
from worker.errors import (
    AmbiguousError,
    ApiError,
    MisconfiguredError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)

CAP = 1 << 20

# Every code of the API's documentation, under the statuses it comes with.
CODES: dict[int, tuple[type[ApiError], list[str]]] = {
    400: (
        RejectedError,
        [
            *(
                "invalid_request",
                "param_wrong_value",
                "duplicate_entry",
                "configuration_incompatible",
            ),
            *("resource_limit_exhausted", "resource_limit_exceeded", "payment_processing_failed"),
            *("payment_method_verification_failed", "payment_method_not_present"),
            *("payment_gateway_currency_incompatible", "payment_intent_invalid"),
            "payment_intent_invalid_amount",
        ],
    ),
    401: (MisconfiguredError, ["api_authentication_failed", "basic_authentication_failed"]),
    403: (MisconfiguredError, ["api_authorization_failed", "request_blocked"]),
    404: (RejectedError, ["resource_not_found"]),
    405: (RejectedError, ["http_method_not_supported"]),
    409: (RejectedError, ["invalid_state_for_request"]),
    422: (RejectedError, ["unable_to_process_request"]),
    429: (
        ThrottledError,
        [
            *("api_request_limit_exceeded", "lock_timeout"),
            "third_party_api_request_limit_exceeded",
        ],
    ),
    500: (AmbiguousError, ["internal_error"]),
    503: (
        UnavailableError,
        [
            *("internal_temporary_error", "db_connection_failure", "site_not_ready"),
            "site_read_only_mode",
        ],
    ),
}
CASES = [(status, code, kind) for status, (kind, codes) in CODES.items() for code in codes]
CASES.append((404, "site_not_found", MisconfiguredError))


def read(status: int, body: bytes | None, headers: dict[str, str] | None = None) -> ApiAnswer:
    """Read an answer as the client does."""
    return read_answer(RawAnswer(status, headers or {}, body), elapsed_ms=7, max_body_bytes=CAP)


def error_of(status: int, body: Any, headers: dict[str, str] | None = None) -> ApiError:
    """Return the error that an answer means."""
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as caught:
        read(status, raw, headers)
    assert pickle.loads(pickle.dumps(caught.value)).__dict__ == caught.value.__dict__
    return caught.value


def test_success_is_an_object() -> None:
    """A 2xx with a JSON object is an answer, its attributes kept whatever they are."""
    body = {"hosted_page": {"id": "p", "new": [1, {"x": None}]}}
    answer = read(200, json.dumps(body).encode())
    assert answer == ApiAnswer(200, body, replayed=False, elapsed_ms=7)
    assert read(202, b"{}").status == 202
    assert "hosted_page" not in repr(answer)


@pytest.mark.parametrize(("status", "code", "kind"), CASES)
@pytest.mark.parametrize("typed", ["invalid_request", "operation_failed", "payment", None])
def test_code_maps_to_its_class(
    status: int, code: str, kind: type[ApiError], typed: str | None
) -> None:
    """Every documented code ends in its class, whatever the `type` beside it says."""
    body = {"api_error_code": code, "type": typed, "message": "canary", "param": "gifter[locale]"}
    error = error_of(status, body)
    assert type(error) is kind
    assert (error.status, error.api_error_code, error.param) == (status, code, "gifter[locale]")
    assert "canary" not in f"{error} {error!r} {error.__dict__}"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((301, MisconfiguredError), (302, MisconfiguredError), (303, MisconfiguredError)),
        *((304, MisconfiguredError), (307, MisconfiguredError), (308, MisconfiguredError)),
        *((400, RejectedError), (401, MisconfiguredError), (402, RejectedError)),
        *((403, MisconfiguredError), (404, MisconfiguredError), (405, RejectedError)),
        *((407, MisconfiguredError), (408, AmbiguousError), (409, RejectedError)),
        *((413, RejectedError), (418, RejectedError), (422, RejectedError), (499, RejectedError)),
        *((429, ThrottledError), (500, AmbiguousError), (501, AmbiguousError)),
        *((502, AmbiguousError), (503, UnavailableError), (504, AmbiguousError)),
        *(
            (505, AmbiguousError),
            (599, AmbiguousError),
            (101, AmbiguousError),
            (999, AmbiguousError),
        ),
    ],
)
@pytest.mark.parametrize("body", [b"<html>502</html>", b"", None, b"[]", b'{"message":'], ids=repr)
def test_status_decides_without_a_body(
    status: int, kind: type[ApiError], body: bytes | None
) -> None:
    """An error page of a proxy, a broken body or none at all: the status alone is enough."""
    error = error_of(status, body)
    assert type(error) is kind
    assert (error.status, error.api_error_code, error.param) == (status, None, None)


CLASSES = {
    "ambiguous": AmbiguousError,
    "misconfigured": MisconfiguredError,
    "rejected": RejectedError,
    "throttled": ThrottledError,
    "unavailable": UnavailableError,
}


def test_page_of_errors_says_the_same() -> None:
    """Every row of docs/errors.md with a status names the class that such an answer gets."""
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| (none|`\w+`) \| `(\w+)` \|", page, re.MULTILINE)
    assert len(rows) >= len(CASES)
    for status, code, name in rows:
        body = {} if code == "none" else {"api_error_code": code.strip("`")}
        assert type(error_of(int(status), body)) is CLASSES[name], (status, code)


def test_code_cannot_change_what_the_status_says() -> None:
    """The status comes first: a code under another status does not move the error."""
    assert type(error_of(400, {"api_error_code": "site_not_found"})) is RejectedError
    assert type(error_of(500, {"api_error_code": "lock_timeout"})) is AmbiguousError
    assert type(error_of(503, {"api_error_code": "param_wrong_value"})) is UnavailableError


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty_answer"),
        (None, "unreadable_answer"),
        (b"<html>welcome to the hotel</html>", "unreadable_answer"),
        (b'{"hosted_page": {"id": "p"', "unreadable_answer"),
        (b"[]", "unreadable_answer"),
        (b"null", "unreadable_answer"),
        (b'"text"', "unreadable_answer"),
        (b"200", "unreadable_answer"),
        (b'{"a": 1, "a": 2}', "unreadable_answer"),
        (b'{"a": {"b": 1, "b": 1}}', "unreadable_answer"),
        (b'{"a": NaN}', "unreadable_answer"),
        (b'{"a": Infinity}', "unreadable_answer"),
        (b'{"a": 1e400}', "unreadable_answer"),
        (b'{"a": ' + b"9" * 5000 + b"}", "unreadable_answer"),
        (b'{"a": "\\ud800"}', "unreadable_answer"),
        (b'{"\\udfff": 1}', "unreadable_answer"),
        (b'{"a": "\xe9"}', "unreadable_answer"),
        ('{"a": "é"}'.encode("utf-16"), "unreadable_answer"),
        (b'{"a": 1} trailing', "unreadable_answer"),
        (b'{"a": ' * 100_000, "unreadable_answer"),
        (b"[" * 100_000 + b"]" * 100_000, "unreadable_answer"),
        (b"\x00" * 100, "unreadable_answer"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_success_that_cannot_be_read_is_ambiguous(body: bytes | None, reason: str) -> None:
    """A 2xx without a usable JSON object may have been executed."""
    error = error_of(200, body)
    assert type(error) is AmbiguousError
    assert (error.reason, error.status) == (reason, 200)
    assert error.__cause__ is None


def test_no_content_is_ambiguous() -> None:
    """A 204 has no page in it."""
    assert type(error_of(204, b"")) is AmbiguousError


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf{"a": "\\u00e9"}', b' \n{"a": "\xc3\xa9"}\r\n'])
def test_mark_and_blanks_around_json_are_forgiven(body: bytes) -> None:
    """A byte order mark and white space change nothing; a declared charset is not believed."""
    headers = {"content-type": "text/plain; charset=koi8-r"}
    assert read(200, body, headers).body == {"a": "é"}


def test_pair_of_surrogate_escapes_is_a_character() -> None:
    """An emoji written as two escapes is one character."""
    assert read(200, b'{"a": "\\ud83d\\ude00"}').body == {"a": "😀"}


@pytest.mark.parametrize(
    "code", [5, None, ["x"], {"a": 1}, "", "a b", "x" * 101, "é", "<b>", "a\n"]
)
def test_odd_code_and_param_are_not_shown(code: object) -> None:
    """What does not look like a name of the API's is left out of the error."""
    error = error_of(400, {"api_error_code": code, "param": code})
    assert (error.api_error_code, error.param) == (None, None)


@pytest.mark.parametrize(
    ("value", "replayed"),
    [("true", True), ("false", False), ("True", False), ("1", False), ("", False), (None, False)],
)
def test_replay_is_the_literal_true(value: str | None, replayed: bool) -> None:
    """Only the text `true` says that an answer is a replay, in answers and in errors."""
    headers = {} if value is None else {"chargebee-idempotency-replayed": value}
    assert read(200, b"{}", headers).replayed is replayed
    assert error_of(400, {}, headers).replayed is replayed
    assert error_of(200, b"", headers).replayed is replayed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0", 0.0), ("2", 2.0), ("120", 120.0), ("1.5", 1.5), (" 7 ", 7.0), (None, None)),
        *(("", None), ("-1", None), ("soon", None), ("1e9", None), ("9" * 400, None)),
        *(("inf", None), ("nan", None), ("1, 2", None), ("\u0663", None), ("0x10", None)),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:01:40 -0000", 90.0),
        ("Thursday, 01-Jan-70 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 32 Jan 1970 00:00:00 GMT", None),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    """Seconds and HTTP dates are read; anything else is no Retry-After."""
    assert parse_retry_after(text, now=10.0) == seconds


@given(text=st.text())
def test_any_retry_after_is_read_or_none(text: str) -> None:
    """No text makes the parser fail, and what it returns is a time to wait."""
    seconds = parse_retry_after(text, now=time.time())
    assert seconds is None or 0 <= seconds < float("inf")


def test_retry_after_date_is_by_the_clock_of_the_sender() -> None:
    """A date is measured from the answer's own Date, so a wrong clock here does no harm."""
    headers = {"date": formatdate(1000, usegmt=True), "retry-after": formatdate(1090, usegmt=True)}
    assert error_of(429, {}, headers).retry_after_s == 90.0
    soon = {"date": "broken", "retry-after": formatdate(time.time() + 60, usegmt=True)}
    assert error_of(503, {}, soon).retry_after_s == pytest.approx(60, abs=2)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP", "identity", ""])
def test_packed_answer_is_unpacked(encoding: str) -> None:
    """An answer that comes packed, though nobody asked for it, is read all the same."""
    plain = b'{"a": 1}'
    packed = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}
    body = packed.get(encoding.lower(), bytes)(plain)
    assert read(200, body, {"content-encoding": encoding}).body == {"a": 1}


def test_packed_bomb_is_too_large() -> None:
    """Unpacking stops at the cap, however much there is."""
    bomb = gzip.compress(b" " * (CAP * 50) + b"{}")
    started = time.process_time()
    error = error_of(200, bomb, {"content-encoding": "gzip"})
    assert error.reason == "answer_too_large"
    assert time.process_time() - started < 0.5
    assert type(error_of(429, bomb, {"content-encoding": "gzip"})) is ThrottledError


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"{}"),
        ("gzip, gzip", b"{}"),
        ("gzip", b"{}"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4]),
        ("deflate", b"\x00\x01"),
    ],
)
def test_packing_that_cannot_be_undone_is_ambiguous(encoding: str, body: bytes) -> None:
    """An unknown, wrong or torn packing is an answer that cannot be read."""
    assert type(error_of(200, body, {"content-encoding": encoding})) is AmbiguousError


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
error_bodies = st.dictionaries(st.sampled_from(["api_error_code", "param", "type"]), json_values)
header_names = ["content-encoding", "retry-after", "date", "chargebee-idempotency-replayed"]


@given(
    status=st.integers(100, 999),
    body=st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | error_bodies.map(lambda value: json.dumps(value).encode())
    | st.none(),
    headers=st.dictionaries(st.sampled_from(header_names), st.text() | st.just("gzip")),
)
def test_any_answer_is_an_answer_or_an_api_error(
    status: int, body: bytes | None, headers: dict[str, str]
) -> None:
    """Whatever comes, it ends in a JSON object that can be passed on or in a leaf of the tree."""
    try:
        answer = read(status, body, headers)
    except ApiError as error:
        assert type(error) is not ApiError  # noqa: PT017  (one of the leaves, whichever)
    else:
        assert 200 <= status < 300
        json.dumps(answer.body, allow_nan=False, ensure_ascii=False).encode()
