"""The work that all do: a gift's payload, the call it becomes, the page that comes back.

Peers import this from environments of their own: nothing but the standard library is needed here.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlencode

__all__ = ["KEY", "PAGES", "PATH", "SITE", "Queue", "headers", "nested", "payload", "published"]

SITE: Final = "acme-test"
#: The API key, the user name of basic auth.
KEY: Final = "test_benchmark"
PATH: Final = "/api/v2/hosted_pages/checkout_gift_for_items"
#: The list to which peers publish: `<job> <page id>`, one entry for each job.
PAGES: Final = "bench:pages"

#: Where the number of the job stands in the form that is sent.
MARK: Final = b"thanks%2F"


class Queue(Protocol):
    """What the driver needs of a peer: both ways in, as the peer's own users have them."""

    def enqueue(self, job: int) -> object:
        """Enqueue one job and return when it is in."""

    def enqueue_many(self, jobs: Iterable[int]) -> object:
        """Enqueue jobs in the quickest way there is."""


def redis_url() -> str:
    """Give the server's address, out of the environment."""
    return os.environ["BENCH_REDIS_URL"]


def api_url() -> str:
    """Give the address of the call, out of the environment."""
    return os.environ["BENCH_API_URL"] + PATH


def in_flight() -> int:
    """Give the number of calls that one process has in flight, out of the environment."""
    return int(os.environ["BENCH_IN_FLIGHT"])


def nested(job: int) -> dict[str, Any]:
    """Give a job's payload as our own users write it."""
    return {
        "redirect_url": f"https://shop.example.com/thanks/{job}",
        "gifter": {"customer_id": f"customer-{job}", "locale": "en"},
        "subscription_items": [
            {"item_price_id": "basic-USD-monthly", "quantity": 1},
            {"item_price_id": "wrapping-USD-monthly", "quantity": 1},
        ],
    }


def payload(job: int) -> dict[str, str]:
    """Give the same as fields of the form, so that peers have no nesting to undo."""
    return {
        "redirect_url": f"https://shop.example.com/thanks/{job}",
        "gifter[customer_id]": f"customer-{job}",
        "gifter[locale]": "en",
        "subscription_items[item_price_id][0]": "basic-USD-monthly",
        "subscription_items[quantity][0]": "1",
        "subscription_items[item_price_id][1]": "wrapping-USD-monthly",
        "subscription_items[quantity][1]": "1",
    }


def headers() -> dict[str, str]:
    """Give the headers of every call."""
    token = base64.b64encode(f"{KEY}:".encode()).decode()
    return {
        "Authorization": f"Basic {token}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }


def form(fields: Mapping[str, str]) -> bytes:
    """Write the body of a call."""
    return urlencode(fields).encode()


def published(job: int, answer: Mapping[str, Any]) -> str:
    """Write what is published of an answer.

    Args:
        job: number of the job.
        answer: the parsed JSON.

    Raises:
        KeyError: the answer has no page.
    """
    return f"{job} {answer['hosted_page']['id']}"
