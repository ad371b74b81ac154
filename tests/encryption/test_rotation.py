"""Keys come and go while jobs run; a key that is lost, and texts that were changed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
import redis
from rig.keys import keys
from rig.producing import GIFT
from rig.system import System
from rig.waiting import until

from worker import JobHandle, JobState
from worker.engine.delivery import KEY_WAIT_MS
from worker.engine.keys import Keyspace
from worker.errors import (
    DecryptionError,
    EncryptionError,
    EncryptionKeyMissingError,
    JobConflictError,
    JobHeldError,
)

KEYS = Keyspace()
VARIABLE = "LARGESSE_ENCRYPTION_KEYS"


def with_keys(*ids: str) -> dict[str, str]:
    """Variables of a process with these keys."""
    return {VARIABLE: keys(*ids)}


def test_keys_can_be_turned_on_under_jobs(system: System) -> None:
    """Jobs of before there were keys run, are known again, and conflict as before."""
    plain = system.producer()
    first = plain.gift_checkout(GIFT, key="order-1")
    system.worker(env=with_keys("k1"))
    producer = system.producer(env=with_keys("k1"))
    assert producer.job(first.id).result(timeout=30).hosted_page is not None
    assert producer.gift_checkout(GIFT, key="order-1").accepted == "known"
    with pytest.raises(JobConflictError):
        producer.gift_checkout({}, key="order-1")
    # The result that the worker encrypted, asked for by an app that has no key yet.
    with pytest.raises(EncryptionKeyMissingError, match="key k1"):
        plain.job(first.id).result(timeout=5)


def test_conflict_is_told_under_any_key(system: System) -> None:
    """After a rotation the same order is known, another a conflict; without the key neither."""
    job = system.producer(env=with_keys("old")).gift_checkout(GIFT, key="order-1")
    rotated = system.producer(env=with_keys("new", "old"))
    assert rotated.gift_checkout(GIFT, key="order-1").accepted == "known"
    with pytest.raises(JobConflictError) as raised:
        rotated.gift_checkout({}, key="order-1")
    assert raised.value.differs == (
        "payload.subscription_items.0.item_price_id", "payload.subscription_items.0.quantity",
    )  # fmt: skip
    for env in (with_keys("new"), {}):
        keyless = system.producer(env=env)
        with pytest.raises(EncryptionKeyMissingError, match=f"{job.id} is encrypted with key old"):
            keyless.gift_checkout(GIFT, key="order-1")
    done = system.run("enqueue", "gift-checkout", system.run.write("gift.json", GIFT),
                      "--key", "order-1")  # fmt: skip
    assert done.code == 3
    assert "key old" in done.err


def wait_out(system: System, job: JobHandle) -> None:
    """Wait for the first delivery of a job, and let the wait for its key be over."""
    name = KEYS.job(job.id)
    with system.redis() as client:
        until(lambda: client.hexists(name, "first_delivery_at"), what="the delivery")
        client.hincrby(name, "first_delivery_at", -KEY_WAIT_MS)
        until(lambda: client.hget(name, "state") == b"held", timeout_s=30, what="the hold")


def test_lost_key_holds_the_job(system: System) -> None:
    """A job whose key is gone waits, is held with the reason, and runs once the key is back."""
    lost = system.producer(env=with_keys("lost"))
    job = lost.gift_checkout(GIFT, key="order-1")
    without = system.worker(env=with_keys("new"))
    good = system.producer(env=with_keys("new")).gift_checkout(GIFT, key="order-2")
    assert good.result(timeout=30).hosted_page is not None
    wait_out(system, job)
    with pytest.raises(JobHeldError):
        job.result(timeout=5)
    (held,) = system.run("held", "list", "--json").objects()
    assert held["job_id"] == job.id
    assert held["reason"] == "it is encrypted with key lost, and no worker could decrypt it"
    assert (held["attempts"], held["unsure_since"]) == (0, None)
    assert held["key"] == "encrypted with key lost"
    (line,) = [one for one in without.output().splitlines() if "job.held" in one]
    assert json.loads(line)["why"] == held["reason"]
    without.terminate()
    assert without.wait(30) == 0
    system.worker(env=with_keys("new", "lost"))
    assert system.run("held", "replay", job.id).code == 0
    keyed = system.producer(env=with_keys("new", "lost"))
    assert keyed.job(job.id).result(timeout=30).hosted_page is not None
    assert system.admin.counts()["pages"] == 2


def change(client: redis.Redis, name: str) -> None:
    """Change one character of a stored text, in the middle of its ciphertext."""
    data: bytes = client.get(name)  # type: ignore[assignment]
    place = data.rindex(b".") - 9
    letter = b"B" if data[place : place + 1] == b"A" else b"A"
    client.setrange(name, place, letter.decode())


def test_changed_message_is_held_and_not_sent(system: System) -> None:
    """One changed character of a message: held with the reason; its neighbours run."""
    producer = system.producer(env=with_keys("k1"))
    jobs = [producer.gift_checkout(GIFT, key=f"order-{number}") for number in range(3)]
    with system.redis() as client:
        change(client, KEYS.message(jobs[1].id))
    system.worker(env=with_keys("k1"))
    wait_out(system, jobs[1])
    for job in (jobs[0], jobs[2]):
        assert job.result(timeout=30).hosted_page is not None
    reason = producer.results.record(jobs[1].id).reason
    assert reason == (
        "it is encrypted with key k1, and was changed or is of another key, "
        "and no worker could decrypt it"
    )
    assert system.admin.counts()["executed"] == 2


def test_changed_and_moved_outcomes_are_refused(system: System) -> None:
    """A changed outcome, and one of another job, raise; they are never a page of somebody else."""
    system.worker(env=with_keys("k1"))
    producer = system.producer(env=with_keys("k1"))
    one, two = (producer.gift_checkout(GIFT, key=f"order-{number}") for number in range(2))
    assert one.result(timeout=30).hosted_page is not None
    assert two.result(timeout=30).hosted_page is not None
    with system.redis() as client:
        client.copy(KEYS.outcome(one.id), KEYS.outcome(two.id), replace=True)
        change(client, KEYS.outcome(one.id))
    for job in (one, two):
        with pytest.raises(DecryptionError, match=job.id):
            job.result(timeout=5)


@pytest.fixture
def ended(system: System) -> JobHandle:
    """A job that ended with a page, encrypted; its handle has no key."""
    system.worker(env=with_keys("k1"))
    job = system.producer(env=with_keys("k1")).gift_checkout(GIFT, key="order-1")
    job.result(timeout=30)
    return system.producer().job(job.id)


def test_reader_without_the_key_is_told(system: System, ended: JobHandle) -> None:
    """Each way to an outcome raises the error with key and next step; the state is plain."""
    reader = system.producer().results
    ways: list[Callable[[], object]] = [
        lambda: ended.result(timeout=5),
        lambda: reader.get(ended.id),
        lambda: reader.get_many([ended.id]),
        lambda: next(iter(reader.follow("billing", timeout=1))),
    ]
    for way in ways:
        with pytest.raises(EncryptionError, match=r"key k1.*LARGESSE_ENCRYPTION_KEYS") as caught:
            way()
        assert isinstance(caught.value, EncryptionKeyMissingError)
    assert reader.record(ended.id).state is JobState.SUCCEEDED
    # What it could not read was not handled: it comes again to a follower that has the key.
    keyed = system.producer(env=with_keys("k1")).results
    (again,) = keyed.follow("billing", timeout=1, claim_after=0)
    assert again.job_id == ended.id
    assert again.hosted_page is not None


def test_waiter_without_the_key_is_told(system: System) -> None:
    """A wait that is under way when the outcome is published ends with the error."""
    job = system.producer(env=with_keys("k1")).gift_checkout(GIFT)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            system.producer().job(job.id).result(timeout=30)
        except EncryptionKeyMissingError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)  # until it listens; without it the record is read, with the same end
    system.worker(env=with_keys("k1"))
    thread.join(30)
    assert [str(one.args[1]) for one in caught] == ["k1"]


def test_operator_without_the_key_sees_which_one(system: System, ended: JobHandle) -> None:
    """Commands show state and times, and in the place of the rest the id of the key."""
    (shown,) = system.run("jobs", "show", ended.id, "--json").objects()
    assert shown["state"] == "succeeded"
    assert shown["outcome"] == {"unreadable": "encrypted with key k1"}
    assert shown["key"] == "encrypted with key k1"
    done = system.run("result", ended.id)
    assert done.code == 3
    assert f"{ended.id} gift-checkout succeeded (encrypted with key k1)" in done.out
    (found,) = system.run("jobs", "list", "--key", "order-1", "--json").objects()
    assert found["job_id"] == ended.id
    waiting = system.producer(env=with_keys("k2")).gift_checkout(GIFT, delay_s=600)
    (masked,) = system.run("jobs", "show", waiting.id, "--json").objects()
    assert masked["payload"] == {"unreadable": "encrypted with key k2"}
    env = with_keys("k1", "k2")
    (revealed,) = system.run("jobs", "show", waiting.id, "--reveal", "--json", env=env).objects()
    assert revealed["payload"] == GIFT
    (whole,) = system.run("jobs", "show", ended.id, "--reveal", "--json", env=env).objects()
    page_id = whole["outcome"]["hosted_page"]["id"]
    (found,) = system.run("jobs", "list", "--page", page_id, "--json", env=env).objects()
    assert (found["job_id"], found["key"]) == (ended.id, "order-1")
