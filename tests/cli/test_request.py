"""`largesse request` shows the very bytes that go out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rig.command import Command
from rig.system import System

from worker.api import build_request
from worker.jobs.job import Job, idempotency_key
from worker.operations import operation
from worker.settings import Settings

VECTORS = sorted((Path(__file__).parents[1] / "vectors").glob("*_[0-9][0-9].json"))
KEY = "test_GoldenKey0123456789"
SITE = {"CHARGEBEE_SITE": "acme-test", "CHARGEBEE_API_KEY": KEY}


def load(path: Path) -> dict[str, Any]:
    """Read one vector."""
    vector: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return vector


FAITHFUL = [path for path in VECTORS if load(path)["sdk_quirk"] is None]


def test_vectors_are_there() -> None:
    """The comparison below is with something."""
    assert len(FAITHFUL) >= 10
    assert {path.name.split("_")[0] for path in FAITHFUL} == {"gift", "offer"}


@pytest.mark.parametrize("path", FAITHFUL, ids=lambda path: path.stem)
def test_request_equals_what_the_official_sdk_sends(largesse: Command, path: Path) -> None:
    """Address and body are the SDK's: a form byte for byte, JSON as an equal value."""
    vector = load(path)
    kind = "gift-checkout" if path.name.startswith("gift") else "personalized-offer"
    env = {**SITE, "LARGESSE_REQUEST_CONTEXT": "relaxed"}
    given = vector["headers_in"].get("chargebee-idempotency-key")
    if given and kind == "personalized-offer":
        env["LARGESSE_OFFERS_IDEMPOTENCY_KEY"] = "true"
    payload = largesse.write("payload.json", vector["params"] or {})
    ran = largesse("request", kind, payload, "--dry-run", "--json", env=env)
    assert ran.code == 0, ran.err
    (shown,) = ran.objects()
    assert shown.keys() == {"method", "url", "headers", "body"}
    assert shown["method"] == vector["method"]
    assert shown["url"] == f"https://{vector['headers_out']['Host']}{vector['path']}"
    headers = {name.lower(): value for name, value in shown["headers"].items()}
    theirs = {name.lower(): value for name, value in vector["headers_out"].items()}
    assert headers["content-type"] == theirs["content-type"]
    assert headers["accept"] == theirs["accept"]
    if given:
        assert 1 <= len(headers["chargebee-idempotency-key"]) <= 100
    if kind == "gift-checkout":
        assert shown["body"] == vector["body"]
    else:
        assert json.loads(shown["body"]) == json.loads(vector["body"])


def test_request_masks_the_key(largesse: Command) -> None:
    """The API key is nowhere in what is shown, in either form."""
    payload = largesse.write("payload.json", {})
    for more in ((), ("--json",)):
        ran = largesse("request", "gift-checkout", payload, "--dry-run", *more, env=SITE)
        assert ran.code == 0
        assert KEY not in ran.out + ran.err
        assert "Basic ****" in ran.out


def test_request_needs_no_key_to_be_shown(largesse: Command) -> None:
    """A dry run sends nothing, so it reads no key and asks for no Redis."""
    ran = largesse(
        "request",
        "gift_checkout",
        largesse.write("payload.json", {}),
        "--dry-run",
        env={"CHARGEBEE_SITE": "acme-test"},
    )
    assert ran.code == 0, ran.err


def test_request_shows_what_the_options_ask_for(largesse: Command) -> None:
    """Skip, business entity, brand and origin go out as headers."""
    options = {
        "skip": ["webhooks", "email", "actions"],
        "business_entity_id": "be_1",
        "brand_id": "brand_1",
        "origin": {"user": "gärtner@example.com", "ip": "203.0.113.7", "device": "Android"},
    }
    words = ("request", "gift-checkout", largesse.write("payload.json", {}), "--dry-run", "--json")
    ran = largesse(*words, "--options", largesse.write("options.json", options), env=SITE)
    (shown,) = ran.objects()
    assert {
        name: value for name, value in shown["headers"].items() if name.startswith("chargebee-")
    }.items() >= {
        "chargebee-event-webhook": "all-disabled",
        "chargebee-event-email": "all-disabled",
        "chargebee-event-actions": "all-disabled",
        "chargebee-business-entity-id": "be_1",
        "chargebee-brand-id": "brand_1",
        "chargebee-request-origin-user-encoded": "Z8OkcnRuZXJAZXhhbXBsZS5jb20=",
        "chargebee-request-origin-ip": "203.0.113.7",
        "chargebee-request-origin-device": "Android",
    }.items()


def test_request_with_a_key_is_the_request_of_that_job(largesse: Command) -> None:
    """The idempotency key that is shown is the one that a job of this key sends."""
    words = ("request", "gift-checkout", largesse.write("payload.json", {}), "--dry-run", "--json")
    ran = largesse(*words, "--key", "order-1042", env=SITE)
    settings = Settings.from_env({"LARGESSE_REDIS_URL": "redis://localhost/0", **SITE})
    job = Job.prepare(settings, "gift_checkout", {}, key="order-1042")
    sent = build_request(
        operation("gift_checkout"),
        site=settings.site(),
        payload=job.payload,
        options=job.options,
        idempotency_key=idempotency_key(job.id, 0),
    )
    (shown,) = ran.objects()
    name = "chargebee-idempotency-key"
    assert shown["headers"][name] == dict(sent.headers)[name]
    assert shown["body"].encode() == sent.body


def test_request_without_a_key_is_new_each_time(largesse: Command) -> None:
    """Two tries of the same payload are two requests to the API."""
    words = ("request", "gift-checkout", largesse.write("payload.json", {}), "--dry-run", "--json")
    keys = {
        largesse(*words, env=SITE).objects()[0]["headers"]["chargebee-idempotency-key"]
        for _ in range(2)
    }
    assert len(keys) == 2


def test_request_refuses_an_invalid_payload(largesse: Command) -> None:
    """Exit 2 and one line that names the field and not its value."""
    payload = largesse.write("payload.json", {"customer_id": "x" * 51, "email": "not-an-address"})
    ran = largesse("request", "personalized-offer", payload, "--dry-run", env=SITE)
    assert ran.code == 2
    assert ran.out == ""
    assert "customer_id: " in ran.err
    assert "email: " in ran.err
    assert "not-an-address" not in ran.err
    assert ran.err.count("\n") == 1


def test_request_refuses_an_unknown_kind(largesse: Command) -> None:
    """Exit 2 and the kinds that there are."""
    ran = largesse("request", "gift", largesse.write("payload.json", {}), "--dry-run", env=SITE)
    assert ran.code == 2
    assert "gift-checkout or personalized-offer" in ran.err


def test_request_without_a_site_names_the_setting(largesse: Command) -> None:
    """Exit 3 and what to set."""
    ran = largesse("request", "gift-checkout", largesse.write("payload.json", {}), "--dry-run")
    assert ran.code == 3
    assert "CHARGEBEE_SITE" in ran.err
    assert ran.err.count("\n") == 1


def test_request_is_sent_once_and_its_answer_shown(system: System) -> None:
    """Without --dry-run the page that was made is shown, and one was made."""
    payload = system.run.write(
        "payload.json", {"subscription_items": [{"item_price_id": "basic"}]}
    )
    ran = system.run("request", "gift-checkout", payload, "--json")
    assert ran.code == 0, ran.err
    (shown,) = ran.objects()
    assert shown["answer"]["status"] == 200
    assert shown["answer"]["body"]["hosted_page"]["id"]
    assert system.admin.counts()["pages"] == 1
    assert system.run("request", "gift-checkout", payload).out.rstrip().endswith("}")


def test_request_that_is_rejected_ends_with_1(system: System) -> None:
    """What the API says of it is shown: status, code and parameter."""
    payload = system.run.write(
        "payload.json", {"subscription_items": [{"item_price_id": "missing_1"}]}
    )
    ran = system.run("request", "gift-checkout", payload, "--json")
    assert ran.code == 1
    (shown,) = ran.objects()
    assert shown["answer"]["error"]["status"] == 404
    assert shown["answer"]["error"]["api_error_code"] == "resource_not_found"
    ran = system.run("request", "gift-checkout", payload)
    assert ran.code == 1
    assert "resource_not_found" in ran.err
