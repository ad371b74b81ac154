"""Sends the spans of a worker over OTLP/HTTP, when `LARGESSE_TRACES=otlp` says so."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from worker.errors import SettingsError
from worker.settings import Settings
from worker.version import __version__

if TYPE_CHECKING:
    from worker.traces.worker_spans import Traces

__all__ = ["open_traces"]

#: `service.name` of workers, unless OTEL_SERVICE_NAME says otherwise.
SERVICE: Final = "largesse-worker"
#: What the SDK calls a service that has no name.
UNKNOWN: Final = "unknown_service"


def open_traces(settings: Settings) -> Traces | None:
    """Set up tracing for this process.

    Where spans go and how many are kept is said by OpenTelemetry's own variables, such as
    `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_TRACES_SAMPLER`.

    Args:
        settings: their `traces` counts.

    Returns:
        The middleware that opens spans, or None when they are off.

    Raises:
        SettingsError: the extra `otel` is not installed.
    """
    if settings.traces == "off":
        return None
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError:
        remedy = "Install it with: pip install 'largesse[otel]'"
        raise SettingsError("LARGESSE_TRACES", "needs the extra otel", remedy) from None
    from worker.traces.worker_spans import Traces  # noqa: PLC0415 - needs what was just found

    ours = {
        "service.name": SERVICE,
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
    }
    # What OpenTelemetry's variables say stands over what is said here.
    said = Resource.create().attributes.items()
    given = {name: value for name, value in said if not str(value).startswith(UNKNOWN)}
    provider = TracerProvider(resource=Resource({**ours, **given}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return Traces(provider)
