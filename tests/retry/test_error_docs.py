"""docs/errors.md says what the code does: every error, class, status and code."""

from __future__ import annotations

import inspect
import random
import re
from importlib import resources
from pathlib import Path

import pytest

from worker import errors
from worker.api.answers import RawAnswer, read_answer
from worker.errors import (
    AmbiguousError,
    ApiError,
    MisconfiguredError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)
from worker.retry.decision import FINAL_CLASSES
from worker.retry.rules import RetryPolicy, decide

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"
NOW = 1_800_000_000_000
LEAVES: dict[str, type[ApiError]] = {
    "rejected": RejectedError,
    "misconfigured": MisconfiguredError,
    "throttled": ThrottledError,
    "unavailable": UnavailableError,
    "ambiguous": AmbiguousError,
}
#: What the first words of "what next" promise.
ACTIONS = {"fail": "fail", "trip": "trip_site", "throttle": "retry", "this": "retry",
           "again": "retry", "up": "retry"}  # fmt: skip
#: Every status and api_error_code that the API documents for its errors, and what proxies add.
DOCUMENTED = {
    400: [
        "invalid_request",
        "param_wrong_value",
        "duplicate_entry",
        "resource_limit_exhausted",
        "resource_limit_exceeded",
        "configuration_incompatible",
        "payment_processing_failed",
        "payment_method_verification_failed",
        "payment_method_not_present",
        "payment_gateway_currency_incompatible",
        "payment_intent_invalid",
        "payment_intent_invalid_amount",
    ],
    401: ["api_authentication_failed", "basic_authentication_failed"],
    403: ["api_authorization_failed", "request_blocked"],
    302: [None],
    404: ["resource_not_found", None, "site_not_found"],
    407: [None],
    408: [None],
    405: ["http_method_not_supported"],
    409: ["invalid_state_for_request"],
    422: ["unable_to_process_request"],
    429: ["api_request_limit_exceeded", "lock_timeout", "third_party_api_request_limit_exceeded"],
    500: ["internal_error"],
    502: [None],
    503: [
        "internal_temporary_error",
        "db_connection_failure",
        "site_not_ready",
        "site_read_only_mode",
    ],
    504: [None],
}


def rows_of(heading: str) -> list[list[str]]:
    """Read the rows of the table under a heading."""
    section = DOCS.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


TABLE = [
    (int(status), None if code == "none" else code.strip("`"), cls.strip("`"), following)
    for status, code, cls, following in rows_of("One table")
    if status.isdigit()
]


def test_error_tree_is_documented_both_ways() -> None:
    """Each class of the tree has a row with its parent, and no row is left over."""
    tree = {
        name: cls.__mro__[1].__name__
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.WorkerError)
    }
    rows = {row[0].strip("`"): row[1].strip("`") for row in rows_of("The tree")}
    assert rows == tree
    assert set(errors.__all__) == {*tree, "Failure"}


def test_error_classes_are_documented_both_ways() -> None:
    """Each class that the decision can name has a row."""
    from worker.retry import decision, rules

    named = set(
        re.findall(r'(?:error_class=|_again\(case, )"([a-z_]+)"', inspect.getsource(rules))
    )
    rows = [row[0].strip("`") for row in rows_of("Classes")]
    assert set(rows) == named
    assert len(rows) == len(set(rows))
    text = inspect.getdoc(decision.Decision) or ""
    assert all(f"`{name}`" in text for name in named)


def test_error_codes_are_documented_both_ways() -> None:
    """Each documented status and code has one row, and there is no other."""
    rows = [(status, code) for status, code, _, _ in TABLE]
    assert sorted(rows, key=str) == sorted(
        ((status, code) for status, codes in DOCUMENTED.items() for code in codes), key=str
    )


@pytest.mark.parametrize(("status", "code", "cls", "following"), TABLE)
def test_error_code_does_what_the_table_says(
    status: int, code: str | None, cls: str, following: str
) -> None:
    """The decision about each row is the one that is documented, waits included."""
    decision = decide(
        LEAVES[cls]("http_status", status=status, api_error_code=code),
        policy=RetryPolicy(),
        operation_repeatable=False,
        attempt=1,
        first_sent_ms=NOW,
        enqueued_ms=NOW,
        now_ms=NOW,
        deadline_ms=None,
        unsure=False,
        rng=random.Random(1),
    )
    assert decision.error_class == cls
    assert decision.action == ACTIONS[following.split(maxsplit=1)[0].strip(";")]
    assert (decision.throttle_site_ms is not None) == following.startswith(
        "throttle the whole site"
    )
    row = next(row for row in rows_of("Classes") if row[0] == f"`{cls}`")
    burns = row[3].startswith("yes") and decision.trip_reason is None
    assert decision.counted == burns
    assert decision.executed_unknown == (row[4] == "yes")


@pytest.mark.parametrize(("status", "code", "cls", "following"), TABLE)
def test_error_code_is_read_as_the_table_says(
    status: int, code: str | None, cls: str, following: str
) -> None:
    """The client makes of each answer the error that the table is about."""
    body = b"<html>" if code is None else b'{"api_error_code": "%s"}' % code.encode()
    with pytest.raises(ApiError) as caught:
        read_answer(RawAnswer(status, {}, body), elapsed_ms=1, max_body_bytes=1_000)
    assert type(caught.value) is LEAVES[cls]
    assert caught.value.api_error_code == code


def test_retryable_has_one_meaning() -> None:
    """The page, the workers' outcomes and the scripts' agree on each class."""
    page = DOCS.read_text("utf-8")
    rows = dict(re.findall(r"^\| (true|false) \| (`.+) \|$", page, re.MULTILINE))
    said = {word: set(re.findall(r"`([a-z_]+)`", row)) for word, row in rows.items()}
    assert said["false"] == FINAL_CLASSES
    lua = (resources.files("worker.engine") / "lua" / "job.lua").read_text("utf-8")
    (listed,) = re.findall(r"^local FINAL_CLASSES = \{(.*)\}$", lua, re.MULTILINE)
    assert set(re.findall(r"(\w+) = true", listed)) == FINAL_CLASSES
    classes = re.findall(r"^\| `([a-z_]+)` \| `[A-Z]|^\| `(internal|expired)`", page, re.MULTILINE)
    assert {name for pair in classes for name in pair if name} <= said["true"] | said["false"]
