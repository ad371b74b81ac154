"""`largesse result`: what became of jobs, in the order of their ids."""

from __future__ import annotations

import json

from rig.command import Command
from rig.system import System

SHAPE = ["job_id", "kind", "site", "state", "attempts", "hosted_page", "offers", "error"]


def test_result_of_a_page(system: System) -> None:
    """Id, address, expiry and state of the page; offers and error are null."""
    system.worker()
    job = system.producer().gift_checkout({}, key="order-1")
    ran = system.run("result", job.id, "--wait", "20", "--json")
    assert ran.code == 0, ran.err
    (shown,) = ran.objects()
    assert list(shown) == SHAPE
    assert list(shown["hosted_page"]) == ["id", "url", "expires_at", "state"]
    assert shown["job_id"] == job.id
    assert (shown["kind"], shown["site"]) == ("gift_checkout", "acme-test")
    assert (shown["state"], shown["attempts"]) == ("succeeded", 1)
    assert shown["offers"] is None
    assert shown["error"] is None
    line = system.run("result", job.id).out
    assert shown["hosted_page"]["url"] in line
    assert "until 20" in line


def test_result_of_offers(system: System) -> None:
    """Offers are listed; no offer is a success, too."""
    system.worker()
    producer = system.producer()
    some = producer.personalized_offer({"customer_id": "cust_1"})
    none = producer.personalized_offer({"customer_id": "no_offer_1"})
    ran = system.run("result", some.id, none.id, "--wait", "20", "--json")
    assert ran.code == 0, ran.err
    assert [len(shown["offers"]) for shown in ran.objects()] == [1, 0]
    assert "0 offers" in system.run("result", none.id).out


def test_result_of_a_rejected_job(system: System) -> None:
    """Exit 1, and why: class, status, code and parameter."""
    system.worker()
    payload = {"subscription_items": [{"item_price_id": "missing_1"}]}
    job = system.producer().gift_checkout(payload)
    ran = system.run("result", job.id, "--wait", "20", "--json")
    assert ran.code == 1
    (shown,) = ran.objects()
    assert shown["state"] == "failed"
    assert shown["hosted_page"] is None
    error = shown["error"]
    assert list(error) == ["class", "status", "api_error_code", "param", "reason", "retryable"]
    assert (error["class"], error["status"]) == ("rejected", 404)
    assert error["api_error_code"] == "resource_not_found"
    assert error["retryable"] is False  # the same request gets the same answer


def test_result_of_a_job_that_waits(system: System) -> None:
    """Without --wait the state is shown at once, exit 5."""
    job = system.producer().gift_checkout({})
    ran = system.run("result", job.id, "--json")
    assert ran.code == 5
    assert ran.objects()[0]["state"] == "queued"
    assert system.run("result", job.id, "--wait", "0.1").code == 5


def test_result_of_an_unknown_job(system: System) -> None:
    """Exit 6, in the same shape."""
    ran = system.run("result", "0" * 32, "--json")
    assert ran.code == 6
    (shown,) = ran.objects()
    assert list(shown) == SHAPE
    assert shown["state"] == "missing"
    assert "missing" in system.run("result", "nonsense").out


def test_result_reads_what_enqueue_prints(system: System) -> None:
    """The output of `enqueue --json` is the input of `result --file`, order kept."""
    jobs = "".join(
        json.dumps({"kind": "personalized_offer", "payload": {"customer_id": f"c{n}"}}) + "\n"
        for n in range(30)
    )
    accepted = system.run("enqueue", "--file", "-", "--json", stdin=jobs)
    system.worker()
    ran = system.run("result", "--file", "-", "--wait", "30", "--json", stdin=accepted.out)
    assert ran.code == 0, ran.err
    assert [job["job_id"] for job in ran.objects()] == [
        job["job_id"] for job in accepted.objects()
    ]
    assert {job["state"] for job in ran.objects()} == {"succeeded"}


def test_result_ends_with_the_worst_of_several(system: System) -> None:
    """A job without an outcome and one that is missing: the missing one counts more."""
    job = system.producer().gift_checkout({})
    ran = system.run("result", job.id, "unknown", "--json")
    assert ran.code == 6
    assert [shown["state"] for shown in ran.objects()] == ["queued", "missing"]


def test_result_of_an_expired_page_is_not_handed_out(system: System) -> None:
    """A page past its expiry is not shown as good: exit 6."""
    system.admin.set(page_expires_s=1)
    system.worker()
    job = system.producer().gift_checkout({})
    assert system.run("result", job.id, "--wait", "20").code in {0, 6}
    system.wait_past_expiry(job.id)
    ran = system.run("result", job.id, "--json")
    assert ran.code == 6
    assert ran.objects()[0]["hosted_page"] is None


def test_result_needs_an_id(largesse: Command) -> None:
    """Without an id the command says how to give one."""
    ran = largesse("result")
    assert ran.code == 2
    assert "JOB_ID" in ran.err


def test_result_without_redis_ends_with_4(largesse: Command) -> None:
    """One line, with and without --wait."""
    env = {"LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0"}
    for more in ((), ("--wait", "5")):
        ran = largesse("result", "x", *more, env=env)
        assert ran.code == 4
        assert ran.err.count("\n") == 1
