"""T28: hostile input is refused before it is enqueued, by its path; the rest injects nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rig.figures import Counts
from rig.invariants import PREFIX
from rig.producing import GIFT, OFFER
from rig.world import World

from worker import Producer
from worker.api.request import build_request
from worker.errors import InvalidJobError
from worker.jobs.job import Job
from worker.operations import operation

SEED = 28
INJECTED = "x-injected"
#: Headers that a request may have, besides those of HTTP itself.
KNOWN = {
    "chargebee-idempotency-key", "chargebee-event-actions", "chargebee-event-email",
    "chargebee-event-webhook", "chargebee-business-entity-id", "chargebee-brand-id",
    "chargebee-request-origin-user", "chargebee-request-origin-user-encoded",
    "chargebee-request-origin-ip", "chargebee-request-origin-device", "user-agent", "accept",
    "content-type", "content-length", "host", "authorization", "connection", "accept-encoding",
}  # fmt: skip

#: Where a text may go: kind, path in the payload or the options.
GIFT_PLACES = [
    "redirect_url", "business_entity_id", "brand_id", "layout", "gifter.customer_id",
    "gifter.locale", "subscription_items.0.item_price_id", "subscription_items.0.quantity",
    "subscription_items.0.unit_price_in_decimal", "coupon_ids.0",
]  # fmt: skip
OFFER_PLACES = [
    "customer_id", "subscription_id", "first_name", "last_name", "email", "roles.0",
    "external_user_id", "custom.note", "request_context.url", "request_context.user_agent",
    "request_context.locale", "request_context.timezone", "request_context.referrer_url",
]  # fmt: skip
OPTION_PLACES = [
    "options.business_entity_id", "options.brand_id", "options.origin.user", "options.origin.ip",
    "options.origin.device", "options.skip", "options.lane", "options.deadline_s",
]  # fmt: skip

NASTY = [
    *(f"a{end}{INJECTED}: 1" for end in ("\r\n", "\n", "\r")),
    *("a\x00b", "\u202eabc", "\ud800", "\u2028", "\x85", "\ufeff", "İ", "😀" * 60),
    *("a" * 65_537, "%0d%0a", "__proto__", "constructor", "1e400", "-0", "' OR 1=1 --"),
    *("${jndi:ldap://x}", "../../etc/passwd", "a&b=c", "[0]", ""),
]
#: Words that an error's own text may hold.
PLAIN = {"__proto__", "constructor"}
HOSTILE = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=40),
    st.builds(lambda a, b: f"{a}\r\n{INJECTED}: {b}", st.text(max_size=5), st.text(max_size=5)),
    st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=12),
    st.sampled_from([float("inf"), float("nan"), 1e308, -1, 2**63, 10**400, True, None, [], {}]),
)


def _deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"custom": found}
    return found


#: Kind, payload, options, and the path that must be named: `payload` for what is too large as a
#: whole, above 64 KiB, whose fields are not looked at.
REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "64 KiB and one": ("gift_checkout", {**GIFT, "redirect_url": "u" * 65_537}, {}, "payload"),
    "10,000 tiers": (
        "gift_checkout",
        {**GIFT, "item_tiers": [{"item_price_id": "p", "starting_unit": 1}] * 10_000},
        {},
        "payload",
    ),
    "deep custom": ("personalized_offer", {**OFFER, "custom": _deep(900)}, {}, "custom"),
    "wide custom": (
        "personalized_offer",
        {**OFFER, "custom": {f"k{place}": "v" * 100 for place in range(5_000)}},
        {},
        "payload",
    ),
    "infinity": (
        "personalized_offer",
        {**OFFER, "custom": {"a": float("inf")}},
        {},
        "custom",
    ),
    "NUL": ("personalized_offer", {**OFFER, "first_name": "a\x00b"}, {}, "first_name"),
    "half a character": (
        "personalized_offer",
        {**OFFER, "first_name": "\ud800"},
        {},
        "first_name",
    ),
    "__proto__": ("gift_checkout", {**GIFT, "__proto__": {"a": 1}}, {}, "__proto__"),
    "a number that is none": (
        "gift_checkout",
        {"subscription_items": [{"item_price_id": "p", "quantity": float("inf")}]},
        {},
        "subscription_items.0.quantity",
    ),
    "a header's end in an option": (
        "gift_checkout",
        GIFT,
        {"origin": {"device": f"phone\r\n{INJECTED}: 1"}},
        "options.origin.device",
    ),
    "a deadline of 400 digits": (
        "gift_checkout",
        GIFT,
        {"deadline_s": 10**400},
        "options.deadline_s",
    ),
    "a header's end in a brand": (
        "gift_checkout",
        GIFT,
        {"brand_id": f"b\n{INJECTED}: 1"},
        "options.brand_id",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_known_attack_is_refused_by_its_path(case: str, redis_url: str) -> None:
    """T28: each is refused before Redis hears of it, and its field is named."""
    kind, payload, options, path = REFUSED[case]
    env = {"LARGESSE_REDIS_URL": redis_url, "CHARGEBEE_SITE": "acme-test"}
    with Producer.from_env(env) as producer:
        with pytest.raises(InvalidJobError) as caught:
            producer.enqueue(kind, payload, options=options)
        assert any(one == path or one.startswith(f"{path}.") for one in caught.value.messages)
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def _put(tree: Any, path: str, value: Any) -> None:
    *steps, last = path.split(".")
    for step in steps:
        tree = tree[int(step)] if isinstance(tree, list) else tree.setdefault(step, {})
    tree[int(last) if isinstance(tree, list) else last] = value


def _tainted(place: str, value: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Kind, payload and options with one value at one place."""
    options: dict[str, Any] = {}
    if place.startswith("options."):
        _put(options, place.removeprefix("options."), value)
        return "gift_checkout", copy.deepcopy(GIFT), options
    if place in GIFT_PLACES:
        payload = {**copy.deepcopy(GIFT), "coupon_ids": ["c"]}
    else:
        payload = {**copy.deepcopy(OFFER), "roles": ["r"]}
    _put(payload, place, value)
    return ("gift_checkout" if place in GIFT_PLACES else "personalized_offer"), payload, options


def _injects(headers: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> bool:
    """Whether a header is unknown, or holds what could begin another one."""
    return any(
        name.lower() not in KNOWN or not value.isascii() or not value.isprintable()
        for name, value in headers
    )


@pytest.mark.timeout(1200)
def test_hostile_input_is_refused_or_harmless(world: World, figures: Counts) -> None:
    """T28: whatever stands anywhere: refused at its path, or taken and nothing is injected."""
    examples = 10_000 if world.full else 250
    producer = world.producer()
    counts = {"refused": 0, "taken": 0, "unnamed": 0, "repeated": 0, "injected": 0}
    ids: set[str] = set()

    @seed(SEED)
    @hypothesis_settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(place=st.sampled_from([*GIFT_PLACES, *OFFER_PLACES, *OPTION_PLACES]), value=HOSTILE)
    def hostile(place: str, value: Any) -> None:
        kind, payload, options = _tainted(place, value)
        try:
            made = Job.prepare(producer.settings, kind, payload, options=options)
            (job,) = producer.enqueue_jobs([made])
        except InvalidJobError as error:
            counts["refused"] += 1
            counts["unnamed"] += not _names(error.messages, place)
            private = isinstance(value, str) and len(value) > 8 and value not in PLAIN
            counts["repeated"] += private and value in str(error)
            return
        counts["taken"] += 1
        ids.add(job.id)
        request = build_request(
            operation(kind),
            site=producer.settings.site(None),
            payload=made.payload,
            options=made.options,
            idempotency_key=None,
        )
        counts["injected"] += _injects(request.headers)

    hostile()
    records = sum(1 for _ in world.client.scan_iter(f"{PREFIX}job:*", count=1000))
    world.log.note_many([{"key": one, "job_id": one} for one in sorted(ids)])
    world.started(size=1, concurrency=32)
    world.wait(timeout_s=300)
    requests = world.api.admin.requests()
    injected = sum(_injects([tuple(one) for one in found["headers"]]) for found in requests)
    figures.note(
        "T28",
        "hostile input",
        n=sum(counts[one] for one in ("refused", "taken")),
        **counts,
        records=records,
        requests=len(requests),
        injected_on_the_wire=injected,
        refused_by_the_api=sum(one["status"] == 400 for one in requests),
        seed=SEED,
        **world.versions(),
        size="full" if world.full else "quick",
    )
    assert counts["refused"] >= examples // 5
    assert counts["taken"] >= examples // 10
    assert (counts["unnamed"], counts["repeated"]) == (0, 0)
    assert (counts["injected"], injected) == (0, 0)
    assert records == len(ids)
    assert len(requests) >= len(ids)


def _names(messages: Mapping[str, list[str]], place: str) -> bool:
    """Whether one of the paths leads to the place, or to what holds it."""
    return any(
        path in {place, "payload"} or path.startswith(f"{place}.") or place.startswith(f"{path}.")
        for path in messages
    )
