"""What lies on the disk of Redis after real jobs ran: nothing private, once there are keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.keys import keys
from rig.processes import Processes
from rig.sandbox import SandboxServer
from rig.server import RedisServer
from rig.system import System
from rig.waiting import until

from worker import JobFailedError, JobState, Settings
from worker.jobs.job import Job

EMAIL = "kanari.bird@example.com"
REDIRECT = "https://kanaribird.example.com/thanks"
GIFT = {
    "gifter": {"customer_id": "cust_kanaribird"},
    "redirect_url": REDIRECT,
    "subscription_items": [{"item_price_id": "basic-USD"}],
}
OFFER = {
    "customer_id": "cust_kanaribird",
    "email": EMAIL,
    "first_name": "Kanaribird",
    "request_context": {
        "timezone": "Europe/Berlin",
        "url": "https://shop.example/offers",
        "user_agent": "Mozilla/5.0 Kanari",
        "locale": "en-US",
    },
}
ORIGIN = {"user": EMAIL, "ip": "203.0.113.77"}
#: Rejected by the API; the answer names the parameter.
REJECTED = {"subscription_items": [{"item_price_id": "missing_plan"}]}
#: What each text is of.
MARKS = {
    EMAIL: "payload",
    "Kanaribird": "payload",
    REDIRECT: "payload",
    "203.0.113.77": "options",
    "kanari-order": "the caller's key",
    "/pages/v3/": "outcome: the page's address",
    '"hosted_page":{': "outcome: its members",
    "subscription_items[item_price_id]": "failure: the parameter at fault",
    "missing_plan": "payload of a dead letter",
}


@pytest.fixture
def server(redis_server_factory: Callable[..., RedisServer]) -> RedisServer:
    """A server that writes everything to disk, uncompressed."""
    config = {"appendonly": "yes", "appendfsync": "always", "rdbcompression": "no"}
    return redis_server_factory(config=config)


@pytest.fixture
def stored(
    server: RedisServer, sandbox_server: SandboxServer, spawn: Processes, tmp_path: Path
) -> Iterator[System]:
    """A system on that server."""
    (tmp_path / "system").mkdir()
    running = System(server.url, sandbox_server, spawn, tmp_path / "system")
    yield running
    running.close()


def run_jobs(system: System) -> list[str]:
    """Let a page, offers, a rejection and a cancellation come about; one job stays delayed."""
    system.worker()
    producer = system.producer()
    gift = producer.gift_checkout(GIFT, key="kanari-order-1", origin=ORIGIN)
    offer = producer.personalized_offer(OFFER, key="kanari-order-2", origin=ORIGIN)
    dead = producer.gift_checkout(REJECTED, key="kanari-order-3")
    later = producer.personalized_offer(OFFER, key="kanari-order-4", origin=ORIGIN, delay_s=600)
    gone = producer.gift_checkout(GIFT, key="kanari-order-5", delay_s=600)
    gone.cancel()
    page = gift.result(timeout=30).hosted_page
    assert page is not None
    assert "/pages/v3/" in page.url
    assert offer.result(timeout=30).offers is not None
    with pytest.raises(JobFailedError) as failed:
        dead.result(timeout=30)
    assert failed.value.failure.param is not None
    assert later.state() is JobState.DELAYED
    assert producer.gift_checkout(GIFT, key="kanari-order-1", origin=ORIGIN).accepted == "known"
    return [job.id for job in (gift, offer, dead, later, gone)]


def on_disk(server: RedisServer) -> dict[str, bytes]:
    """Bytes of the append-only files, and of a snapshot of the whole memory."""
    with server.client() as client:
        client.save()
    server.kill()
    aof = b"".join(one.read_bytes() for one in server.data_dir.rglob("*.aof"))
    return {"AOF": aof, "RDB": (server.data_dir / "dump.rdb").read_bytes()}


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_disk_holds_nothing_private(server: RedisServer, stored: System, encrypted: bool) -> None:
    """Without keys the search finds each text in both files; with keys it finds none in either."""
    if encrypted:
        stored.environ["LARGESSE_ENCRYPTION_KEYS"] = keys("k1")
    ids = run_jobs(stored)
    settings = Settings.from_env(stored.environ)
    digest = Job.prepare(settings, "gift_checkout", GIFT, options={"origin": ORIGIN}).digest
    found = on_disk(server)
    # A plain digest would confirm a guess of the payload.
    for text in (*MARKS, digest):
        for place, data in found.items():
            assert (text.encode() in data) is not encrypted, f"{text} in {place}"
    for data in found.values():
        assert all(job_id.encode() in data for job_id in ids)
        assert b"acme-test" in data
        assert (b"k1:" in data) is encrypted


def test_waiting_and_following_decrypt(stored: System) -> None:
    """A waiter, a read, the stream and the key give what they give without keys."""
    stored.environ["LARGESSE_ENCRYPTION_KEYS"] = keys("k1")
    ids = run_jobs(stored)
    reader = stored.producer().results
    results = {one.job_id: one for one in reader.follow("billing", timeout=1)}
    assert set(results) == {job_id for job_id in ids if job_id != ids[3]}
    assert reader.get(ids[0]).hosted_page == results[ids[0]].hosted_page is not None
    assert reader.get(ids[0]).key == "kanari-order-1"
    assert reader.get_many(ids)[ids[3]].state is JobState.DELAYED  # type: ignore[union-attr]


def test_published_outcome_is_encrypted(stored: System) -> None:
    """Who listens on the channel hears no more than who reads the key."""
    stored.environ["LARGESSE_ENCRYPTION_KEYS"] = keys("k1")
    heard: list[Any] = []
    with stored.redis() as client, client.pubsub() as listener:
        listener.psubscribe("*done:*")
        run_jobs(stored)

        def listen() -> bool:
            message = listener.get_message(ignore_subscribe_messages=True, timeout=0.1)
            heard.extend([message["data"]] if message else [])
            return len(heard) >= 4

        until(listen, what="the published outcomes")
        _no_page(heard)
        streamed: Any = client.xrange("{largesse:0}:outcomes")
        _no_page([fields[b"outcome"] for _, fields in streamed])


def _no_page(texts: list[bytes]) -> None:
    """The one that ended in a script has no page and stays plain; all others are encrypted."""
    plain = [one for one in texts if not one.startswith(b"eyJ")]
    assert len(plain) == 1
    assert b'"state":"cancelled"' in plain[0]
