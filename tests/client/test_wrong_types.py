"""Values of the wrong type: every public function of the client answers with our own errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from rig.producing import GIFT, OFFER

from worker import (
    AsyncJobHandle,
    AsyncProducer,
    AsyncResultReader,
    JobHandle,
    Producer,
    ResultReader,
    Settings,
)
from worker.errors import ArgumentError, WorkerError

#: Values that hardly any parameter takes; none of them makes a call wait.
WRONG: list[Any] = [
    None, True, 5, -1, 10**400, 1.5, float("nan"), float("inf"), 1j, Decimal("sNaN"), b"x", "",
    "\n", " x", "\ud800", "x" * 70_000, [], {}, set(), (), range(3), Ellipsis, object(), int, len,
    [None], [[]], {"a": Ellipsis}, {1: 2}, {None: None}, {(): []},
]  # fmt: skip
#: A value that each parameter takes.
RIGHT: Mapping[str, Any] = {
    "settings": None, "environ": {"LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0"},
    "job_id": "a" * 32, "job_ids": ["a" * 32], "timeout": 0, "group": "billing",
    "consumer": "one", "start": "0", "claim_after": 60, "kind": "gift_checkout", "payload": GIFT,
    "key": "order-1", "site": "acme-test", "options": {}, "specs": [], "jobs": [],
    "report_conflicts": True, "skip": ["email"], "business_entity_id": "be", "brand_id": "br",
    "origin": {"ip": "::1"}, "deadline_s": 9, "delay_s": 1, "lane": "bulk",
}  # fmt: skip
CLASSES = (
    AsyncJobHandle, AsyncProducer, AsyncResultReader, JobHandle, Producer, ResultReader,
)  # fmt: skip


def calls() -> Iterator[tuple[type, str, str]]:
    """Give class, method and parameter of everything that an app can call with a value."""
    for cls in CLASSES:
        for name, method in inspect.getmembers(cls, callable):
            if not name.startswith("_"):
                given = [one for one in inspect.signature(method).parameters if one != "self"]
                yield from ((cls, name, one) for one in given)


CALLS = list(calls())


def arguments(method: Callable[..., Any], parameter: str, value: Any) -> dict[str, Any]:
    """Give right values for what the method needs, and this one value."""
    named = inspect.signature(method).parameters.values()
    needed = {
        one.name: RIGHT[one.name]
        for one in named
        if one.default is one.empty or one.name in {"site", "timeout"}
    }
    if method.__name__ == "personalized_offer":
        needed["payload"] = OFFER
    return {**needed, parameter: value}


def made(settings: Settings, cls: type) -> Any:
    """Make an object of a public class."""
    if cls in {JobHandle, AsyncJobHandle}:
        return (Producer if cls is JobHandle else AsyncProducer)(settings).job("a" * 32)
    return cls(settings)


def waits(value: Any) -> bool:
    """Say whether a follower would wait that long for what never comes."""
    return value is None or (isinstance(value, int | float) and value is not True and value > 0)


def closed(one: Any) -> Any:
    """Close it, whichever kind it is."""
    return getattr(one, "_reader", one)._lease.close()


async def awaited(answer: Any) -> None:
    """Take what a call gave to its end."""
    if inspect.isawaitable(answer):
        await answer
    elif hasattr(answer, "__anext__"):
        async for _ in answer:
            pass
    elif hasattr(answer, "__next__"):
        await asyncio.to_thread(list, answer)


def test_calls_are_those_of_the_client() -> None:
    """The methods that are tried are all there are: none is missed for its name."""
    tried = {f"{cls.__name__}.{name}" for cls, name, _ in CALLS}
    assert {"Producer.gift_checkout", "AsyncResultReader.follow", "JobHandle.result"} <= tried
    assert {parameter for _, _, parameter in CALLS} <= RIGHT.keys()


@pytest.mark.parametrize(
    ("cls", "name", "parameter"), CALLS, ids=lambda one: getattr(one, "__name__", one)
)
def test_wrong_value_is_an_error_of_the_tree(
    settings: Settings, cls: type, name: str, parameter: str
) -> None:
    """Whatever a method makes of the value, no other error comes out."""

    async def ask() -> None:
        one = made(settings, cls)
        method = getattr(one, name)
        for value in WRONG:
            if (name, parameter) == ("follow", "timeout") and waits(value):
                continue
            with suppress(WorkerError):
                await awaited(method(**arguments(method, parameter, value)))
        closed(one)

    asyncio.run(ask())


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: type(one).__name__)
def test_wrong_settings_are_refused(wrong: Any) -> None:
    """A producer or reader of something else than settings is never made."""
    for cls in (Producer, AsyncProducer, ResultReader, AsyncResultReader):
        with pytest.raises(ArgumentError):
            cls(wrong)


@pytest.mark.parametrize("member", ["kind", "payload", "key", "site", "options"])
def test_wrong_member_of_a_batch_is_an_error_of_the_tree(settings: Settings, member: str) -> None:
    """A batch answers as a single call does."""
    with Producer(settings) as producer:
        for value in WRONG:
            spec = {"kind": "gift_checkout", "payload": GIFT, "site": "acme-test", member: value}
            with suppress(WorkerError):
                producer.enqueue_many([spec])
            with suppress(WorkerError):
                producer.enqueue_many([value])


@pytest.mark.parametrize("timeout", ["5", [], Ellipsis, True, float("nan")], ids=str)
def test_timeout_that_is_no_number_is_refused(settings: Settings, timeout: Any) -> None:
    """The error names the argument."""
    with Producer(settings) as producer, pytest.raises(ArgumentError, match="timeout"):
        producer.job("a" * 32).result(timeout=timeout)
