"""The whole way over TCP: producer, Redis, workers, API, and back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from rig.sandbox import SandboxServer
from rig.system import System
from rig.waiting import until

from worker import (
    AsyncProducer,
    JobConflictError,
    JobFailedError,
    JobHandle,
    JobState,
    ResultReader,
    ResultTimeoutError,
    Settings,
)
from worker.engine.record import TERMINAL

GIFT = {"subscription_items": [{"item_price_id": "basic-USD-monthly"}]}
OFFER = {
    "customer_id": "cust_1",
    "request_context": {
        "timezone": "Europe/Berlin",
        "locale": "de-DE",
        "url": "https://app.example.com/billing",
        "user_agent": "Mozilla/5.0",
    },
}
REJECTED = {"subscription_items": [{"item_price_id": "missing_1"}]}
DEAD = "{largesse:0}:dead"


@pytest.fixture
def running(system: System) -> System:
    """A system with one fleet of two processes."""
    system.worker(processes=2)
    return system


def keys_sent(system: System) -> list[str | None]:
    """Idempotency keys of all requests that the API saw, in order."""
    return [request["idempotency_key"] for request in system.admin.requests()]


def test_gift_checkout_comes_back_as_a_page(running: System) -> None:
    """The page in the result is the page that the API made, with its address and expiry."""
    job = running.producer().gift_checkout(GIFT, key="order-1042", skip={"webhooks", "email"})
    result = job.result(timeout=20)
    assert result.hosted_page is not None
    (page,) = running.admin.pages()
    assert result.hosted_page.id == page["id"]
    assert result.hosted_page.expires_at == page["expires_at"]
    assert page["id"] in result.hosted_page.url
    assert result.hosted_page.state == "created"
    (request,) = running.admin.requests()
    assert sorted(request["skip"]) == ["email", "webhooks"]
    assert request["body"] == "subscription_items%5Bitem_price_id%5D%5B0%5D=basic-USD-monthly"
    assert (result.attempts, result.replayed, job.state()) == (1, False, JobState.SUCCEEDED)


def test_personalized_offer_comes_back_as_offers(running: System) -> None:
    """Offers are in the result; they carry no idempotency key and make no page."""
    result = running.producer().personalized_offer(OFFER).result(timeout=20)
    assert result.offers
    assert result.hosted_page is None
    (request,) = running.admin.requests()
    assert json.loads(request["body"]) == OFFER
    assert request["idempotency_key"] is None
    assert running.admin.pages() == []


def test_no_offer_is_a_success(running: System) -> None:
    """A customer without an offer gets an empty list."""
    job = running.producer().personalized_offer({"customer_id": "no_offer_1"})
    assert job.result(timeout=20).offers == []


def test_same_key_is_the_same_job(running: System) -> None:
    """Another producer with the key gets the first one's job and its page; one page is made."""
    first = running.producer().gift_checkout(GIFT, key="order-1")
    page = first.result(timeout=20).hosted_page
    second = running.producer().gift_checkout(GIFT, key="order-1")
    assert second.id == first.id
    assert second.result(timeout=20).hosted_page == page
    assert len(running.admin.pages()) == 1


def test_same_key_with_another_payload_is_a_conflict(running: System) -> None:
    """The second request is refused with the id of the job that holds the key."""
    producer = running.producer()
    first = producer.gift_checkout(GIFT, key="order-1")
    with pytest.raises(JobConflictError) as excinfo:
        producer.gift_checkout(REJECTED, key="order-1")
    assert excinfo.value.job_id == first.id
    assert first.result(timeout=20).hosted_page


def test_without_a_key_every_job_is_new(running: System) -> None:
    """Two equal requests without a key are two pages."""
    producer = running.producer()
    jobs = [producer.gift_checkout(GIFT) for _ in range(2)]
    pages = {page.id for job in jobs if (page := job.result(timeout=20).hosted_page)}
    assert len(pages) == 2


def test_rejected_job_fails_at_once_and_leaves_a_dead_letter(running: System) -> None:
    """A 404 is not repeated: one request, a failed result that says why, one dead letter."""
    job = running.producer().gift_checkout(REJECTED, key="order-1")
    with pytest.raises(JobFailedError) as excinfo:
        job.result(timeout=20)
    error = excinfo.value
    assert (error.state, running.producer().results.get(job.id).attempts) == (JobState.FAILED, 1)
    assert (error.failure.cls, error.failure.status) == ("rejected", 404)
    assert error.failure.api_error_code == "resource_not_found"
    assert error.failure.param == "subscription_items[item_price_id][0]"
    assert running.admin.counts()["requests"] == 1
    with running.redis() as redis:
        assert redis.zrange(DEAD, 0, -1) == [job.id.encode()]


def test_maintenance_is_waited_out(running: System) -> None:
    """Two 503s cost two attempts with the same key; one page is made in the end."""
    running.admin.add_fault("error", status=503, times=2)
    result = running.producer().gift_checkout(GIFT).result(timeout=30)
    assert result.hosted_page
    assert result.attempts == 3
    keys = keys_sent(running)
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(running.admin.pages()) == 1


def test_lost_answer_is_replayed_and_not_doubled(running: System) -> None:
    """The page was made, the connection reset: the repeat gets the very page, told as a replay."""
    running.admin.add_fault("reset", execute=True, times=1)
    result = running.producer().gift_checkout(GIFT, key="order-1").result(timeout=30)
    (page,) = running.admin.pages()
    assert result.hosted_page is not None
    assert result.hosted_page.id == page["id"]
    assert result.replayed
    counts = running.admin.counts()
    assert (counts["requests"], counts["pages"], counts["replayed"]) == (2, 1, 1)
    assert counts["max_pages_per_key"] == 1


@pytest.mark.parametrize("fault", ["truncated_json", "empty_object", "no_content", "close"])
def test_answer_that_cannot_be_read_is_asked_for_again(running: System, fault: str) -> None:
    """A success without a usable body is no success: the same key asks again."""
    running.admin.add_fault(fault, times=1)
    result = running.producer().gift_checkout(GIFT).result(timeout=30)
    assert result.hosted_page
    assert result.replayed
    assert running.admin.counts()["pages"] == 1


def test_throttled_job_waits_as_told_and_burns_no_attempt(running: System) -> None:
    """A 429 with Retry-After costs its wait and no attempt."""
    running.admin.add_fault("throttle", retry_after=1, times=1)
    result = running.producer().gift_checkout(GIFT).result(timeout=30)
    assert result.hosted_page
    assert result.attempts == 1
    first, second = running.admin.requests()
    assert second["at_ms"] - first["at_ms"] >= 1000


def test_events_tell_the_story_of_a_job(running: System) -> None:
    """Enqueued, each attempt with its status, published: oldest first."""
    running.admin.add_fault("error", status=503, times=1)
    job = running.producer().gift_checkout(GIFT)
    job.result(timeout=30)
    events = job.events()
    assert [event["event"] for event in events] == ["enqueued", "attempt", "attempt", "published"]
    assert [event["status"] for event in events if event["event"] == "attempt"] == [503, 200]
    assert events[-1]["state"] == "succeeded"


def test_every_outcome_is_on_the_stream(running: System) -> None:
    """A follower gets each ending once, good and bad, and a new one of its group no more."""
    producer = running.producer()
    jobs: list[JobHandle] = [producer.gift_checkout(GIFT, key=f"k{n}") for n in range(5)]
    jobs += [producer.gift_checkout(REJECTED), producer.personalized_offer(OFFER)]
    until(lambda: all(job.state() in TERMINAL for job in jobs), what="the endings")
    seen = {result.job_id: result for result in producer.results.follow("billing", timeout=1)}
    assert seen.keys() == {job.id for job in jobs}
    assert sum(result.state is JobState.FAILED for result in seen.values()) == 1
    with ResultReader(Settings.from_env(running.environ)) as reader:
        assert list(reader.follow("billing", timeout=0.5)) == []
        assert len(list(reader.follow("shipping", timeout=0.5))) == len(jobs)


def test_job_waits_while_nobody_works(system: System) -> None:
    """Without a worker the wait ends on time; a worker that comes later does the job."""
    job = system.producer().gift_checkout(GIFT)
    with pytest.raises(ResultTimeoutError):
        job.result(timeout=0.2)
    system.worker()
    assert job.result(timeout=20).hosted_page


def test_many_jobs_make_one_page_each(running: System) -> None:
    """A hundred jobs, faults among them: each its own page, none twice."""
    running.admin.add_fault("reset", execute=True, share=0.1, seed=1)
    running.admin.add_fault("error", status=503, share=0.1, seed=2)
    producer = running.producer()
    specs: list[dict[str, Any]] = [
        {"kind": "gift_checkout", "key": f"order-{n}", "payload": GIFT} for n in range(100)
    ]
    jobs = producer.enqueue_many(specs)
    pages = {page.id for job in jobs if (page := job.result(timeout=100).hosted_page)}
    assert len(pages) == 100
    assert pages == {page["id"] for page in running.admin.pages()}
    assert running.admin.counts()["max_pages_per_key"] == 1


def test_async_producer_waits_for_many_at_once(running: System) -> None:
    """The same over asyncio: twenty waits side by side on one loop."""

    async def twenty() -> list[str]:
        async with AsyncProducer(Settings.from_env(running.environ)) as producer:
            jobs = [await producer.gift_checkout(GIFT, key=f"k{n}") for n in range(20)]
            results = await asyncio.gather(*(job.result(timeout=30) for job in jobs))
            return [page.id for result in results if (page := result.hosted_page)]

    assert len(set(asyncio.run(twenty()))) == 20


def test_two_sites_have_their_own_keys(system: System, sandbox_server: SandboxServer) -> None:
    """Jobs go to the site they name, with its key; a job that names none to the default one."""
    system.admin.post("sites", {"name": "globex-test", "api_keys": ["test_globex_key"]})
    sites = system.run.write(
        "sites.toml",
        "\n".join(
            f'[sites.{name}]\napi_key = "env:{key}"\napi_url = "{sandbox_server.url}"'
            for name, key in (("acme-test", "ACME"), ("globex-test", "GLOBEX"))
        ),
    )
    changes = {
        "LARGESSE_SITES": sites,
        "ACME": "test_sandbox_key",
        "GLOBEX": "test_globex_key",
    }
    for name in ("CHARGEBEE_API_KEY", "CHARGEBEE_API_URL", "CHARGEBEE_RATE_PER_MINUTE"):
        del system.environ[name]
    system.worker(env=changes)
    producer = system.producer(changes)
    jobs = [producer.gift_checkout(GIFT, key="k", site=site) for site in (None, "globex-test")]
    assert jobs[0].id != jobs[1].id
    for job in jobs:
        assert job.result(timeout=20).hosted_page
    assert {page["site"] for page in system.admin.pages()} == {"acme-test", "globex-test"}
