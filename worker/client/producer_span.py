"""The producer's span: opened only in an app that traces, by the API of OpenTelemetry that it has.

Nothing is imported for its sake: an app that traces has imported OpenTelemetry already. What
travels with a message is the W3C trace context alone, never baggage, which may hold anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from worker.jobs.job import Job

__all__ = ["NOT_TRACED", "OPTION", "SYSTEM", "sending"]

#: Option of a message that carries `traceparent` and `tracestate`.
OPTION: Final = "trace"
#: What `messaging.system` says.
SYSTEM: Final = "largesse"
#: The context of a message that nobody traces.
NOT_TRACED: Final[Mapping[str, str]] = MappingProxyType({})


def sending(jobs: Sequence[Job], queue: str) -> AbstractContextManager[Mapping[str, str]]:
    """Open the span of an enqueue; an error that leaves the block ends it as failed.

    Args:
        jobs: what is enqueued.
        queue: name of the queue.

    Returns:
        A context manager that gives the trace context for the messages; empty where nobody
        traces.
    """
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None or not jobs:
        return nullcontext(NOT_TRACED)
    provider = api.get_tracer_provider()
    # A library may have imported the API though the app does not trace.
    if isinstance(provider, api.ProxyTracerProvider):
        return nullcontext(NOT_TRACED)
    return _span(api, provider.get_tracer("largesse"), jobs, queue)


@contextmanager
def _span(api: Any, tracer: Any, jobs: Sequence[Job], queue: str) -> Iterator[Mapping[str, str]]:
    attributes: dict[str, str | int] = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": queue,
        **same(jobs, "largesse.kind", lambda job: job.kind),
        **same(jobs, "largesse.site", lambda job: job.site),
    }
    if len(jobs) == 1:
        attributes["messaging.message.id"] = jobs[0].id
    else:
        attributes["messaging.batch.message_count"] = len(jobs)
    with tracer.start_as_current_span(
        f"send {queue}",
        kind=api.SpanKind.PRODUCER,
        attributes=attributes,
        # The text of an exception may hold anything.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield _context()
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(api.StatusCode.ERROR)
            raise


def same(jobs: Sequence[Job], name: str, value: Callable[[Job], str]) -> dict[str, str]:
    """Give an attribute that all jobs agree on; none when they do not."""
    found = {value(job) for job in jobs}
    return {name: found.pop()} if len(found) == 1 else {}


def _context() -> dict[str, str]:
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - in apps that trace
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier
