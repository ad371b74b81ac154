"""Jobs in every state, put there by the scripts alone: no worker, no API."""

from __future__ import annotations

import json
import time
from typing import Any

import redis

from rig.queue import Lease, Queue
from worker import JobHandle, Producer, Settings
from worker.jobs.job import QUEUE
from worker.operator import OperatorClient

SITES = ("acme-test", "globex")
WORKER = "host-1:4711:0123456789ab"
GIFT = {"subscription_items": [{"item_price_id": "private-plan", "quantity": 2}]}
OFFER = {
    "customer_id": "private-customer",
    "request_context": {
        "timezone": "Europe/Berlin",
        "url": "https://shop.example/offers",
        "user_agent": "Mozilla/5.0",
        "locale": "en-US",
    },
}
#: What must not be seen without being asked for.
PRIVATE = ("private-plan", "private-customer", "pages/v3")


class Shelf:
    """Enqueues as an app does and ends as a worker does.

    Args:
        redis_url: an empty database.
    """

    def __init__(self, redis_url: str) -> None:
        self.environ = {"LARGESSE_REDIS_URL": redis_url}
        self.settings = Settings.from_env(self.environ)
        self.producer = Producer(self.settings)
        self.client = redis.Redis.from_url(redis_url)
        self.queue = Queue(self.client)

    def close(self) -> None:
        """Close the connections."""
        self.producer.close()
        self.client.close()

    def gift(
        self, key: str | None = None, *, site: str = "acme-test", **options: Any
    ) -> JobHandle:
        """Enqueue a gift checkout."""
        return self.producer.gift_checkout(GIFT, key=key, site=site, **options)

    def offer(self, key: str | None = None, *, site: str = "acme-test") -> JobHandle:
        """Enqueue a personalized offer."""
        return self.producer.personalized_offer(OFFER, key=key, site=site)

    def run(self, job: JobHandle, *, worker: str = WORKER) -> Lease:
        """Hand out the job, which must be the next one."""
        return self.queue.take(job.id, queue=QUEUE, worker=f"{worker}:{QUEUE}")

    def fail(
        self, job: JobHandle, *, code: str = "resource_not_found", status: int = 404
    ) -> JobHandle:
        """Let the API reject the job: it is dead."""
        lease = self.run(job)
        entry = {"at": now_ms(), "ms": 12, "status": status, "code": code, "error": "http_status"}
        error = {
            "class": "rejected", "status": status, "api_error_code": code,
            "param": "subscription_items[item_price_id][0]", "reason": "the API rejected it",
            "retryable": True,
        }  # fmt: skip
        self.queue.bury(
            lease, reason="the API rejected it", error_class="rejected", attempt=json.dumps(entry),
            outcome=_outcome(job, "failed", error=error), ttl_ms=3_600_000,
        )  # fmt: skip
        return job

    def hold(self, job: JobHandle, *, unsure_ms: int = 0) -> JobHandle:
        """Hold the job for a person; an attempt of so many ms ago has no known outcome."""
        lease = self.run(job)
        entry = {"at": now_ms(), "ms": 30_000, "error": "read_timeout"}
        self.queue.bury(
            lease, state="held", reason="the idempotency window is over", attempt=json.dumps(entry)
        )
        self.client.hset(self.queue.key(f"job:{job.id}"), "unsure_since", now_ms() - unsure_ms)
        return job

    def succeed(self, job: JobHandle, *, page_id: str = "page-1") -> JobHandle:
        """Let the API make a page."""
        lease = self.run(job)
        page = {
            "id": page_id, "url": f"https://acme-test.chargebee.com/pages/v3/{page_id}/",
            "state": "created", "expires_at": now_ms() // 1000 + 3600,
        }  # fmt: skip
        entry = {"at": now_ms(), "ms": 40, "status": 200}
        self.queue.finish(
            lease, outcome=_outcome(job, "succeeded", page=page), attempt=json.dumps(entry),
            ttl_ms=3_600_000,
        )  # fmt: skip
        return job

    def operator(self, who: str | None = None) -> OperatorClient:
        """Open an operator's desk; the caller closes it."""
        return OperatorClient(self.settings, who=who)


def now_ms() -> int:
    """Unix ms."""
    return round(time.time() * 1000)


def _outcome(job: JobHandle, state: str, *, page: Any = None, error: Any = None) -> str:
    outcome = {
        "job_id": job.id, "kind": job.kind, "site": job.site, "state": state, "attempts": 1,
        "hosted_page": page, "offers": None, "brand": None,
        "expires_at": page and page["expires_at"], "replayed": False, "error": error,
        "finished_at": now_ms(),
    }  # fmt: skip
    return json.dumps(outcome, separators=(",", ":"))
