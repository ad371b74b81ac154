"""Largesse: a queue worker for Chargebee gift checkouts and personalized offers.

from worker import Producer

producer = Producer.from_env()
job = producer.gift_checkout({...}, key="order-1042")
page = job.result(timeout=10).hosted_page
"""

from __future__ import annotations

import schemas

#: Version of the schemas this worker was written for.
_CONTRACT = 1

if getattr(schemas, "CONTRACT", None) != _CONTRACT:
    raise ImportError(
        f"the package 'schemas' at {getattr(schemas, '__file__', 'an unknown place')} is not the "
        "one of Largesse: rename the other one, or put Largesse before it on the path"
    )

# The check above must come first: what follows would fail on a foreign `schemas` in obscure ways.
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
from worker.version import __version__

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
