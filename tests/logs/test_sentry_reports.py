"""What Sentry is told: classes, frames and declared fields; nothing that a log would not say."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import sentry_sdk
from rig.system import System
from rig.waiting import until

from worker.errors import BrokerUnavailableError, SettingsError
from worker.logs import events
from worker.logs.log_rate import LinesPerSecond
from worker.logs.sentry_reports import Scrubber, open_reports
from worker.settings import Settings

REDIS = "redis://127.0.0.1:1/0"
DSN = "http://public@127.0.0.1:1/1"
CANARIES = ("maria@example.com", "203.0.113.77", "test_CanaryKey0123456789abcdef", "Canaria")

Sent = list[dict[str, Any]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    """Reports of this process, collected instead of sent."""
    found: Sent = []

    class Collector(sentry_sdk.transport.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            event = envelope.get_event()
            if event is not None:
                found.append(event)

    begin = sentry_sdk.init
    monkeypatch.setattr(sentry_sdk, "init", lambda **given: begin(transport=Collector, **given))
    open_reports(Settings(redis_url=REDIS, sentry_dsn=DSN))
    yield found
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


def fail(private: str) -> None:
    """Raise a foreign error that holds a private value, in a frame that holds it, too."""
    held = {"email": private}
    raise KeyError(f"no such {held}")


def test_report_of_a_foreign_error_has_class_and_frames_alone(sent: Sent) -> None:
    """No text, no local variable, no source line, no path of the machine, no breadcrumb."""
    logger = logging.getLogger("dramatiq.worker.WorkerThread")
    logger.info("Canaria did something before")
    try:
        fail(" ".join(CANARIES))
    except KeyError:
        logger.exception("Failed to process %s", {"email": CANARIES[0]})
    (event,) = sent
    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("KeyError", "")
    assert [frame["function"] for frame in error["stacktrace"]["frames"]][-1] == "fail"
    assert set(error["stacktrace"]["frames"][-1]) <= {
        "filename", "function", "lineno", "module", "in_app",
    }  # fmt: skip
    text = json.dumps(event)
    assert not [one for one in CANARIES if one in text]
    assert not {"breadcrumbs", "request", "user", "server_name", "modules"} & set(event)


def test_report_of_an_event_has_its_declared_fields(sent: Sent) -> None:
    """The name and the fields of the log, and `[redacted]` in the place of anything else."""
    events.emit(
        logging.getLogger("worker.job"), events.SITE_TRIPPED, level=logging.ERROR,
        site="acme", reason="maria@example.com has no key", payload={"a": "Canaria"},
    )  # fmt: skip
    (event,) = sent
    assert event["logentry"] == {"message": "site.tripped"}
    assert event["level"] == "error"
    assert event["extra"] == {
        "site": "acme", "reason": "[redacted] has no key", "payload": "[redacted]",
    }  # fmt: skip
    assert event["release"].startswith("largesse@")


def test_report_of_our_own_error_keeps_its_text(sent: Sent) -> None:
    """They hold no values; and the cause's text is left out all the same."""
    try:
        try:
            raise ConnectionError("203.0.113.77 refused")
        except ConnectionError as cause:
            raise BrokerUnavailableError("Redis is unreachable") from cause
    except BrokerUnavailableError:
        logging.getLogger("worker.x").exception("no luck")
    (event,) = sent
    values = {one["type"]: one["value"] for one in event["exception"]["values"]}
    assert values["ConnectionError"] == ""
    assert values["BrokerUnavailableError"].startswith("Redis is unreachable. ")


def test_reports_below_error_are_not_sent(sent: Sent) -> None:
    """A job that fails is a warning and no report."""
    events.emit(logging.getLogger("worker.job"), events.JOB_FAILED, level=logging.WARNING)
    assert sent == []


def test_reports_are_limited_by_kind() -> None:
    """Thousands of the same in a second are two, and the next says how many were left out."""
    now = [0.0]
    scrubber = Scrubber(LinesPerSecond(clock=lambda: now[0]))
    record = logging.makeLogRecord({"name": "worker.x", "msg": "the same", "levelno": 40})

    def given() -> Any:
        return scrubber({"logger": "worker.x"}, {"log_record": record})

    assert [given() is None for _ in range(5)] == [False, False, True, True, True]
    now[0] = 1.5
    assert given()["extra"]["suppressed"] == 3


@pytest.mark.parametrize("dsn", ["other", "http://127.0.0.1/1", "https://key@sentry.example/"])
def test_reports_refuse_what_is_no_dsn(dsn: str) -> None:
    """The variable is named, its value is not."""
    with pytest.raises(SettingsError, match="LARGESSE_SENTRY_DSN is not a DSN") as caught:
        open_reports(Settings(redis_url=REDIS, sentry_dsn=dsn))
    assert dsn not in str(caught.value)
    assert DSN not in repr(Settings(redis_url=REDIS, sentry_dsn=DSN))


def test_reports_without_the_extra_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be followed is refused with the remedy."""
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(SettingsError, match=r"largesse\[sentry\]"):
        open_reports(Settings(redis_url=REDIS, sentry_dsn=DSN))


def test_reports_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the setting nothing of Sentry is even imported."""
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    open_reports(Settings(redis_url=REDIS))


@pytest.fixture
def received() -> Iterator[tuple[str, list[bytes]]]:
    """A receiver of reports: its DSN, and what came."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://public@127.0.0.1:{server.server_address[1]}/1", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_worker_reports_a_refused_key(system: System, received: tuple[str, list[bytes]]) -> None:
    """A fleet with a wrong key tells Sentry that the key is refused, and not the key."""
    dsn, bodies = received
    env = {"LARGESSE_SENTRY_DSN": dsn, "CHARGEBEE_API_KEY": "test_WrongCanaryKey0123456789"}
    system.worker(env=env)
    system.producer().gift_checkout({})
    until(lambda: any(b"site.key_refused" in _plain(body) for body in bodies), what="a report")
    assert not [body for body in bodies if b"CanaryKey" in _plain(body)]


def _plain(body: bytes) -> bytes:
    import gzip

    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
