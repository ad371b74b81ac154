"""The producer: one key one job, batches, faults, and Redis unreachable or full."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis
from rig.producing import GIFT, OFFER
from rig.proxy import ChaosProxy
from rig.server import RedisServer
from rig.stopwatch import Stopwatch

from worker import AsyncProducer, Producer, Settings
from worker.client import connections
from worker.engine import enqueue as enqueue_module
from worker.engine.connection import PRODUCER
from worker.errors import (
    BrokerUnavailableError,
    InvalidJobError,
    JobConflictError,
    JobFailedError,
    QueueFullError,
    ResultMissingError,
    SettingsError,
)
from worker.jobs import shortened_notice
from worker.jobs.job import QUEUE, Job, idempotency_key
from worker.settings.secret import Secret
from worker.settings.site import Site

Gift = Callable[..., Any]
OTHER = {"subscription_items": [{"item_price_id": "other-USD-monthly", "quantity": 1}]}


def spec(**changes: Any) -> dict[str, Any]:
    """One job of a batch."""
    return {"kind": "gift_checkout", "payload": GIFT, "site": "acme-test", **changes}


# -- keys


def test_same_key_is_the_same_job(gift: Gift, producer: Producer, hand: Any) -> None:
    """A key used again gives the same job, before, while and after it runs, and its result."""
    first = gift(key="order-1")
    assert first.accepted == "new"
    again = gift(key="order-1")
    assert (again.id, again.accepted) == (first.id, "known")
    assert hand.serve() == [first.id]
    assert gift(key="order-1").result(timeout=5).hosted_page.id == f"hp_{first.id}"
    assert hand.serve() == []


def test_same_key_means_site_and_kind_too(producer: Producer) -> None:
    """The key names a request of one site and kind; elsewhere it is another job."""
    made = {
        producer.gift_checkout(GIFT, key="k", site="a").id,
        producer.gift_checkout(GIFT, key="k", site="b").id,
        producer.personalized_offer(OFFER, key="k", site="a").id,
    }
    assert len(made) == 3


def test_without_a_key_every_call_is_a_job(gift: Gift, hand: Any) -> None:
    """Nothing is guessed from equal payloads."""
    made = {gift().id for _ in range(5)}
    assert len(made) == 5
    assert set(hand.serve()) == made


def test_same_key_from_twenty_threads_is_one_job(gift: Gift, hand: Any) -> None:
    """However many ask at once, one of them made the job and it runs once."""
    with ThreadPoolExecutor(20) as pool:
        handles = list(pool.map(lambda _: gift(key="order-1"), range(100)))
    assert len({one.id for one in handles}) == 1
    assert [one.accepted for one in handles].count("new") == 1
    assert len(hand.serve()) == 1


def test_another_payload_under_the_key_is_a_conflict(gift: Gift, producer: Producer) -> None:
    """The conflict names the job and leaves it as it was."""
    job = gift(key="order-1")
    with pytest.raises(JobConflictError) as raised:
        producer.gift_checkout(OTHER, key="order-1", site="acme-test")
    assert job.id in str(raised.value)
    assert job.state() == "queued"


def test_conflict_names_what_differs(gift: Gift, producer: Producer, hand: Any) -> None:
    """By path and never by value; also once the job has succeeded and its payload is gone."""
    changed = {**GIFT, "subscription_items": [{"item_price_id": "canary", "quantity": 2}]}
    for key in ("waiting", "succeeded"):
        job = gift(key=key)
        if key == "succeeded":
            hand.serve()
        with pytest.raises(JobConflictError) as raised:
            producer.gift_checkout(changed, key=key, site="acme-test", skip=["email"])
        assert raised.value.differs == (
            "options.skip", "payload.subscription_items.0.item_price_id",
            "payload.subscription_items.0.quantity",
        )  # fmt: skip
        assert "differs in: options.skip, payload.sub" in str(raised.value)
        assert "canary" not in str(raised.value)
        assert pickle.loads(pickle.dumps(raised.value)).differs == raised.value.differs
        assert job.id == raised.value.job_id


def test_conflict_of_a_job_without_a_sketch_is_told(
    gift: Gift, producer: Producer, client: redis.Redis
) -> None:
    """A job of another producer: that it differs is known, and not in what."""
    job = gift(key="order-1")
    client.hdel(f"{{largesse:0}}:job:{job.id}", "parts")
    with pytest.raises(JobConflictError, match="which has another payload or other options"):
        producer.gift_checkout(OTHER, key="order-1", site="acme-test")


def test_record_stays_small(gift: Gift, client: redis.Redis) -> None:
    """Redis keeps the record in its small form, which no value of more than 64 bytes may break."""
    job = gift(key="order-1", skip=["email"], origin={"ip": "::1", "device": "x" * 200})
    found: Any = client.object("encoding", f"{{largesse:0}}:job:{job.id}")
    assert found in {b"listpack", b"ziplist"}


@pytest.mark.parametrize(
    "change", [{"skip": ["email"]}, {"business_entity_id": "b"}, {"brand_id": "b"},
               {"origin": {"user": "u@example.com"}}],
)  # fmt: skip
def test_what_shapes_the_request_is_part_of_the_payload(
    gift: Gift, change: dict[str, Any]
) -> None:
    """Other headers under the same key are another request."""
    gift(key="order-1")
    with pytest.raises(JobConflictError):
        gift(key="order-1", **change)


@pytest.mark.parametrize("change", [{"delay_s": 5}, {"deadline_s": 60}, {"lane": "bulk"}])
def test_what_steers_the_queue_is_not(gift: Gift, change: dict[str, Any]) -> None:
    """Another delay, deadline or lane under the same key is the same request."""
    assert gift(key="order-1").id == gift(key="order-1", **change).id


def test_idempotency_key_depends_on_nothing_but_the_job(gift: Gift, settings: Settings) -> None:
    """Another process derives the same; a new epoch gives another."""
    job = gift(key="order-1")
    with Producer(settings) as other:
        same = other.gift_checkout(GIFT, key="order-1", site="acme-test")
    assert idempotency_key(same.id, 0) == idempotency_key(job.id, 0)
    assert idempotency_key(job.id, 1) != idempotency_key(job.id, 0)
    assert len(idempotency_key(job.id, 0)) <= 100


# -- batches


def test_batch_of_thousands(producer: Producer, client: redis.Redis) -> None:
    """Thousands of jobs take a few round trips, come in order and are all there."""
    calls = _evals(client)
    handles = producer.enqueue_many(spec(key=f"order-{n}") for n in range(3000))
    assert _evals(client) - calls <= 15
    assert [one.key for one in handles] == [f"order-{n}" for n in range(3000)]
    line: Any = client.lrange("{largesse:0}:q:" + QUEUE + ":line:acme-test:interactive", 0, -1)
    assert [one.decode() for one in line] == [one.id for one in handles]


def test_batch_is_deduplicated_inside_and_outside(gift: Gift, producer: Producer) -> None:
    """The same key twice in a batch, or in the queue before, is one job."""
    before = gift(key="a")
    handles = producer.enqueue_many([spec(key="a"), spec(key="b"), spec(key="b"), spec()])
    assert [one.accepted for one in handles] == ["known", "new", "known", "new"]
    assert handles[0].id == before.id
    assert handles[1].id == handles[2].id


def test_batch_with_a_fault_is_refused_whole(producer: Producer, hand: Any) -> None:
    """Faults are named by the place of their job, and nothing is enqueued."""
    jobs = [
        spec(),
        spec(payload={"subscription_items": "no"}),
        spec(kind="nothing"),
        {"kind": 1, "site": "a"},
    ]
    with pytest.raises(InvalidJobError) as raised:
        producer.enqueue_many(jobs)
    paths = raised.value.messages.keys()
    assert {path.split(".")[0] for path in paths} == {"1", "2", "3"}
    assert hand.serve() == []


def test_batch_with_a_conflict_takes_the_others(gift: Gift, producer: Producer, hand: Any) -> None:
    """A conflict is raised once the others are in."""
    job = gift(key="a")
    with pytest.raises(JobConflictError):
        producer.enqueue_many([spec(key="b"), spec(key="a", payload=OTHER), spec(key="c")])
    assert len(hand.serve()) == 3
    assert job.state() == "succeeded"


def test_batch_of_many_sites_is_spread(redis_url: str, client: redis.Redis) -> None:
    """With several shards each site's jobs are on its own, and handles come in order."""
    with Producer(Settings(redis_url=redis_url, shards=4)) as producer:
        sites = [f"site-{n % 16}" for n in range(160)]
        handles = producer.enqueue_many(spec(site=site) for site in sites)
        assert [one.site for one in handles] == sites
        assert {one.state() for one in handles} == {"queued"}
        for one in handles:
            shard = producer.keyspace.shard_of_site(one.site)
            assert client.exists(f"{{largesse:{shard}}}:job:{one.id}")
    assert len({key.split(b"}")[0] for key in client.keys("*:q:*")}) > 1


def test_empty_batch_asks_nobody(free_port: int) -> None:
    """No jobs, no call."""
    with Producer(Settings(redis_url=f"redis://127.0.0.1:{free_port}/0")) as producer:
        assert producer.enqueue_many([]) == []


# -- faults


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"payload": {"subscription_items": "no"}}, "subscription_items"),
        ({"payload": None, "kind": "personalized_offer"}, ""),
        ({"kind": "third_operation"}, "kind"),
        ({"key": ""}, "key"),
        ({"key": "x" * 201}, "key"),
        ({"key": "line\nbreak"}, "key"),
        ({"key": 7}, "key"),
        ({"key": " order-1"}, "key"),
        ({"key": "order-1 "}, "key"),
        ({"key": " "}, "key"),
        ({"options": {"skip": ["nothing"]}}, "options.skip"),
        ({"options": {"lane": "fast"}}, "options.lane"),
        ({"options": {"deadline_s": 0}}, "options.deadline_s"),
        ({"options": {"delay_s": -1}}, "options.delay_s"),
        ({"options": {"unknown": 1}}, "options"),
    ],
)
def test_faulty_job_is_refused_before_it_is_sent(
    producer: Producer, hand: Any, change: dict[str, Any], path: str
) -> None:
    """Each fault is named by its path and the queue never hears of the job."""
    given = spec(**change)
    with pytest.raises(InvalidJobError) as raised:
        producer.enqueue(given.pop("kind"), given.pop("payload"), **given)
    assert any(one.startswith(path) for one in raised.value.messages), raised.value.messages
    assert hand.serve() == []


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (1042, "Must be a string, not int."),
        (" order-1", "Must not begin or end with a blank."),
        ("", "Must be 1 to 200 printable characters."),
    ],
    ids=repr,
)
def test_faulty_key_is_told_with_the_payloads_faults(
    producer: Producer, key: Any, text: str
) -> None:
    """The text says which rule the key breaks, and faults of the payload come with it."""
    for payload in (GIFT, {"layout": "huge"}):
        with pytest.raises(InvalidJobError) as raised:
            producer.gift_checkout(payload, key=key, site="acme-test")
        assert raised.value.messages["key"] == [text]
        assert ("layout" in raised.value.messages) is (payload is not GIFT)


def test_unknown_site_is_refused(redis_url: str) -> None:
    """A producer that knows its sites takes no other."""
    site = Site(name="acme-test", api_key=Secret("env:NOBODY"))
    settings = Settings(redis_url=redis_url, sites={"acme-test": site}, default_site="acme-test")
    with Producer(settings) as producer:
        assert producer.gift_checkout(GIFT).site == "acme-test"
        with pytest.raises(SettingsError):
            producer.gift_checkout(GIFT, site="acme-tset")


def test_defaults_of_the_site_are_applied_at_enqueue(redis_url: str, hand: Any) -> None:
    """What the site's settings say goes into the job, so that every attempt sends the same."""
    site = Site(
        name="acme-test", api_key=Secret("env:NOBODY"), business_entity_id="be_1",
        brand_id="br_1", skip=("email",),
    )  # fmt: skip
    settings = Settings(redis_url=redis_url, sites={"acme-test": site}, default_site="acme-test")
    with Producer(settings) as producer:
        producer.gift_checkout(GIFT)
        producer.gift_checkout(GIFT, skip=["webhooks"], business_entity_id="be_2")
    first, second = (json.loads(one.message)["kwargs"]["options"] for one in hand.fetch())
    assert first == {"business_entity_id": "be_1", "brand_id": "br_1", "skip": ["email"]}
    assert second == {"business_entity_id": "be_2", "brand_id": "br_1", "skip": ["webhooks"]}


# -- steering


def test_deadline_delay_and_lane_reach_the_queue(gift: Gift, hand: Any) -> None:
    """The queue's options are kept on the record and not in the request."""
    late = gift(lane="bulk")
    now = gift(deadline_s=60)
    delayed = gift(delay_s=30)
    assert delayed.state() == "delayed"
    leases = hand.fetch()
    assert [one.id for one in leases] == [now.id, late.id]
    deadline = leases[0].deadline_at - leases[0].enqueued_at
    assert deadline == 60_000
    assert json.loads(leases[0].message)["kwargs"]["options"] == {}


def test_cancel(gift: Gift, hand: Any) -> None:
    """A waiting job is cancelled at once, a running one after its attempt, an ended one not."""
    waiting, running = gift(), gift(lane="bulk")
    assert waiting.cancel() == "cancelled"
    with pytest.raises(JobFailedError) as raised:
        waiting.result(timeout=5)
    assert raised.value.failure.cls == "cancelled"
    (lease,) = hand.fetch()
    assert lease.id == running.id
    assert running.cancel() == "cancelling"
    hand.end(lease)
    assert running.cancel() == "succeeded"
    with pytest.raises(ResultMissingError):
        hand_of(running).cancel("0" * 32)


def hand_of(handle: Any) -> Any:
    """The reader behind a handle."""
    return handle._reader


def test_events_tell_the_story(gift: Gift, hand: Any) -> None:
    """Enqueued, each attempt, published: in order, with their times."""
    job = gift()
    (lease,) = hand.fetch()
    hand.queue.retry(lease, attempt='{"at":1,"status":503}')
    (lease,) = hand.fetch()
    hand.end(lease)
    events = job.events()
    assert [one["event"] for one in events] == ["enqueued", "attempt", "published"]
    assert events[1]["status"] == 503
    assert events[2]["state"] == "succeeded"


def test_result_as_the_app_sees_it(gift: Gift, hand: Any) -> None:
    """The page with its id and URL; its repr keeps the URL to itself."""
    job = gift(key="order-1")
    hand.serve()
    result = job.result(timeout=5)
    assert (result.key, result.kind, result.site) == ("order-1", "gift_checkout", "acme-test")
    assert result.hosted_page.url == "https://pay.example/x"
    assert "pay.example" not in repr(result)


# -- Redis unreachable, slow or full


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue of connections is full: a new one gets no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        yield port
        for filler in fillers:
            filler.close()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


OUTAGES = [closed_port, silent_port, black_hole]


@pytest.mark.parametrize("outage", OUTAGES)
def test_producer_learns_within_a_second_that_redis_is_unreachable(outage: Any) -> None:
    """Refused, silent or swallowed: enqueue raises within 1 s, time after time."""
    with outage() as port, Producer(Settings(redis_url=f"redis://127.0.0.1:{port}/0")) as away:
        for _ in range(2):
            begun = Stopwatch()
            with pytest.raises(BrokerUnavailableError):
                away.gift_checkout(GIFT, site="acme-test")
            assert begun.own_s < 1.05


@pytest.mark.anyio
@pytest.mark.parametrize("outage", OUTAGES)
async def test_async_producer_learns_it_too(outage: Any) -> None:
    """The same on a loop, which is never blocked meanwhile."""
    with outage() as port:
        async with AsyncProducer(Settings(redis_url=f"redis://127.0.0.1:{port}/0")) as away:
            begun = Stopwatch()
            with pytest.raises(BrokerUnavailableError):
                await away.gift_checkout(GIFT, site="acme-test")
            assert begun.own_s < 1.05


def test_producer_learns_it_when_an_open_connection_falls_silent(
    redis_server: RedisServer,
) -> None:
    """A server that stops answering on a connection in use is away within 1 s as well."""
    with (
        ChaosProxy(redis_server.port) as proxy,
        Producer(Settings(redis_url=f"redis://127.0.0.1:{proxy.port}/0")) as producer,
    ):
        producer.gift_checkout(GIFT, key="a", site="acme-test")
        proxy.set(stall_up=True, stall_down=True)
        begun = Stopwatch()
        with pytest.raises(BrokerUnavailableError):
            producer.gift_checkout(GIFT, key="b", site="acme-test")
        assert begun.own_s < 1.05
        proxy.heal()
        assert producer.gift_checkout(GIFT, key="b", site="acme-test").state() == "queued"


def test_stale_connection_is_not_noticed(redis_server: RedisServer) -> None:
    """A server that was restarted between two calls costs the second one nothing."""
    with Producer(Settings(redis_url=redis_server.url)) as producer:
        producer.gift_checkout(GIFT, key="a", site="acme-test")
        redis_server.restart()
        assert producer.gift_checkout(GIFT, key="b", site="acme-test").accepted == "new"
        assert producer.gift_checkout(GIFT, key="a", site="acme-test").accepted == "known"


def test_lost_reply_makes_one_job(redis_server: RedisServer) -> None:
    """When the answer gets lost the caller is told; the repeat with the key is the same job."""
    with (
        ChaosProxy(redis_server.port) as proxy,
        Producer(Settings(redis_url=f"redis://127.0.0.1:{proxy.port}/0")) as producer,
    ):
        producer.gift_checkout(GIFT, key="a", site="acme-test")
        proxy.set(drop_down=True)
        with pytest.raises(BrokerUnavailableError):
            producer.gift_checkout(GIFT, key="b", site="acme-test")
        proxy.heal()
        proxy.cut()
        assert producer.gift_checkout(GIFT, key="b", site="acme-test").accepted == "known"


@pytest.mark.parametrize("way", ["up", "down"])
def test_batch_outlasts_broken_connections(redis_server: RedisServer, way: str) -> None:
    """Calls that break off within a batch are made again on another connection: each job once."""
    with (
        ChaosProxy(redis_server.port) as proxy,
        Producer(Settings(redis_url=f"redis://127.0.0.1:{proxy.port}/0")) as producer,
        redis.Redis.from_url(redis_server.url) as client,
    ):
        # Enough for one call of 250 jobs on each connection, and not for two.
        proxy.set(**{f"cut_{way}_after": {"up": 200_000, "down": 9_000}[way]})
        handles = producer.enqueue_many(spec(key=f"order-{n}") for n in range(1500))
        line: Any = client.lrange("{largesse:0}:q:" + QUEUE + ":line:acme-test:interactive", 0, -1)
    assert proxy.accepted > 3
    assert [one.decode() for one in line] == [one.id for one in handles]
    if way == "up":
        assert {one.accepted for one in handles} == {"new"}


def test_batch_outlasts_a_flush_of_the_scripts(
    producer: Producer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Redis forgets the script in the middle of a batch, nothing is lost or doubled."""
    made = Job.message

    def forgetful(job: Job, *args: Any) -> Any:
        if job.key in {"order-300", "order-900"}:
            client.script_flush()
        return made(job, *args)

    monkeypatch.setattr(Job, "message", forgetful)
    handles = producer.enqueue_many(spec(key=f"order-{n}") for n in range(1200))
    assert {one.accepted for one in handles} == {"new"}
    line: Any = client.lrange("{largesse:0}:q:" + QUEUE + ":line:acme-test:interactive", 0, -1)
    assert [one.decode() for one in line] == [one.id for one in handles]


def test_batch_that_redis_leaves_is_completed_by_its_repeat(redis_server: RedisServer) -> None:
    """A batch that Redis leaves in the middle is refused in time; repeated, it is in once."""
    with (
        ChaosProxy(redis_server.port) as proxy,
        Producer(Settings(redis_url=f"redis://127.0.0.1:{proxy.port}/0")) as producer,
        redis.Redis.from_url(redis_server.url) as client,
    ):
        specs = [spec(key=f"order-{n}") for n in range(1000)]
        proxy.set(stall_up_after=300_000)
        started = Stopwatch()
        with pytest.raises(BrokerUnavailableError):
            producer.enqueue_many(specs)
        assert started.own_s < 5  # some calls of less than a second each
        proxy.heal()
        proxy.cut()
        handles = producer.enqueue_many(specs)
        line: Any = client.lrange("{largesse:0}:q:" + QUEUE + ":line:acme-test:interactive", 0, -1)
    assert {one.accepted for one in handles} <= {"new", "known"}
    assert sorted(one.decode() for one in line) == sorted(one.id for one in handles)


def test_full_redis_is_told(redis_server_factory: Callable[..., RedisServer]) -> None:
    """A producer is told that nothing fits, batches too; later it goes on with no restart."""
    server = redis_server_factory()
    with Producer(Settings(redis_url=server.url)) as producer:
        job = producer.gift_checkout(GIFT, key="a", site="acme-test")
        server.config_set(maxmemory=1)
        with pytest.raises(QueueFullError):
            producer.gift_checkout(GIFT, key="b", site="acme-test")
        with pytest.raises(QueueFullError):
            producer.enqueue_many([spec(), spec()])
        assert job.state() == "queued"
        server.config_set(maxmemory=0)
        assert producer.gift_checkout(GIFT, key="b", site="acme-test").accepted == "new"


# -- on a loop


@pytest.mark.anyio
async def test_async_producer_does_the_same(settings: Settings, hand: Any) -> None:
    """Keys, batches, conflicts, results, events and cancel on a loop."""
    async with AsyncProducer(settings) as producer:
        job = await producer.gift_checkout(GIFT, key="a", site="acme-test")
        offer = await producer.personalized_offer(OFFER, site="acme-test", lane="bulk")
        again, *rest = await producer.enqueue_many([spec(key="a"), spec(key="b"), spec(key="b")])
        assert (again.id, again.accepted) == (job.id, "known")
        assert rest[0].id == rest[1].id
        with pytest.raises(JobConflictError):
            await producer.gift_checkout(OTHER, key="a", site="acme-test")
        with pytest.raises(InvalidJobError):
            await producer.enqueue("nothing", {}, site="acme-test")
        assert await offer.cancel() == "cancelled"
        assert len(hand.serve()) == 2
        assert (await job.result(timeout=5)).hosted_page.id == f"hp_{job.id}"
        assert await job.state() == "succeeded"
        assert [one["event"] for one in await job.events()] == ["enqueued", "published"]
        assert await producer.job(job.id).state() == "succeeded"
        with pytest.raises(ResultMissingError):
            await producer.job("0" * 32).state()


@pytest.mark.anyio
async def test_async_producer_never_blocks_the_loop(redis_server: RedisServer) -> None:
    """While Redis does not answer, other tasks go on."""
    async with AsyncProducer(Settings(redis_url=redis_server.url)) as producer:
        await producer.gift_checkout(GIFT, site="acme-test")
        redis_server.pause()
        try:
            task = asyncio.create_task(producer.gift_checkout(GIFT, site="acme-test"))
            longest, last = 0.0, time.monotonic()
            while not task.done():
                await asyncio.sleep(0.01)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            with pytest.raises(BrokerUnavailableError):
                await task
        finally:
            redis_server.resume()
        assert longest < 0.3


@pytest.mark.anyio
async def test_async_producer_shares_connections(
    settings: Settings, hand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of tasks that enqueue the same key at once make one job."""
    # On a busy machine the last of them waits for longer than the bound of one call.
    monkeypatch.setattr(enqueue_module, "CALL_S", 20)
    patience = replace(PRODUCER, connect_s=5, answer_s=20)
    monkeypatch.setattr(connections, "PRODUCER", patience)
    async with AsyncProducer(settings) as producer:
        tasks = [producer.gift_checkout(GIFT, key="a", site="acme-test") for _ in range(200)]
        handles = await asyncio.gather(*tasks)
    assert [one.accepted for one in handles].count("new") == 1
    assert len(hand.serve()) == 1


def _evals(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def test_batch_of_faulty_jobs_says_so_without_end(redis_url: str) -> None:
    """A thousand faulty jobs give a bounded error that says how many there are."""
    specs = [{"kind": "gift_checkout", "payload": {"nothing": 1}}] * 1000
    with (
        Producer(Settings(redis_url=redis_url)) as producer,
        pytest.raises(InvalidJobError) as caught,
    ):
        producer.enqueue_many([{**one, "site": "acme-test"} for one in specs])
    assert len(caught.value.messages) <= 101
    assert "1000" in caught.value.messages["jobs"][0]


# -- long request contexts


def test_long_request_context_is_shortened_and_told_once(
    producer: Producer, hand: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """The offer goes out; the log names the field once, and never the address."""
    monkeypatch.setattr(shortened_notice, "_told", set())
    address = f"https://shop.example/p?canary={'x' * 300}"
    offer = {**OFFER, "request_context": {**OFFER["request_context"], "url": address}}
    for _ in range(3):
        producer.personalized_offer(offer, site="acme-test")
    sent = [json.loads(one.message)["kwargs"]["payload"] for one in hand.fetch()]
    assert {one["request_context"]["url"] for one in sent} == {"https://shop.example/p"}
    (line,) = [one.getMessage() for one in caplog.records if one.name == "worker.client"]
    assert line.startswith("request_context.url is longer than the API takes")
    assert "canary" not in line


def test_long_request_context_is_refused_where_the_setting_says_so(redis_url: str) -> None:
    """`LARGESSE_SHORTEN_CONTEXT=false`: each field is named with its bound."""
    environ = {"LARGESSE_REDIS_URL": redis_url, "LARGESSE_SHORTEN_CONTEXT": "false"}
    offer = {**OFFER, "request_context": {**OFFER["request_context"], "url": "u" * 251}}
    with Producer.from_env(environ) as producer, pytest.raises(InvalidJobError) as raised:
        producer.personalized_offer(offer, site="acme-test")
    assert raised.value.messages == {"request_context.url": ["Longer than 250 characters."]}
