"""The admin API and the admin page."""

from __future__ import annotations

from typing import Any

import pytest


def test_health_names_the_process(box: Any, process: Any) -> None:
    """It says that it runs, where, and as which process."""
    health = box.get("/health")
    assert (health["ok"], health["pid"], health["url"]) == (True, process.popen.pid, box.url)


def test_counts_begin_at_zero(box: Any) -> None:
    """After a reset everything is zero or empty."""
    box.gift()
    box.fault("reset")
    box.post("/clock", {"advance_s": 100})
    box.post("/settings", {"rate_per_minute": 7})
    box.post("/reset", {})
    counts = box.get("/counts")
    assert not any(value for value in counts.values())
    assert box.get("/faults")["faults"] == []
    assert box.get("/clock")["offset_ms"] == 0
    assert box.get("/settings")["rate_per_minute"] == 0
    assert box.get("/requests") == {"requests": [], "last": 0}


def test_reset_keeps_what_it_is_told_to(box: Any) -> None:
    """Faults, settings, clock, catalogue and sites can outlive a reset."""
    box.fault("reset", kind="retrieve")
    box.post("/clock", {"advance_s": 100})
    box.post("/settings", {"rate_per_minute": 7})
    box.post("/catalogue", {"coupons": ["TEN"]})
    box.post("/sites", {"name": "late-test", "api_keys": ["test_late"]})
    box.post("/reset", {"keep": ["faults", "settings", "clock", "catalogue", "sites"]})
    assert len(box.get("/faults")["faults"]) == 1
    assert box.get("/clock")["offset_ms"] == pytest.approx(100_000, abs=50)
    assert box.get("/settings")["rate_per_minute"] == 7
    assert box.get("/catalogue") == {"coupons": ["TEN"]}
    assert "late-test" in [site["name"] for site in box.get("/sites")["sites"]]
    box.post("/reset", {})
    assert "late-test" not in [site["name"] for site in box.get("/sites")["sites"]]
    assert box.get("/settings")["rate_per_minute"] != 7


def test_reset_makes_keys_new(box: Any) -> None:
    """Idempotency keys are forgotten."""
    box.gift(chargebee_idempotency_key="k")
    box.post("/reset", {})
    answer = box.gift("layout=in_app", chargebee_idempotency_key="k")
    assert answer.status_code == 200
    assert "chargebee-idempotency-replayed" not in answer.headers


def test_counts_tell_sites_and_kinds_apart(box: Any) -> None:
    """Totals by status, kind and site, and those of one site."""
    box.gift(chargebee_idempotency_key="a")
    box.gift("layout=x")
    box.gift(key="test_other_key")
    box.offer({"customer_id": "c"})
    box.call("POST", "/api/v2/elsewhere")
    counts = box.get("/counts")
    assert counts["requests"] == 5
    assert counts["by_status"] == {"200": 3, "400": 1, "404": 1}
    assert counts["by_kind"] == {"gift_checkout": 3, "personalized_offer": 1, "None": 1}
    assert counts["by_site"] == {"acme-test": 4, "other-test": 1}
    assert (counts["pages"], counts["pages_without_key"]) == (2, 1)
    one = box.get("/counts?site=other-test")
    assert (one["requests"], one["executed"], one["pages"]) == (1, 1, 1)


def test_requests_are_logged_in_order(box: Any) -> None:
    """Every request, with what became of it; ``after`` gives the rest."""
    box.gift("layout=in_app", chargebee_idempotency_key="k")
    box.gift("layout=x")
    box.call("GET", "/api/v2/hosted_pages/p")
    found = box.get("/requests")
    assert found["last"] == 3
    assert [one["n"] for one in found["requests"]] == [1, 2, 3]
    first, second, third = found["requests"]
    assert (first["method"], first["kind"], first["site"]) == (
        "POST",
        "gift_checkout",
        "acme-test",
    )
    assert (first["body"], first["status"], first["executed"]) == ("layout=in_app", 200, True)
    assert (first["idempotency_key"], first["host"]) == ("k", box.host)
    assert (second["status"], second["error"], second["param"]) == (
        400,
        "param_wrong_value",
        "layout",
    )
    assert (third["kind"], third["status"]) == ("retrieve", 404)
    assert [one["n"] for one in box.get("/requests?after=1&limit=1")["requests"]] == [2]
    assert box.get("/requests?after=3") == {"requests": [], "last": 3}


def test_requests_are_all_logged(box: Any) -> None:
    """More than a batch of them: none is missing, none is twice."""
    for _ in range(300):
        box.offer({"customer_id": "c"})
    found = box.get("/requests?limit=5000")["requests"]
    assert [one["n"] for one in found] == list(range(1, 301))


def test_pages_are_listed(box: Any) -> None:
    """Each page with its key, its times and the request that made it."""
    page = box.gift(chargebee_idempotency_key="k").json()["hosted_page"]
    box.gift(key="test_other_key")
    assert box.get("/pages?site=acme-test")["pages"] == [
        {
            "id": page["id"],
            "site": "acme-test",
            "idempotency_key": "k",
            "created_at": page["created_at"],
            "expires_at": page["expires_at"],
            "state": "created",
            "request": 1,
        }
    ]
    assert len(box.get("/pages")["pages"]) == 2


def test_sites_can_be_added_and_keys_rotated(box: Any) -> None:
    """A new site works at once; while two keys are valid both do, then only the new one."""
    for keys in (["test_first"], ["test_first", "test_second"], ["test_second"]):
        box.post("/sites", {"name": "late-test", "api_keys": keys})
        for key in ("test_first", "test_second"):
            assert (box.gift(key=key).status_code == 200) == (key in keys)
    late = next(one for one in box.get("/sites")["sites"] if one["name"] == "late-test")
    assert late == {"name": "late-test", "test": True, "keys": ["test_…"]}


def test_fault_is_removed_by_id(box: Any) -> None:
    """One rule goes, the others stay."""
    box.fault("reset", id="one", kind="retrieve")
    box.fault("reset", id="two", kind="retrieve")
    gone = box.client.delete(f"{box.url}/_sandbox/faults/one").json()
    assert gone == {"removed": 1}
    assert [rule["id"] for rule in box.get("/faults")["faults"]] == ["two"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/faults", {"fault": "nothing"}),
        ("/faults", "reset"),
        ("/clock", {"hours": 3}),
        ("/clock", {"advance_s": "3"}),
        ("/settings", {"speed": 3}),
        ("/settings", {"rate_per_minute": -1}),
        ("/settings", {"rate_per_minute": True}),
        ("/settings", {"rate_window": "wide"}),
        ("/settings", {"offers_form": 1}),
        ("/settings", {"retry_after": 5}),
        ("/settings", {"latency_ms": "slow"}),
        ("/settings", {"site": "acme-test", "latency_ms": 3}),
        ("/settings", []),
        ("/sites", {"name": "x"}),
        ("/sites", {"name": "x", "api_keys": ["test_sandbox_key"]}),
        ("/catalogue", {"prices": []}),
        ("/catalogue", {"coupons": "TEN"}),
        ("/catalogue", {"item_prices": ["basic"]}),
        ("/catalogue?site=nobody", {}),
        ("/customers", {"email": "a@b.c"}),
        ("/customers", {"site": "nobody", "email": "a@b.c"}),
        ("/reset", {"keep": ["pages"]}),
    ],
)
def test_wrong_admin_request_is_400(box: Any, path: str, body: Any) -> None:
    """What is wrong is said, nothing changes."""
    before = (box.get("/settings"), box.get("/faults"), box.get("/sites"))
    assert box.post(path, body, status=400)["error"]
    assert (box.get("/settings"), box.get("/faults"), box.get("/sites")) == before


def test_admin_refuses_what_is_not_json(box: Any) -> None:
    """A body that cannot be read is 400, a number that is none as well."""
    assert box.client.post(f"{box.url}/_sandbox/clock", content=b"{").status_code == 400
    assert box.client.get(f"{box.url}/_sandbox/requests?after=x").status_code == 400


def test_customer_id_is_taken_once(box: Any) -> None:
    """A second customer of the same id is refused."""
    customer = {"site": "acme-test", "id": "c", "email": "a@example.com"}
    box.post("/customers", customer, status=201)
    box.post("/customers", customer, status=400)


def test_admin_refuses_other_origins(box: Any) -> None:
    """A web page elsewhere cannot drive a sandbox that its visitor runs."""
    url = f"{box.url}/_sandbox/reset"
    assert box.client.post(url, headers={"origin": "https://evil.example"}).status_code == 403
    assert box.client.post(url, headers={"origin": box.url}).status_code == 200


def test_admin_page_shows_what_happened(box: Any) -> None:
    """Requests with their answers and faults, pages and counts, readable by a person."""
    empty = box.client.get(f"{box.url}/_sandbox/").text
    assert "No request yet." in empty
    box.fault("error", times=1, code="internal_error")
    box.gift(chargebee_idempotency_key="order-1042", chargebee_event_email="all-disabled")
    page = box.gift(chargebee_idempotency_key="order-1042").json()["hosted_page"]
    box.gift(chargebee_idempotency_key="order-1042")
    shown = box.client.get(f"{box.url}/_sandbox/").text
    for text in ("order-1042", page["id"], "fault: error", "internal_error", "replayed"):
        assert text in shown
    style = box.client.get(f"{box.url}/_sandbox/static/sandbox.css")
    assert style.headers["content-type"].startswith("text/css")
