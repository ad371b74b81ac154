"""The spans of a worker: each attempt, its call of the API, and the ending in Redis.

    send (producer)
      process (an attempt)
        POST (the call)
        settle (Redis takes the ending: the result can be read)
      process (the next attempt) ...

All are one trace, by the context that travels with the message. Names and attributes are those
of OpenTelemetry's conventions for messaging and HTTP; none holds a value of a payload, a header
or an exception's text. Needs the extra `otel`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import structlog
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from opentelemetry import context as contexts
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    TracerProvider,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.client.producer_span import OPTION, SYSTEM
from worker.engine.delivery import Delivery
from worker.engine.endings import Bury, Ending, Finish, Retry
from worker.errors import ApiError
from worker.retry.decision import error_class_of
from worker.version import __version__

if TYPE_CHECKING:
    from worker.api.answers import ApiAnswer
    from worker.api.request import ApiRequest

__all__ = ["Client", "TracedClient", "Traces"]

_CONTEXT: Final = TraceContextTextMapPropagator()


class Client(Protocol):
    """What makes calls: `worker.api.client.ApiClient`, traced or not."""

    async def call(self, request: ApiRequest, *, api_key: str) -> ApiAnswer:
        """Send a request once and read its answer."""

    async def aclose(self) -> None:
        """Close all connections."""


class _Attempt:
    """The span of one attempt, from its beginning until Redis has taken its ending."""

    __slots__ = ("ended_ns", "span", "token")

    def __init__(self, span: Span, token: Any) -> None:
        self.span = span
        self.token = token
        self.ended_ns: int | None = None


class Traces(Middleware):
    """Opens a span for each attempt and for each ending.

    Args:
        provider: where spans go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer("largesse", __version__)
        self._attempts: WeakKeyDictionary[Delivery, _Attempt] = WeakKeyDictionary()

    def traced(self, client: Client) -> Client:
        """Give a client that opens a span for each call."""
        return TracedClient(client, self.tracer)

    def before_process_message(self, broker: Broker, message: Any) -> None:  # noqa: ARG002
        """Begin the span of an attempt, in the trace of the producer's call."""
        if not isinstance(message, Delivery):
            return
        parent = _CONTEXT.extract(_carrier(message))
        span = self.tracer.start_span(
            f"process {message.queue_name}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes={
                **_names(message, "process"),
                "largesse.kind": message.actor_name,
                "largesse.site": message.site,
                "largesse.lane": message.lane,
                "largesse.attempt": message.attempts + 1,
                "largesse.waited_ms": message.now_ms() - message.enqueued_at_ms,
            },
        )
        token = contexts.attach(set_span_in_context(span, parent))
        self._attempts[message] = _Attempt(span, token)
        trace_id = span.get_span_context().trace_id
        structlog.contextvars.bind_contextvars(trace_id=f"{trace_id:032x}")

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:  # fmt: skip
        """End the span of an attempt with what becomes of the job."""
        del broker, result
        attempt = self._attempts.get(message) if isinstance(message, Delivery) else None
        if attempt is None:
            return
        structlog.contextvars.unbind_contextvars("trace_id")
        contexts.detach(attempt.token)
        outcome, error_class = _outcome(message.ending)
        if exception is not None:
            error_class = type(exception).__qualname__
        _end(attempt, outcome, error_class)

    after_skip_message = after_process_message

    def after_ack(self, broker: Broker, message: Any) -> None:  # noqa: ARG002
        """Tell how long the ending took to Redis; from here on the result can be read."""
        attempt = self._attempts.pop(message, None) if isinstance(message, Delivery) else None
        if attempt is None or attempt.ended_ns is None:
            return
        outcome, _ = _outcome(message.ending)
        self.tracer.start_span(
            f"settle {message.queue_name}",
            context=set_span_in_context(attempt.span),
            kind=SpanKind.CLIENT,
            attributes={**_names(message, "settle"), "largesse.outcome": outcome},
            start_time=attempt.ended_ns,
        ).end()

    after_nack = after_ack

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        """End what was broken off, and send what is left."""
        for attempt in list(self._attempts.values()):
            _end(attempt, "released", "")
        flush = getattr(self._provider, "force_flush", None)
        if flush is not None:
            flush(1_000)


class TracedClient:
    """Opens a span for each call of the API.

    Args:
        client: what makes the calls.
        tracer: where spans go.
    """

    def __init__(self, client: Client, tracer: Tracer) -> None:
        self._client = client
        self._tracer = tracer

    async def call(self, request: ApiRequest, *, api_key: str) -> ApiAnswer:
        """Send a request once; the bytes that go out know nothing of the trace."""
        where = urlsplit(request.url)
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "server.address": where.hostname or "",
            "server.port": where.port or (443 if where.scheme == "https" else 80),
            "url.scheme": where.scheme,
            "url.full": request.url,
            "url.template": where.path,
        }
        span = self._tracer.start_span(
            f"{request.method} {where.path}", kind=SpanKind.CLIENT, attributes=attributes
        )
        try:
            answer = await self._client.call(request, api_key=api_key)
        except Exception as error:
            _refused(span, error)
            raise
        else:
            span.set_attribute("http.response.status_code", answer.status)
            span.set_attribute("largesse.replayed", answer.replayed)
            return answer
        finally:
            span.end()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _carrier(message: Delivery) -> Mapping[str, str]:
    """Read the context that came with the message; anybody may have written it."""
    found = message.options.get(OPTION)
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _names(message: Delivery, operation: str) -> dict[str, str]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": message.queue_name,
        "messaging.message.id": message.job_id,
    }


def _outcome(ending: Ending | None) -> tuple[str, str]:
    """Name what becomes of a job, and the class of the error that ends it."""
    match ending:
        case Finish(state="succeeded"):
            return "succeeded", ""
        case Finish(state=state):
            return state, state
        case Bury(state=state, error_class=error_class):
            return state, error_class
        case Retry(counted=counted, new_epoch=new_epoch):
            return "reissued" if new_epoch else "retry_scheduled" if counted else "snoozed", ""
    return "released" if ending is not None else "done", ""


def _end(attempt: _Attempt, outcome: str, error_class: str) -> None:
    attempt.span.set_attribute("largesse.outcome", outcome)
    if error_class:
        attempt.span.set_attribute("error.type", error_class)
        attempt.span.set_status(StatusCode.ERROR)
    attempt.ended_ns = time.time_ns()
    attempt.span.end(attempt.ended_ns)


def _refused(span: Span, error: Exception) -> None:
    status = error.status if isinstance(error, ApiError) else None
    if status is not None:
        span.set_attribute("http.response.status_code", status)
    if isinstance(error, ApiError) and error.api_error_code:
        span.set_attribute("largesse.api_error_code", error.api_error_code)
    word = error_class_of(error)
    span.set_attribute("error.type", str(status) if status and status >= 400 else word)
    span.set_attribute("largesse.error_class", word)
    span.set_status(StatusCode.ERROR)
