"""Values of the wrong type: every public function of the client answers with our own errors."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from rig.producing import GIFT

from worker import AsyncProducer, AsyncResultReader, Producer, ResultReader, Settings
from worker.errors import ArgumentError, WorkerError

WRONG: list[Any] = [
    None, 5, 1.5, float("nan"), b"x", "", "\n", [], {}, Ellipsis, [None], {"a": Ellipsis},
]  # fmt: skip
OPTIONS = (
    "key", "site", "skip", "business_entity_id", "brand_id", "origin", "deadline_s", "delay_s",
    "lane",
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_wrong_value_is_an_error_of_the_tree(settings: Settings, wrong: Any) -> None:
    """Whatever a method makes of the value, no other error comes out."""
    for made in (Producer, AsyncProducer, ResultReader, AsyncResultReader):
        with pytest.raises(ArgumentError):
            made(wrong)
    with Producer(settings) as producer:
        results = producer.results
        for call in (
            lambda: producer.job(wrong).result(timeout=0),
            lambda: results.get(wrong),
            lambda: results.get_many(wrong),
            lambda: results.get_many([wrong]),
            lambda: results.wait(wrong, timeout=0),
            lambda: results.events(wrong),
            lambda: results.record(wrong),
            lambda: results.cancel(wrong),
            lambda: list(results.follow(wrong, timeout=0)),
            lambda: list(results.follow("billing", start=wrong, timeout=0)),
            lambda: producer.gift_checkout(wrong, site="acme-test"),
            lambda: producer.personalized_offer(wrong, site="acme-test"),
            lambda: producer.enqueue(wrong, {}, site="acme-test"),
            lambda: producer.enqueue("gift_checkout", {}, site="acme-test", options=wrong),
            lambda: producer.enqueue_many(wrong),
            lambda: producer.enqueue_many([wrong]),
            lambda: producer.enqueue_jobs(wrong),
            lambda: producer.enqueue_jobs([wrong]),
        ):
            with suppress(WorkerError):
                call()
        for name in OPTIONS:
            with suppress(WorkerError):
                producer.gift_checkout(GIFT, **{"site": "acme-test", name: wrong})

    async def ask() -> None:
        async with AsyncProducer(settings) as other:
            for begin in (
                lambda: other.job(wrong).result(timeout=0),
                lambda: other.results.get(wrong),
                lambda: other.results.get_many(wrong),
                lambda: other.results.cancel(wrong),
                lambda: other.enqueue_jobs(wrong),
            ):
                with suppress(WorkerError):
                    await begin()

    asyncio.run(ask())


@pytest.mark.parametrize("timeout", ["5", [], Ellipsis, True, float("nan")], ids=str)
def test_timeout_that_is_no_number_is_refused(settings: Settings, timeout: Any) -> None:
    """The error names the argument."""
    with Producer(settings) as producer, pytest.raises(ArgumentError, match="timeout"):
        producer.job("a" * 32).result(timeout=timeout)
