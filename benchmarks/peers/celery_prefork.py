"""Celery on forked processes with Chargebee's official SDK: what its documentation shows first."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import chargebee
import redis
from celery import Celery

from benchmarks.work import KEY, PAGES, SITE, api_url, nested, redis_url

__all__ = ["make"]

app = Celery("gifts", broker=redis_url())
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)
_redis = redis.Redis.from_url(redis_url())
_look_up = socket.getaddrinfo


def _loopback(host: Any, *args: Any, **options: Any) -> Any:
    """Lead the site's host name to this machine: the SDK puts the site before any domain."""
    at_home = str(host).endswith(".localhost")
    return _look_up("127.0.0.1" if at_home else host, *args, **options)


socket.getaddrinfo = _loopback
chargebee.Chargebee.verify_ca_certs = False  # or it speaks TLS, whatever the protocol
_sdk = chargebee.Chargebee(
    api_key=KEY,
    site=SITE,
    chargebee_domain=f"localhost:{urlsplit(api_url()).port}",
    protocol="http",
)


@app.task(name="gift")
def gift(job: int, fields: Mapping[str, Any]) -> None:
    page = _sdk.HostedPage.checkout_gift_for_items(dict(fields)).hosted_page
    _redis.rpush(PAGES, f"{job} {page.id}")


class _Jobs:
    def enqueue(self, job: int) -> None:
        gift.apply_async((job, nested(job)))

    def enqueue_many(self, jobs: Iterable[int]) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for job in jobs:
                gift.apply_async((job, nested(job)), producer=producer)


make = _Jobs
