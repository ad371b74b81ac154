"""Faults that are HTTP all the same: mangled answers, errors, redirects; and scripts of them."""

from __future__ import annotations

from typing import Any

import pytest


def test_truncated_json_is_whole_http(box: Any) -> None:
    """The length is right, the JSON is not."""
    box.fault("truncated_json")
    answer = box.gift()
    assert answer.status_code == 200
    with pytest.raises(ValueError):
        answer.json()
    assert answer.text.startswith('{"hosted_page"')


def test_wrong_types_keep_the_names(box: Any) -> None:
    """The members are there, with values of other types."""
    box.fault("wrong_types")
    page = box.gift().json()["hosted_page"]
    assert isinstance(page["id"], list)
    assert isinstance(page["expires_at"], str)
    offers = box.offer({"customer_id": "c"}).json()
    assert isinstance(offers["personalized_offers"], dict)


def test_null_url(box: Any) -> None:
    """The page has no URL, the offer no id."""
    box.fault("null_url")
    assert box.gift().json()["hosted_page"]["url"] is None
    assert box.offer({"customer_id": "c"}).json()["personalized_offers"][0]["id"] is None


def test_duplicate_keys_end_in_null(box: Any) -> None:
    """A member comes twice; who takes the last gets null."""
    box.fault("duplicate_keys")
    answer = box.gift()
    assert answer.text.count('"hosted_page"') == 3  # the resource's own "object" among them
    assert answer.json() == {"hosted_page": None}


def test_wrong_charset_contradicts_its_header(box: Any) -> None:
    """The header says UTF-8, the bytes are UTF-16."""
    box.fault("wrong_charset")
    answer = box.gift()
    assert "utf-8" in answer.headers["content-type"]
    assert "hosted_page" in answer.content.decode("utf-16")


def test_big_answer_is_right_but_huge(box: Any) -> None:
    """10 MiB of padding around a right answer."""
    box.fault("big")
    answer = box.gift()
    assert len(answer.content) > 10 * 2**20
    assert answer.json()["hosted_page"]["state"] == "created"


def test_empty_object_no_content_and_html(box: Any) -> None:
    """Answers of success without an answer in them."""
    for name, status, body, executed in (
        ("empty_object", 200, "{}", True),
        ("no_content", 204, "", True),
    ):
        box.fault(name, times=1)
        answer = box.gift()
        assert (answer.status_code, answer.text) == (status, body)
        assert box.last()["executed"] == executed
    box.fault("html", times=1)
    answer = box.gift()
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "text/html; charset=utf-8",
    )
    assert box.last()["executed"] is False


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_leads_away(box: Any, status: int) -> None:
    """A redirect to the place asked for, nothing done."""
    box.fault("redirect", status=status, location="http://127.0.0.1:9/elsewhere")
    answer = box.gift()
    assert (answer.status_code, answer.headers["location"]) == (
        status,
        "http://127.0.0.1:9/elsewhere",
    )
    assert box.get("/counts")["pages"] == 0


def test_body_is_sent_as_given(box: Any) -> None:
    """Any text under any status."""
    box.fault("body", text='{"hosted_page": []}', status=202, content_type="text/plain")
    answer = box.gift()
    assert (answer.status_code, answer.text) == (202, '{"hosted_page": []}')
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    ("code", "retry_after", "sent"),
    [
        ("api_request_limit_exceeded", 30, "30"),
        ("lock_timeout", None, None),
        ("third_party_api_request_limit_exceeded", -5, "-5"),
        ("api_request_limit_exceeded", "1e9", "1e9"),
    ],
)
def test_throttle_in_its_three_kinds(
    box: Any, code: str, retry_after: Any, sent: str | None
) -> None:
    """429 with each code and each form of Retry-After; not executed."""
    box.fault("throttle", code=code, retry_after=retry_after)
    answer = box.gift()
    assert answer.status_code == 429
    assert answer.json()["api_error_code"] == code
    assert answer.json()["type"] == "operation_failed"
    assert answer.headers.get("retry-after") == sent
    counts = box.get("/counts")
    assert (counts["pages"], counts["refused_429"], counts["executed"]) == (0, 1, 0)


def test_throttle_may_name_a_date(box: Any) -> None:
    """``date:30`` is an HTTP date ahead of the sandbox clock."""
    box.post("/clock", {"now_ms": 1_700_000_000_000, "frozen": True})
    box.post("/clock", {"now_ms": 1_700_000_000_000})
    box.fault("throttle", retry_after="date:30")
    assert box.gift().headers["retry-after"] == "Tue, 14 Nov 2023 22:13:50 GMT"


@pytest.mark.parametrize(
    ("members", "code", "error_type"),
    [
        ({}, "internal_error", "operation_failed"),
        ({"status": 503}, "internal_temporary_error", "operation_failed"),
        ({"status": 503, "code": "db_connection_failure", "type": "invalid_request"},
         "db_connection_failure", "invalid_request"),
        ({"status": 503, "code": "site_not_ready"}, "site_not_ready", "operation_failed"),
        ({"status": 503, "code": "site_read_only_mode"}, "site_read_only_mode",
         "operation_failed"),
        ({"status": 504, "body": "json"}, "internal_error", "operation_failed"),
        ({"status": 401}, "api_authentication_failed", None),
        ({"status": 403}, "api_authorization_failed", None),
        ({"status": 403, "code": "request_blocked"}, "request_blocked", "operation_failed"),
        ({"status": 404}, "site_not_found", None),
        ({"status": 409}, "invalid_state_for_request", "invalid_request"),
        ({"status": 400, "code": "configuration_incompatible"}, "configuration_incompatible",
         None),
        ({"status": 400, "code": "payment_processing_failed"}, "payment_processing_failed",
         "payment"),
        ({"status": 400, "code": "duplicate_entry", "param": "gifter[customer_id]"},
         "duplicate_entry", "invalid_request"),
        ({"status": 422}, "unable_to_process_request", "invalid_request"),
    ],
)  # fmt: skip
def test_error_of_any_kind(
    box: Any, members: dict[str, Any], code: str, error_type: str | None
) -> None:
    """Each status with its codes, typed as the API types them."""
    box.fault("error", **members)
    answer = box.gift()
    assert answer.status_code == members.get("status", 500)
    assert answer.json()["api_error_code"] == code
    assert answer.json().get("type") == error_type
    assert answer.json().get("param") == members.get("param")
    assert box.last()["error"] == code
    assert box.get("/counts")["pages"] == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_error_may_be_html(box: Any, status: int) -> None:
    """A proxy's error page; 502 and 504 are so by default."""
    box.fault("error", status=status, **({} if status in (502, 504) else {"body": "html"}))
    answer = box.gift()
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


def test_error_may_come_after_the_page(box: Any) -> None:
    """A 500 that hides a page, found again by the key."""
    box.fault("error", execute=True, times=1)
    assert box.gift(chargebee_idempotency_key="k").status_code == 500
    assert box.get("/counts")["pages"] == 1
    assert box.gift(chargebee_idempotency_key="k").status_code == 200
    assert box.get("/counts")["pages"] == 1


def test_connection_is_usable_after_a_mangled_answer(box: Any) -> None:
    """A mangled but whole answer leaves the connection open for the next request."""
    box.fault("truncated_json", times=1)
    box.gift()
    assert box.gift().json()["hosted_page"]["state"] == "created"


def test_faults_follow_a_script(box: Any) -> None:
    """Rules by request count and kind, over HTTP; the counts say how often they were applied."""
    box.post("/faults", [
        {"fault": "error", "kind": "gift_checkout", "requests": "2..3", "id": "mine"},
        {"fault": "throttle", "kind": "personalized_offer", "every": 2},
    ])  # fmt: skip
    assert [box.gift().status_code for _ in range(4)] == [200, 500, 500, 200]
    assert [box.offer({"customer_id": "c"}).status_code for _ in range(4)] == [200, 429, 200, 429]
    shown = {rule["id"]: (rule["seen"], rule["applied"]) for rule in box.get("/faults")["faults"]}
    assert shown["mine"] == (4, 2)
    assert box.get("/counts")["by_fault"] == {"error": 2, "throttle": 2}
