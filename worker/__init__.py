"""Largesse: a queue worker for Chargebee gift checkouts and personalized offers.

from worker import Producer

producer = Producer.from_env()
job = producer.gift_checkout({...}, key="order-1042")
page = job.result(timeout=10).hosted_page
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import schemas
from worker.version import __version__

if TYPE_CHECKING:
    from worker.client.handle import AsyncJobHandle, JobHandle
    from worker.client.producer import AsyncProducer, Producer
    from worker.client.result_reader import (
        AsyncResultReader,
        Failure,
        HostedPage,
        JobResult,
        ResultReader,
    )
    from worker.engine.record import JobState
    from worker.errors import (
        BrokerUnavailableError,
        InvalidJobError,
        JobConflictError,
        JobFailedError,
        JobHeldError,
        LayoutError,
        OutcomesMissedError,
        QueueFullError,
        ResultExpiredError,
        ResultMissingError,
        ResultTimeoutError,
        SettingsError,
        WorkerError,
    )
    from worker.settings import Settings

#: Version of the schemas this worker was written for.
_CONTRACT = 1

if getattr(schemas, "CONTRACT", None) != _CONTRACT:
    raise ImportError(
        f"the package 'schemas' at {getattr(schemas, '__file__', 'an unknown place')} is not the "
        "one of Largesse: rename the other one, or put Largesse before it on the path"
    )

# What is used is loaded: Redis's client alone takes 0.1 s, and most commands do without it.
_MODULES = {
    "AsyncJobHandle": "client.handle",
    "AsyncProducer": "client.producer",
    "AsyncResultReader": "client.result_reader",
    "Failure": "client.result_reader",
    "HostedPage": "client.result_reader",
    "JobHandle": "client.handle",
    "JobResult": "client.result_reader",
    "JobState": "engine.record",
    "Producer": "client.producer",
    "ResultReader": "client.result_reader",
    "Settings": "settings",
}


if not TYPE_CHECKING:  # a misspelt name stays an error there

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # The other names are errors.
        module = import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
        globals()[name] = found = getattr(module, name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "AsyncJobHandle",
    "AsyncProducer",
    "AsyncResultReader",
    "BrokerUnavailableError",
    "Failure",
    "HostedPage",
    "InvalidJobError",
    "JobConflictError",
    "JobFailedError",
    "JobHandle",
    "JobHeldError",
    "JobResult",
    "JobState",
    "LayoutError",
    "OutcomesMissedError",
    "Producer",
    "QueueFullError",
    "ResultExpiredError",
    "ResultMissingError",
    "ResultReader",
    "ResultTimeoutError",
    "Settings",
    "SettingsError",
    "WorkerError",
    "__version__",
]
