"""`largesse enqueue`: one job or a file, checked as a whole, accepted once."""

from __future__ import annotations

import json
import time
from typing import Any

from rig.command import Command
from rig.system import System

GIFT = {"subscription_items": [{"item_price_id": "basic-USD"}]}
OFFER = {"customer_id": "cust_1"}
NOWHERE = {"LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0", "CHARGEBEE_SITE": "acme-test"}


def lines(*jobs: dict[str, Any]) -> str:
    """Write jobs as a job file."""
    return "".join(json.dumps(job) + "\n" for job in jobs)


def offer(number: int, **more: Any) -> dict[str, Any]:
    """Make a line for an offer with a key of its own."""
    payload = {"customer_id": f"cust_{number}"}
    return {"kind": "personalized_offer", "key": f"k{number}", "payload": payload, **more}


def test_enqueue_prints_the_job_id(system: System) -> None:
    """The id on stdout is that of a queued job, and nothing else is said."""
    ran = system.run("enqueue", "gift-checkout", system.run.write("p.json", GIFT))
    assert ran.code == 0, ran.err
    assert ran.err == ""
    (job_id,) = ran.out.split()
    assert system.producer().job(job_id).state() == "queued"


def test_enqueue_with_json_says_id_state_key_and_line(system: System) -> None:
    """The same key again is the same job, whose state is read."""
    words = ("enqueue", "personalized_offer", "-", "--key", "order-1", "--json")
    first = system.run(*words, stdin=json.dumps(OFFER)).objects()
    again = system.run(*words, stdin=json.dumps(OFFER)).objects()
    assert first == again
    (shown,) = first
    assert len(shown.pop("job_id")) == 32
    assert shown == {"state": "queued", "key": "order-1", "line": None}


def test_enqueue_passes_its_options_on(system: System) -> None:
    """Skip, business entity and an options file arrive at the API as headers."""
    options = system.run.write("o.json", {"origin": {"ip": "203.0.113.7"}, "skip": ["actions"]})
    words = ("enqueue", "gift-checkout", system.run.write("p.json", GIFT), "--options", options)
    more = ("--skip", "webhooks,email", "--business-entity", "be_1", "--site", "acme-test")
    assert system.run(*words, *more).code == 0
    system.worker()
    job = system.run(*words, *more, "--key", "k", "--wait", "20", "--json")
    assert job.code == 0, job.err + job.out
    headers = dict(system.admin.requests()[-1]["headers"])
    assert headers["chargebee-event-webhook"] == "all-disabled"
    assert headers["chargebee-event-email"] == "all-disabled"
    assert "chargebee-event-actions" not in headers
    assert headers["chargebee-business-entity-id"] == "be_1"
    assert headers["chargebee-request-origin-ip"] == "203.0.113.7"


def test_enqueue_with_wait_prints_the_outcome(system: System) -> None:
    """With --wait the page is printed instead of the id, in the shape of `result`."""
    system.worker()
    payload = system.run.write("p.json", GIFT)
    ran = system.run("enqueue", "gift-checkout", payload, "--wait", "20", "--json")
    assert ran.code == 0, ran.err
    (shown,) = ran.objects()
    assert shown["state"] == "succeeded"
    assert shown["hosted_page"]["url"].startswith(system.sandbox.url)
    ran = system.run("enqueue", "gift-checkout", payload, "--wait", "20")
    assert " succeeded " in ran.out


def test_enqueue_with_wait_ends_with_5_when_nobody_works(system: System) -> None:
    """Without a worker the wait ends on time and the job goes on."""
    payload = system.run.write("p.json", GIFT)
    ran = system.run("enqueue", "gift-checkout", payload, "--wait", "0.2", "--json")
    assert ran.code == 5
    assert ran.objects()[0]["state"] == "queued"


def test_enqueue_refuses_an_invalid_payload(system: System) -> None:
    """Exit 2, the field and not its value, and nothing in Redis."""
    payload = {"subscription_items": [{"item_price_id": "x", "quantity": -77}]}
    ran = system.run("enqueue", "gift-checkout", "-", stdin=json.dumps(payload))
    assert (ran.code, ran.out) == (2, "")
    assert "subscription_items.0.quantity: " in ran.err
    assert "77" not in ran.err
    assert ran.err.count("\n") == 1


def test_enqueue_refuses_a_key_that_is_taken(system: System) -> None:
    """The key with another payload is a conflict, with what to do about it."""
    words = ("enqueue", "personalized-offer", "-", "--key", "k")
    assert system.run(*words, stdin=json.dumps(OFFER)).code == 0
    ran = system.run(*words, stdin=json.dumps({"customer_id": "cust_2"}))
    assert (ran.code, ran.out) == (2, "")
    assert "Use a new key" in ran.err


def test_enqueue_takes_a_file(system: System) -> None:
    """Each line gives one object with its number; empty lines count."""
    jobs = lines(offer(1), offer(2, options={"delay_s": 60})) + "\n" + lines(offer(3))
    ran = system.run("enqueue", "--file", system.run.write("jobs.jsonl", jobs), "--json")
    assert ran.code == 0, ran.err
    shown = ran.objects()
    assert [(job["line"], job["key"], job["state"]) for job in shown] == [
        (1, "k1", "queued"),
        (2, "k2", "delayed"),
        (4, "k3", "queued"),
    ]
    assert len({job["job_id"] for job in shown}) == 3


def test_enqueue_takes_a_file_twice(system: System) -> None:
    """With keys a file may be enqueued again, and its jobs stay the same."""
    jobs = lines(offer(1), offer(2))
    first = system.run("enqueue", "-f", "-", "--json", stdin=jobs)
    again = system.run("enqueue", "-f", "-", "--json", stdin=jobs)
    assert first.objects() == again.objects()


def test_enqueue_of_a_file_with_bad_lines_enqueues_nothing(system: System) -> None:
    """Exit 2, every bad line with its number and field, and not one job."""
    bad = offer(2, payload={"customer_id": "c", "roles": "boss"})
    jobs = lines(offer(1), bad) + "{oops\n" + lines(offer(3), {"kind": "sms"})
    ran = system.run("enqueue", "--file", "-", "--json", stdin=jobs)
    assert (ran.code, ran.out) == (2, "")
    *listed, last = ran.err.splitlines()
    found = {shown["line"]: shown["errors"] for shown in map(json.loads, listed)}
    assert {line: list(errors) for line, errors in found.items()} == {
        2: ["roles"],
        3: ["json"],
        5: ["kind"],
    }
    assert "3 of 5 lines are bad: nothing was enqueued" in last
    plain = system.run("enqueue", "--file", "-", stdin=jobs)
    assert "line 2: roles: " in plain.err
    assert "boss" not in plain.err + ran.err
    with system.redis() as redis:
        assert redis.dbsize() == 0


def test_enqueue_of_a_file_can_skip_bad_lines(system: System) -> None:
    """With --skip-invalid the good lines go in, exit 0, and the bad are still listed."""
    jobs = lines(offer(1), {"kind": "sms"}, offer(3))
    ran = system.run("enqueue", "--file", "-", "--skip-invalid", "--json", stdin=jobs)
    assert ran.code == 0
    assert [job["line"] for job in ran.objects()] == [1, 3]
    assert "kind" in ran.err


def test_enqueue_of_a_file_reports_keys_that_are_taken(system: System) -> None:
    """A conflict in Redis is told by its line, the others are in, exit 2."""
    system.run("enqueue", "--file", "-", stdin=lines(offer(1)))
    other = offer(1, payload={"customer_id": "somebody"})
    ran = system.run("enqueue", "--file", "-", "--json", stdin=lines(offer(2), other, offer(3)))
    assert ran.code == 2
    assert [job["line"] for job in ran.objects()] == [1, 3]
    assert "line 2: key: " in ran.err


def test_enqueue_lists_only_so_many_bad_lines(largesse: Command) -> None:
    """A person is not flooded, a program gets them all."""
    jobs = lines(*[{"kind": "sms"} for _ in range(120)])
    env = {**NOWHERE}
    assert len(largesse("enqueue", "-f", "-", stdin=jobs, env=env).err.splitlines()) == 52
    ran = largesse("enqueue", "-f", "-", "--json", stdin=jobs, env=env)
    assert len(ran.err.splitlines()) == 121


def test_enqueue_needs_a_job(largesse: Command) -> None:
    """Neither too little nor both ways at once."""
    assert "give KIND and PAYLOAD" in largesse("enqueue").err
    ran = largesse("enqueue", "gift-checkout", "-", "--file", "-")
    assert ran.code == 2
    assert "--file" in ran.err
    assert largesse("enqueue", "gift-checkout", "no.json", env=NOWHERE).code == 2
    assert largesse("enqueue", "--wait", "soon").code == 2


def test_enqueue_without_redis_fails_within_a_second(largesse: Command) -> None:
    """Exit 4 and what to do next; the second is on top of a slow start of Python."""
    largesse("version")
    started = time.monotonic()
    ran = largesse("enqueue", "personalized-offer", "-", stdin=json.dumps(OFFER), env=NOWHERE)
    took_s = time.monotonic() - started
    assert (ran.code, ran.out) == (4, "")
    assert "you can retry with the same key" in ran.err
    assert ran.err.count("\n") == 1
    assert took_s < 5


def test_enqueue_without_settings_names_the_variable(largesse: Command) -> None:
    """Exit 3, the variable and its remedy, on one line."""
    ran = largesse("enqueue", "personalized-offer", "-", stdin=json.dumps(OFFER))
    assert (ran.code, ran.out) == (3, "")
    assert "LARGESSE_REDIS_URL is not set" in ran.err
    assert ran.err.count("\n") == 1
