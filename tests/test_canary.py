"""A marked e-mail, name, address, key and page URL go through a full run with failures in it.

None of the marks may turn up in what any process writes, in an error's text or in a repr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import traceback
from collections.abc import Iterator

import pytest
from rig.sandbox import SandboxServer
from rig.system import System
from rig.waiting import until

from worker import Producer, WorkerError

EMAIL = "kanari.bird@example.com"
NAME = "Kanaribird"
IP = "203.0.113.77"
KEY = "test_KanariKey0123456789"
CUSTOMER = "cust_kanaribird"
#: The API stand-in serves its pages below this path; nothing else has it.
PAGE = "/pages/v3/"
REDIRECT = "https://kanaribird.example.com/thanks"
#: Compared without regard to case.
MARKS = ("kanari", IP, PAGE)

GIFT = {
    "gifter": {"customer_id": CUSTOMER},
    "redirect_url": REDIRECT,
    "subscription_items": [{"item_price_id": "basic-USD"}],
}
OFFER = {
    "customer_id": CUSTOMER,
    "email": EMAIL,
    "first_name": NAME,
    "last_name": NAME,
    "custom": {"pet": NAME},
}
OPTIONS = {"origin": {"user": EMAIL, "ip": IP}}
INVALID = {
    "customer_id": "x" * 50 + CUSTOMER,
    "email": f"{EMAIL} and more",
    "first_name": [NAME],
    "custom": NAME,
    "request_context": {"url": REDIRECT, "timezone": NAME},
}


def marks_in(text: str) -> list[str]:
    """Give the lines of a text that hold a mark."""
    return [line for line in text.splitlines() if any(mark in line.lower() for mark in MARKS)]


@pytest.fixture
def errors() -> list[BaseException]:
    """Errors that were met on the way."""
    return []


@contextlib.contextmanager
def collecting(errors: list[BaseException]) -> Iterator[None]:
    """Collect an error of ours instead of raising it."""
    try:
        yield
    except WorkerError as error:
        errors.append(error)


def break_things(system: System) -> None:
    """Let the sandbox fail in many ways, none for ever, with the request's values in its words."""
    admin = system.admin
    leaky = f"{EMAIL} {NAME} {IP} {REDIRECT}"
    admin.add_fault("error", status=503, requests="2", message=leaky)
    admin.add_fault("error", status=500, requests="4", message=leaky)
    admin.add_fault("reset", execute=True, requests="6")
    admin.add_fault("truncated_json", requests="8")
    admin.add_fault("body", text=f'{{"hosted_page": "{leaky}"}}', requests="10")
    admin.add_fault("error", status=400, message=leaky, param=EMAIL, requests="12")
    admin.add_fault("throttle", retry_after=1, requests="14")
    admin.add_fault("garbage", requests="16")
    admin.add_fault("null_url", requests="18")


@pytest.fixture
def marked(system: System) -> System:
    """A system whose API key is a mark, too."""
    system.admin.post("sites", {"name": "acme-test", "api_keys": [KEY]})
    system.environ["CHARGEBEE_API_KEY"] = KEY
    system.run.env["CHARGEBEE_API_KEY"] = KEY
    return system


def enqueue_all(producer: Producer, errors: list[BaseException]) -> list[str]:
    """Enqueue good and bad jobs; gives the ids of the accepted ones."""
    ids = []
    for number in range(10):
        key = f"job-{number}"
        ids.append(producer.enqueue("gift_checkout", GIFT, key=key, options=OPTIONS).id)
        ids.append(producer.enqueue("personalized_offer", OFFER, key=key, options=OPTIONS).id)
    with collecting(errors):
        producer.enqueue("gift_checkout", {**GIFT, "redirect_url": "https://x"}, key="job-0")
    with collecting(errors):
        producer.personalized_offer(INVALID)
    with collecting(errors):
        producer.gift_checkout(GIFT, origin={"user": f"{EMAIL}\r\nx: y", "ip": f"{IP}.9"})
    with collecting(errors):
        producer.gift_checkout(GIFT, site=NAME)
    return ids


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_private_is_written_anywhere(
    marked: System,
    errors: list[BaseException],
    caplog: pytest.LogCaptureFixture,
    log_format: str,
) -> None:
    """Logs of all processes, error texts, tracebacks and reprs are free of every mark."""
    caplog.set_level(logging.DEBUG)
    break_things(marked)
    env = {"LARGESSE_LOG_LEVEL": "debug", "LARGESSE_LOG_FORMAT": log_format}
    fleet = marked.worker(processes=2, env=env)
    producer = marked.producer()
    ids = enqueue_all(producer, errors)
    shown = [repr(producer), repr(producer.settings), repr(producer.job(ids[0]))]
    for job_id in ids:
        with collecting(errors):
            result = producer.job(job_id).result(timeout=30)
            shown += [repr(result), str(result), repr(result.hosted_page)]
    # A redirect trips the site, which is told in words of its own.
    marked.admin.add_fault("redirect", location=REDIRECT)
    producer.enqueue("gift_checkout", GIFT, options=OPTIONS)
    until(lambda: "site.tripped" in fleet.output(), what="a tripped site")
    assert errors
    shown += [f"{error} {error!r}" for error in errors]
    shown += ["".join(traceback.format_exception(error)) for error in errors]
    shown += [json.dumps(producer.job(job_id).events()) for job_id in ids]
    fleet.terminate()
    assert fleet.wait(15) == 0
    assert len(marked.admin.pages()) >= 9
    assert marks_in(fleet.output()) == []
    assert marks_in((marked.sandbox.folder / "sandbox.log").read_text()) == []
    assert marks_in("\n".join(shown)) == []
    assert marks_in("\n".join(f"{r.getMessage()} {r.__dict__}" for r in caplog.records)) == []


def test_nothing_private_is_said_by_commands(marked: System) -> None:
    """Stderr of every command, and stdout of those that show no result, are free of marks."""
    run = marked.run
    marked.admin.add_fault("error", status=400, message=f"{EMAIL} {NAME}", param=EMAIL, times=1)
    marked.worker()
    good = {"kind": "personalized_offer", "payload": OFFER, "options": OPTIONS, "key": "k"}
    taken = {**good, "payload": {**OFFER, "last_name": "Other"}}
    bad = {"kind": "personalized_offer", "payload": INVALID, "key": f"{NAME}\n"}
    jobs = run.write("jobs.jsonl", "\n".join(map(json.dumps, (good, taken, bad))) + f'\n{{"{NAME}')
    payload, invalid = run.write("good.json", OFFER), run.write("bad.json", INVALID)
    gift = run.write("gift.json", GIFT)
    away = {"LARGESSE_REDIS_URL": f"redis://app:{KEY}@127.0.0.1:1/0"}
    runs = [
        run("enqueue", "personalized-offer", invalid),
        run("enqueue", "--file", jobs),
        run("enqueue", "--file", jobs, "--json", "--skip-invalid"),
        run("enqueue", "gift-checkout", gift, "--wait", "20", "--json", env=away),
        run("request", "personalized-offer", invalid, "--dry-run"),
        run("doctor"),
        run("doctor", "--json", env=away),
        run("worker", env={"CHARGEBEE_API_URL": f"http://{NAME}:{KEY}@127.0.0.1:1"}),
        run("version"),
    ]
    for ran in runs:
        assert marks_in(ran.out) == []
    # These two show a result or a request on stdout: that is what they are for.
    runs += [
        run("request", "personalized-offer", payload),
        run("request", "gift-checkout", gift, "--dry-run"),
        run("enqueue", "gift-checkout", gift, "--wait", "20"),
    ]
    assert {ran.code for ran in runs} >= {0, 1, 2, 3, 4}
    for ran in runs:
        assert marks_in(ran.err) == []
        assert KEY not in ran.out
        assert "Traceback" not in ran.err


def test_canary_would_be_seen(marked: System, sandbox_server: SandboxServer) -> None:
    """The search finds what it looks for: the sandbox's own record of requests holds the marks."""
    marked.worker()
    producer = marked.producer()
    page = producer.enqueue("gift_checkout", GIFT, options=OPTIONS).result(timeout=20).hosted_page
    offers = producer.enqueue("personalized_offer", OFFER, options=OPTIONS).result(timeout=20)
    assert page is not None
    assert offers.offers is not None
    assert marks_in(page.url)
    bodies = "\n".join(str(request) for request in marked.admin.requests())
    for mark in (EMAIL, NAME, IP, CUSTOMER):
        assert mark in bodies.replace("%40", "@")
