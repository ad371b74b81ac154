"""Everything that a worker's process logs comes out as one redacted line."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import httpx
import pytest
from dramatiq.brokers.stub import StubBroker

from worker.errors import SettingsError
from worker.logs import events
from worker.logs.pipeline import _Handler, bound, configure, get_logger
from worker.settings import Settings

CANARIES = ["maria@example.com", "CanaryName", "203.0.113.9", "CanaryKey0123456789", "CanaryPage"]
PAYLOAD = {
    "email": "maria@example.com",
    "first_name": "CanaryName",
    "ip": "203.0.113.9",
    "key": "test_CanaryKey0123456789abcdef",
    "url": "https://acme.chargebee.com/pages/v3/CanaryPage/",
}

Start = Callable[..., io.StringIO]


@pytest.fixture
def start() -> Iterator[Start]:
    """Configure the logs to write into a buffer, and put everything back afterwards."""
    root = logging.getLogger()
    names = ["httpx", "httpcore", "redis", "asyncio", "uvicorn", "uvicorn.error", "uvicorn.access"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    root_level = root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook

    def configured(log_format: str = "json", log_level: str = "debug") -> io.StringIO:
        stream = io.StringIO()
        root.handlers.clear()  # pytest's own would format the broken records of some tests
        configure(
            Settings(redis_url="redis://h", log_format=log_format, log_level=log_level),  # type: ignore[arg-type]
            stream=stream,
        )
        return stream

    yield configured
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    root.setLevel(root_level)
    root.handlers[:] = [one for one in root.handlers if not isinstance(one, _Handler)]
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    """Read the lines that were written, after looking for canaries."""
    text = stream.getvalue()
    for canary in CANARIES:
        assert canary not in text
    return [json.loads(line) for line in text.splitlines()]


def test_log_writes_an_event_with_its_fields(start: Start) -> None:
    """A line has time, level, event, logger, process and the event's own fields."""
    stream = start()
    get_logger("worker.process.actors").info(
        events.JOB_STARTED, job_id="j1", kind="gift_checkout", attempt=1
    )
    (line,) = lines_of(stream)
    assert list(line)[:5] == ["timestamp", "level", "event", "logger", "process"]
    assert line["timestamp"].endswith("Z")
    assert (line["level"], line["event"], line["logger"]) == (
        "info",
        "job.started",
        "worker.process.actors",
    )
    assert (line["job_id"], line["attempt"]) == ("j1", 1)


def test_log_hides_what_an_event_does_not_have(start: Start) -> None:
    """A payload given by mistake is not printed."""
    stream = start()
    get_logger("worker.process.actors").info(
        events.JOB_STARTED, job_id="j1", payload=PAYLOAD, who=PAYLOAD
    )
    (line,) = lines_of(stream)
    assert line["payload"] == line["who"] == "[redacted]"


def test_log_binds_fields_for_all_lines_of_a_task(start: Start) -> None:
    """The trace id is on our lines and on those of other libraries, and ends with the task."""
    stream = start()
    with bound(trace_id="t1"):
        get_logger("worker").info(events.JOB_STARTED, job_id="j1")
        logging.getLogger("dramatiq.worker").info("Working.")
    logging.getLogger("dramatiq.worker").info("Idle.")
    assert [line.get("trace_id") for line in lines_of(stream)] == ["t1", "t1", None]


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_log_keeps_its_level(start: Start, level: str, count: int) -> None:
    """Lines below the configured level are not written."""
    stream = start(log_level=level)
    log = get_logger("worker")
    for write in (log.debug, log.info, log.warning, log.error):
        write(events.BROKER_UNAVAILABLE, problem="away")
    assert len(lines_of(stream)) == count


def test_configure_twice_writes_each_line_once(start: Start) -> None:
    """A second call replaces the first one's handler, and the one of dramatiq's command line."""
    first, stray, second = start(), io.StringIO(), io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(stray))
    configure(Settings(redis_url="redis://h"), stream=second)
    logging.getLogger("dramatiq").warning("Once.")
    assert (first.getvalue(), stray.getvalue()) == ("", "")
    assert len(lines_of(second)) == 1


def test_emit_needs_nothing_but_logging(start: Start) -> None:
    """An event through the standard library comes out with its fields, redacted alike."""
    stream = start()
    events.emit(
        logging.getLogger("worker.client.producer"), events.JOB_ENQUEUED, job_id="j", email="x"
    )
    events.emit(
        logging.getLogger("worker.client.producer"), events.JOB_ENQUEUED, level=5, job_id="k"
    )
    (line,) = lines_of(stream)
    assert (line["event"], line["job_id"], line["email"]) == ("job.enqueued", "j", "[redacted]")


def test_console_format_is_readable_and_redacted(start: Start) -> None:
    """The console shows the same line without colours when it is no terminal."""
    stream = start("console")
    get_logger("worker").warning(events.JOB_FAILED, job_id="j1", why="no maria@example.com")
    text = stream.getvalue()
    assert "job.failed" in text
    assert "job_id=j1" in text
    assert "maria" not in text
    assert "\x1b" not in text


class Boom(Exception):
    """A stranger's exception with private text."""


def test_traceback_shows_where_and_what_but_no_values(start: Start) -> None:
    """Frames and classes of the whole chain are shown, texts and local values are not."""
    stream = start()

    def inner(private: str) -> None:
        raise Boom(private)

    def outer() -> None:
        try:
            inner(str(PAYLOAD))
        except Boom as error:
            raise KeyError("CanaryName") from error

    try:
        outer()
    except KeyError:
        get_logger("worker").exception(events.WORKER_CRASHED, error_class="KeyError")
        logging.getLogger("worker.engine").error("it failed", exc_info=True)
    for line in lines_of(stream):
        trace = line["traceback"]
        assert "in inner" in trace
        assert "in outer" in trace
        assert trace.index("Boom") < trace.index("which led to:") < trace.index("KeyError")


def test_traceback_keeps_the_texts_of_our_own_errors(start: Start) -> None:
    """Our errors hold no values, so that their remedy may be read; groups show their members."""
    stream = start()
    problem = SettingsError("ACME_KEY", "is not set", "Export it.")
    try:
        raise ExceptionGroup("CanaryName", [problem, Boom("CanaryName")])
    except ExceptionGroup:
        logging.getLogger("worker").exception("several")
    (line,) = lines_of(stream)
    assert "ACME_KEY is not set. Export it." in line["traceback"]
    assert "Boom" in line["traceback"]


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    """A dramatiq broker in memory."""
    broker = StubBroker(middleware=[dramatiq.middleware.Retries(max_retries=0)])
    broker.emit_after("process_boot")
    yield broker
    broker.flush_all()
    broker.close()


@pytest.mark.parametrize("ending", ["success", "unhandled", "expected", "skipped", "unknown"])
def test_dramatiq_prints_no_arguments(start: Start, stub: StubBroker, ending: str) -> None:
    """Real dramatiq loggers at level debug name the message and nothing of what is in it."""
    stream = start()

    def act(payload: dict[str, str], *, extra: str) -> None:
        if ending == "unhandled":
            raise Boom(str(payload), extra)
        if ending == "expected":
            raise ValueError(extra)
        if ending == "skipped":
            raise dramatiq.middleware.SkipMessage(extra)

    actor = dramatiq.actor(act, broker=stub, actor_name="gift", throws=ValueError)
    message = actor.message(PAYLOAD, extra="CanaryName")
    worker = dramatiq.Worker(stub, worker_timeout=10, worker_threads=1)
    worker.start()
    if ending == "unknown":
        message = message.copy(actor_name="lost")
    stub.enqueue(message)
    stub.join("default", fail_fast=False)
    worker.join()
    worker.stop()
    lines = lines_of(stream)
    name = f"{message.actor_name}[{message.message_id}]"
    assert ending == "unknown" or any(name in line["event"] for line in lines)
    if ending == "unhandled":
        (failure,) = [line for line in lines if line["level"] == "error"]
        assert failure["event"] == f"Failed to process message {name} with unhandled exception."
        assert failure["traceback"].endswith("Boom")
    assert any("Received args=<tuple> kwargs=<dict>." in line["event"] for line in lines) is (
        ending != "unknown"
    )


@pytest.mark.parametrize(("level", "heard"), [("debug", True), ("info", False)])
def test_httpx_prints_no_headers_and_no_query(start: Start, level: str, heard: bool) -> None:
    """The client libraries say method, path and status at level debug and nothing at info."""
    stream = start(log_level=level)

    async def call() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, httpx.AsyncClient() as client:
            auth = ("test_CanaryKey0123456789abcdef", "")
            url = f"http://127.0.0.1:{port}/api?email=maria%40example.com"
            await client.post(url, auth=auth, data=PAYLOAD)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Name: CanaryName\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    asyncio.run(call())
    lines = [line for line in lines_of(stream) if line["logger"].startswith("http")]
    assert bool(lines) is heard
    if heard:
        (said,) = [line["event"] for line in lines if line["logger"] == "httpx"]
        assert said.startswith("HTTP Request: POST http://127.0.0.1:")
        assert said.endswith('/api? "HTTP/1.1 200 OK"')
        assert "receive_response_headers.complete" in [line["event"] for line in lines]


def test_asyncio_prints_neither_callbacks_nor_exceptions(start: Start) -> None:
    """A task that nobody awaited is reported by class, without the arguments of anything."""
    stream = start()

    async def forgotten(payload: dict[str, str]) -> None:
        raise Boom(str(payload))

    async def leave() -> None:
        loop = asyncio.get_running_loop()

        def broken(text: str) -> None:
            raise Boom(text)

        loop.call_soon(broken, str(PAYLOAD))
        task = asyncio.create_task(forgotten(PAYLOAD))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    asyncio.run(leave())
    lines = [line for line in lines_of(stream) if line["level"] == "error"]
    assert [line["event"] for line in lines] == [
        "Exception in callback test_asyncio_prints_neither_callbacks_nor_exceptions.",
        "Task exception was never retrieved",
    ]
    assert all("Boom" in line["traceback"] for line in lines)


def test_uvicorn_prints_no_client_and_no_query(start: Start) -> None:
    """Its own handlers are taken away, and its access lines lose address, page and query."""
    logger = logging.getLogger("uvicorn.access")
    stray = io.StringIO()
    logger.addHandler(logging.StreamHandler(stray))
    logger.propagate = False
    stream = start()
    text = '%s - "%s %s HTTP/%s" %d'
    logger.info(text, "203.0.113.9:5555", "GET", "/pages/v3/CanaryPage/?e=CanaryName", "1.1", 200)
    (line,) = lines_of(stream)
    assert line["event"].endswith('HTTP/1.1" 200')
    assert stray.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "args", "shown"),
    [
        ("%s and %r and %d", ("a", "b", 3), "a and b and 3"),
        ("%(a)s", ({"a": {"x": "CanaryName"}},), "<dict>"),
        ("one %s", ({"x": "CanaryName"},), "one <dict>"),
        ("%d", ("CanaryName",), "%d"),
        ("%s %s", ("CanaryName x",), "%s %s"),
        ("%s", (Boom("CanaryName"),), "Boom"),
        ("%s", (Boom,), "Boom"),
        ("%s", (["CanaryName"],), "<list>"),
        ("%s", (b"CanaryName",), "<bytes>"),
        ("%s", (None,), "None"),
        ("%s", ("x" * 500,), "x" * 200),
        ("value='CanaryName' is wrong", (), "value"),
        ("Reconnecting", (), "Reconnecting"),
    ],
)
def test_foreign_records_keep_words_and_numbers(
    start: Start, text: str, args: tuple[Any, ...], shown: str
) -> None:
    """Whatever a library puts into a record, only the harmless part of it is printed."""
    stream = start()
    logging.getLogger("redis.x").warning(text, *args)
    (line,) = lines_of(stream)
    assert line["event"] == shown


@pytest.mark.parametrize("message", [Boom("CanaryName"), {"x": "CanaryName"}, ["CanaryName"]])
def test_foreign_messages_that_are_no_text_are_named(start: Start, message: object) -> None:
    """An object that is logged as the message itself is named by its type."""
    stream = start()
    logging.getLogger("dramatiq").critical(message)
    (line,) = lines_of(stream)
    assert line["event"] in {"Boom", "<dict>", "<list>"}


def test_uncaught_exceptions_are_logged_like_all_others(start: Start) -> None:
    """Process, thread and destructor: no exception is printed with its text."""
    stream = start()
    try:
        raise Boom("CanaryName")
    except Boom as error:
        sys.excepthook(Boom, error, error.__traceback__)
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    def in_thread() -> None:
        raise Boom("CanaryName")

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()

    class Broken:
        def __del__(self) -> None:
            raise Boom("CanaryName")

    one = Broken()
    del one
    gc.collect()
    lines = lines_of(stream)
    assert [line["event"] for line in lines] == ["worker.crashed"] * 3
    assert all(line["error_class"] == "Boom" for line in lines)
    assert "in in_thread" in lines[1]["traceback"]


def test_lost_lines_do_not_print_the_record(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stream that breaks costs the line, not its privacy."""
    stream = start()

    def broken(_: str) -> int:
        raise OSError("CanaryName")

    stream.write = broken  # type: ignore[method-assign]
    logging.getLogger("dramatiq").warning("to %s", "maria@example.com")
    assert capfd.readouterr().err == "a log line of dramatiq was lost: OSError\n"
