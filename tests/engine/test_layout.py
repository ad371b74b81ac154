"""The layout of a queue: the first to come writes it down, another one is refused by name."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import redis
from rig.producing import GIFT
from rig.queue import Queue, entry
from rig.system import System

from worker import AsyncProducer, LayoutError, Producer, Settings
from worker.engine.keys import RECORD_VERSION, Keyspace
from worker.engine.scripts import Scripts

#: A site whose shard is another one than 0 when there are eight.
FAR_SITE = "acme-test"


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings of an app with one shard."""
    return Settings(redis_url=redis_url)


def layout(client: redis.Redis, shard: int = 0) -> dict[bytes, bytes]:
    """What is written down on a shard."""
    found: dict[bytes, bytes] = client.hgetall(f"{{largesse:{shard}}}:layout")  # type: ignore[assignment]
    return found


def test_first_enqueue_writes_the_layout_down(settings: Settings, client: redis.Redis) -> None:
    """On every shard, whatever the site; later ones agree."""
    eight = replace(settings, shards=8)
    for _ in range(2):
        with Producer(eight) as producer:
            producer.gift_checkout(GIFT, site=FAR_SITE)
    for shard in range(8):
        assert layout(client, shard) == {b"shards": b"8", b"version": b"%d" % RECORD_VERSION}


@pytest.mark.parametrize(("first", "then"), [(1, 8), (8, 1)])
def test_enqueue_refuses_another_number_of_shards(
    settings: Settings, client: redis.Redis, first: int, then: int
) -> None:
    """The error names both numbers and the remedy, and nothing was enqueued."""
    with Producer(replace(settings, shards=first)) as producer:
        producer.gift_checkout(GIFT, site=FAR_SITE)
    before = client.dbsize()
    with Producer(replace(settings, shards=then)) as producer:
        calls: list[Callable[[], object]] = [
            lambda: producer.gift_checkout(GIFT, site=FAR_SITE),
            lambda: producer.enqueue_many(
                [{"kind": "gift_checkout", "payload": GIFT, "site": FAR_SITE}] * 600
            ),
        ]
        for call in calls:
            with pytest.raises(LayoutError) as caught:
                call()
            error = caught.value
            assert (error.shards, error.queue_shards) == (then, first)
            assert str(error) == (
                f"LARGESSE_SHARDS is {then}, and the queue in this Redis has {first}. "
                f"Set LARGESSE_SHARDS={first} for every app and worker of this queue."
            )
            assert str(pickle.loads(pickle.dumps(error))) == str(error)

    async def enqueue() -> None:
        async with AsyncProducer(replace(settings, shards=then)) as producer:
            with pytest.raises(LayoutError):
                await producer.gift_checkout(GIFT, site=FAR_SITE)

    asyncio.run(enqueue())
    assert client.dbsize() == before


def test_worker_with_another_number_of_shards_does_not_start(system: System) -> None:
    """Exit 3 for the whole fleet, on the loop and on threads; the message names both numbers."""
    system.producer().gift_checkout(GIFT)
    env = {**system.environ, "LARGESSE_SHARDS": "8"}
    for words, code in (
        (["worker.cli", "worker", "--processes", "2"], 3),
        (["dramatiq", "worker.main:setup", "--processes", "1"], None),
    ):
        fleet = system.spawn(["python", "-m", *words], env=env, name=words[0])
        assert fleet.wait(30) == code or code is None
        assert "LARGESSE_SHARDS is 8, and the queue in this Redis has 1." in fleet.output()


def test_emptied_redis_gets_its_layout_again(settings: Settings, client: redis.Redis) -> None:
    """The next enqueue writes it down."""
    with Producer(settings) as producer:
        producer.gift_checkout(GIFT, site=FAR_SITE)
        client.flushdb()
        producer.gift_checkout(GIFT, site=FAR_SITE)
    assert layout(client)[b"shards"] == b"1"


def test_records_may_be_one_version_ahead(queue: Queue) -> None:
    """While workers are upgraded; two versions ahead is a mistake, until a worker reads them."""
    queue.run("layout", 1, RECORD_VERSION, 1)
    one = entry("a").arguments()
    assert queue.run("enqueue", *one, 1, RECORD_VERSION + 1) == [["new", "queued"]]
    with pytest.raises(LayoutError) as caught:
        queue.run("enqueue", *entry("b").arguments(), 1, RECORD_VERSION + 2)
    assert (caught.value.version, caught.value.queue_version) == (
        RECORD_VERSION + 2,
        RECORD_VERSION,
    )
    assert "Upgrade the workers first" in str(caught.value)
    queue.run("layout", 1, RECORD_VERSION + 1, 0)
    queue.run("layout", 1, RECORD_VERSION + 1, 1)
    assert queue.run("enqueue", *entry("b").arguments(), 1, RECORD_VERSION + 2)[0][0] == "new"


def test_producers_that_name_no_layout_are_not_checked(queue: Queue) -> None:
    """Older apps and those in other languages enqueue as before."""
    assert queue.run("enqueue", *entry("a").arguments()) == [["new", "queued"]]
    assert queue.client.exists(queue.key("layout")) == 0


def test_lay_out_tells_a_worker_too(client: redis.Redis) -> None:
    """By the same error."""
    Scripts(client, Keyspace()).lay_out(as_worker=True)
    with pytest.raises(LayoutError):
        Scripts(client, Keyspace(shards=4)).lay_out(as_worker=True)
