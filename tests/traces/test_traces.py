"""One trace from the producer's call to the result, over the queue, every attempt and the wire."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rig.system import System
from rig.waiting import until

import worker.main
from worker import BrokerUnavailableError, Producer, Settings
from worker.client.producer_span import NOT_TRACED, sending
from worker.engine.async_worker import AsyncWorker
from worker.errors import SettingsError
from worker.jobs.job import QUEUE, Job
from worker.traces.otlp import open_traces
from worker.traces.worker_spans import Traces

REDIS = "redis://127.0.0.1:1/0"
#: What no span may hold: see `run_job`.
CANARIES = ("canary@example.com", "canaria", "203.0.113.77", "order-canary", "test_sandbox_key")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Trace the producers and workers of this process into memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The global provider can be set only once in a process.
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(worker.main, "open_traces", lambda settings: Traces(provider))
    return exporter


def run_job(system: System) -> str:
    """Enqueue a job full of private values, whose first call is answered by 503."""
    system.admin.add_fault("error", status=503, times=1)
    job = system.producer().gift_checkout(
        {"gifter": {"customer_id": "canaria"}},
        key="order-canary",
        origin={"user": "canary@example.com", "ip": "203.0.113.77"},
    )
    return job.id


def work_until(system: System, count: int) -> None:
    """Run a worker in this process until it has sent so many endings."""

    async def run() -> None:
        settings = Settings.from_env(system.environ)
        broker, caller = worker.main.build(settings)
        async_worker = AsyncWorker(broker, settings.redis, concurrency=4, grace_s=1)
        stopping = asyncio.Event()
        running = asyncio.create_task(async_worker.run(stopping))
        while async_worker.ended < count:
            await asyncio.sleep(0.01)
        stopping.set()
        await running
        await caller.client.aclose()
        broker.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def by_name(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    """Give the spans by the first word of their names, oldest first."""
    found: dict[str, list[ReadableSpan]] = {}
    for span in sorted(exporter.get_finished_spans(), key=lambda one: one.start_time or 0):
        found.setdefault(span.name.split()[0], []).append(span)
    return found


def test_trace_goes_from_the_producer_to_the_result(
    system: System, spans: InMemorySpanExporter
) -> None:
    """Send, two attempts, their calls and their endings: one trace, each under its parent."""
    job_id = run_job(system)
    work_until(system, 2)
    found = by_name(spans)
    assert {name: len(some) for name, some in found.items()} == {
        "send": 1, "process": 2, "POST": 2, "settle": 2,
    }  # fmt: skip
    (send,) = found["send"]
    assert len({one.context.trace_id for some in found.values() for one in some}) == 1
    assert send.parent is None
    for attempt, call, settle in zip(
        found["process"], found["POST"], found["settle"], strict=True
    ):
        assert attempt.parent is not None
        assert attempt.parent.span_id == send.context.span_id
        assert attempt.parent.is_remote
        for child in (call, settle):
            assert child.parent is not None
            assert child.parent.span_id == attempt.context.span_id
        assert settle.start_time == attempt.end_time
    outcomes = [dict(one.attributes or {})["largesse.outcome"] for one in found["process"]]
    assert outcomes == ["retry_scheduled", "succeeded"]
    for one in (send, *found["process"], *found["settle"]):
        attributes = dict(one.attributes or {})
        assert attributes["messaging.system"] == "largesse"
        assert attributes["messaging.destination.name"] == QUEUE
        assert attributes["messaging.message.id"] == job_id
        assert attributes["messaging.operation.type"] == one.name.split()[0]
        assert one.name == f"{attributes['messaging.operation.name']} {QUEUE}"


def test_trace_of_calls_follows_the_conventions_of_http(
    system: System, spans: InMemorySpanExporter
) -> None:
    """Method, address, path and status; a refusal is an error with its status as type."""
    run_job(system)
    work_until(system, 2)
    refused, answered = by_name(spans)["POST"]
    path = "/api/v2/hosted_pages/checkout_gift_for_items"
    attributes = dict(answered.attributes or {})
    assert answered.name == f"POST {path}"
    assert answered.kind is trace.SpanKind.CLIENT
    assert attributes["http.request.method"] == "POST"
    assert attributes["url.full"] == system.sandbox.url + path
    assert attributes["url.template"] == path
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes["server.port"] == int(system.sandbox.url.rpartition(":")[2])
    assert attributes["http.response.status_code"] == 200
    assert answered.status.status_code is trace.StatusCode.UNSET
    wrong = dict(refused.attributes or {})
    assert (wrong["http.response.status_code"], wrong["error.type"]) == (503, "503")
    assert wrong["largesse.error_class"] == "unavailable"
    assert refused.status.status_code is trace.StatusCode.ERROR


def test_trace_holds_nothing_private_and_reaches_nobody_else(
    system: System, spans: InMemorySpanExporter
) -> None:
    """No payload, key or person in a span; no trace in the request that the API gets."""
    run_job(system)
    work_until(system, 2)
    written = "".join(one.to_json() for one in spans.get_finished_spans())
    assert not [canary for canary in CANARIES if canary in written]
    requests = json.dumps(system.admin.requests())
    assert "traceparent" not in requests
    first = spans.get_finished_spans()[0].context
    assert f"{first.trace_id:032x}" not in requests


def test_trace_of_a_failed_job_ends_as_an_error(
    system: System, spans: InMemorySpanExporter
) -> None:
    """A rejected job is an error of its class, without the text of anything."""
    payload = {"subscription_items": [{"item_price_id": "missing_1"}]}
    system.producer().gift_checkout(payload)
    work_until(system, 1)
    (attempt,) = by_name(spans)["process"]
    attributes = dict(attempt.attributes or {})
    assert (attributes["largesse.outcome"], attributes["error.type"]) == ("failed", "rejected")
    assert attempt.status.status_code is trace.StatusCode.ERROR
    assert attempt.status.description is None
    assert not attempt.events


def test_trace_of_many_jobs_is_one_send(system: System, spans: InMemorySpanExporter) -> None:
    """A batch is one span with its size; each job goes on in its trace."""
    specs = [{"kind": "gift_checkout", "payload": {}}] * 3
    system.producer().enqueue_many(specs)
    work_until(system, 3)
    found = by_name(spans)
    (send,) = found["send"]
    attributes = dict(send.attributes or {})
    assert attributes["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in attributes
    assert len(found["process"]) == 3
    for attempt in found["process"]:
        assert attempt.parent is not None
        assert attempt.parent.span_id == send.context.span_id


def test_trace_of_a_job_that_came_without_one(
    system: System, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that does not trace, or writes nonsense, costs the worker nothing."""
    monkeypatch.setattr("worker.client.producer.sending", lambda jobs, queue: sending([], queue))
    producer = system.producer()
    producer.gift_checkout({})
    nonsense = {"traceparent": "no", "x": "y"}
    monkeypatch.setattr(
        "worker.client.producer.sending", lambda jobs, queue: nullcontext(nonsense)
    )
    producer.gift_checkout({})
    work_until(system, 2)
    found = by_name(spans)
    assert [one.parent for one in found["process"]] == [None, None]


def test_trace_of_an_enqueue_that_fails(spans: InMemorySpanExporter, free_port: int) -> None:
    """The span ends as an error, with the class alone."""
    address = f"redis://u:S3cretWord@127.0.0.1:{free_port}/0"
    with (
        Producer(Settings(redis_url=address)) as producer,
        pytest.raises(BrokerUnavailableError),
    ):
        producer.gift_checkout({}, site="acme-test")
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes or {})["error.type"] == "BrokerUnavailableError"
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "S3cretWord" not in span.to_json()


def test_trace_attributes_are_documented(system: System, spans: InMemorySpanExporter) -> None:
    """docs/tracing.md lists what spans carry, of one job and of many, well and failed."""
    run_job(system)
    wrong = {"subscription_items": [{"item_price_id": "missing_1"}]}
    specs = [{"kind": "gift_checkout", "payload": payload} for payload in ({}, wrong)]
    system.producer().enqueue_many(specs)
    work_until(system, 4)
    seen = {name for one in spans.get_finished_spans() for name in one.attributes or {}}
    text = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text("utf-8")
    table = "".join(line for line in text.splitlines() if line.startswith("| `"))
    assert seen == set(re.findall(r"`([a-z]+\.[a-z_.]+)`", table))


def test_trace_context_is_no_part_of_the_job() -> None:
    """The same job under two traces has one id, one digest and one payload."""
    settings = Settings(redis_url=REDIS)
    job = Job.prepare(settings, "gift_checkout", {}, key="k", site="acme")
    plain = job.message()
    traced = job.message({"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"})
    assert traced.options.pop("trace")["traceparent"].startswith("00-aaaa")
    assert (plain.options, plain.kwargs, plain.message_id) == (
        traced.options, traced.kwargs, traced.message_id,
    )  # fmt: skip


def test_sending_without_opentelemetry_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was never imported, it is not imported, and no message carries anything."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    job = Job.prepare(Settings(redis_url=REDIS), "gift_checkout", {}, site="acme")
    with sending([job], QUEUE) as context:
        assert context is NOT_TRACED
    assert "opentelemetry.trace" not in sys.modules
    assert "trace" not in job.message(context).options


def test_sending_in_an_app_that_does_not_trace() -> None:
    """Where OpenTelemetry is merely installed, no span is opened."""
    job = Job.prepare(Settings(redis_url=REDIS), "gift_checkout", {}, site="acme")
    with sending([job], QUEUE) as context:
        assert context is NOT_TRACED


def test_traces_are_off_unless_asked_for() -> None:
    """Without the setting there is no middleware and no exporter."""
    assert open_traces(Settings(redis_url=REDIS)) is None


def test_traces_without_the_extra_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be followed is refused with the remedy."""
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"LARGESSE_TRACES.*largesse\[otel\]"):
        open_traces(Settings(redis_url=REDIS, traces="otlp"))


class Receiver:
    """A receiver of OTLP over HTTP, as a collector is one."""

    def __init__(self) -> None:
        received = self.received = []  # type: list[tuple[str, bytes]]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def spans(self) -> list[tuple[str, str, str]]:
        """Give service, name and trace id of every span that came."""
        found = []
        for path, body in self.received:
            assert path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                (service,) = [
                    one.value.string_value
                    for one in resource.resource.attributes
                    if one.key == "service.name"
                ]
                for scope in resource.scope_spans:
                    found += [(service, one.name, one.trace_id.hex()) for one in scope.spans]
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A running receiver."""
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_traces_of_a_fleet_reach_a_receiver(
    system: System, spans: InMemorySpanExporter, receiver: Receiver
) -> None:
    """A real fleet sends its spans over OTLP/HTTP, in the trace of the producer's process."""
    fleet = system.worker(
        env={
            "LARGESSE_TRACES": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
    )
    job_id = run_job(system)
    system.producer().job(job_id).result(20)
    (send,) = spans.get_finished_spans()
    trace_id = f"{send.context.trace_id:032x}"
    until(lambda: len(receiver.spans()) == 6, what="two attempts, their calls and endings")
    assert {(service, own) for service, _, own in receiver.spans()} == {
        ("largesse-worker", trace_id)
    }
    assert sorted(name.split()[0] for _, name, _ in receiver.spans()) == [
        "POST", "POST", "process", "process", "settle", "settle",
    ]  # fmt: skip
    assert not [one for one in CANARIES for _, body in receiver.received if one.encode() in body]
    lines = [json.loads(line) for line in fleet.output().splitlines() if line.startswith("{")]
    about = [line for line in lines if line.get("job_id") == job_id]
    assert {line["event"] for line in about} >= {"api.call", "job.succeeded"}
    assert {line.get("trace_id") for line in about} == {trace_id}
