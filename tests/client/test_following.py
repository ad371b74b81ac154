"""Following the stream of outcomes: at least once, shared, resumable, over all shards."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, closing
from itertools import islice
from typing import Any

import pytest
import redis
from rig.queue import STREAM_MAX, TTL_MS
from rig.server import RedisServer

from worker import AsyncResultReader, JobResult, ResultReader, Settings
from worker.engine.endings import Finish
from worker.engine.keys import Keyspace
from worker.engine.scripts import Scripts
from worker.errors import BrokerUnavailableError, OutcomesMissedError

Ends = Callable[..., list[str]]


def end_jobs(client: redis.Redis, n: int, *, shards: int = 1, prefix: str = "job") -> list[str]:
    """Enqueue and end so many jobs; their ids, spread over the shards."""
    keys = Keyspace(shards=shards)
    scripts = Scripts(client, keys)
    ids = []
    for number in range(n):
        job_id, shard = f"{prefix}-{number:03d}", number % shards
        scripts.run("enqueue", shard, [job_id, "job", "d", "q", "gift_checkout", "acme", "bulk",
                                       "", 0, 0, "message"])  # fmt: skip
        scripts.run("fetch", shard, ["q", "w", 1, 15_000, 3, TTL_MS, STREAM_MAX, 1])
        outcome = {"job_id": job_id, "kind": "gift_checkout", "site": "acme",
                   "state": "succeeded", "attempts": 1, "finished_at": number}  # fmt: skip
        ending = Finish(outcome=json.dumps(outcome), ttl_ms=TTL_MS)
        assert scripts.run("finish", shard, [STREAM_MAX, *ending.arguments(job_id, 1)]) == [1]
        ids.append(job_id)
    return ids


@pytest.fixture
def ends(client: redis.Redis) -> Ends:
    """End so many jobs: `ends(5)`."""
    return lambda n, **options: end_jobs(client, n, **options)


@pytest.fixture
def reader(settings: Settings) -> Iterator[ResultReader]:
    """A reader on the shared server."""
    with ResultReader(settings) as made:
        yield made


def ids(results: Iterable[JobResult]) -> list[str]:
    """Ids of results."""
    return [one.job_id for one in results]


def test_follow_gives_every_ending_in_order(reader: ResultReader, ends: Ends) -> None:
    """What ended before and what ends meanwhile comes once, in order."""
    first = ends(150)
    follower = reader.follow("billing", timeout=0.3)
    with closing(follower):
        assert ids(islice(follower, 150)) == first
        more = ends(5, prefix="more")
        assert ids(follower) == more


def test_follow_resumes_where_it_stopped(reader: ResultReader, ends: Ends) -> None:
    """A consumer that comes back goes on; what it had in hand and not handled comes first."""
    expected = ends(10)
    with closing(reader.follow("billing", consumer="one")) as follower:
        assert ids(islice(follower, 4)) == expected[:4]  # the fourth is not handled yet
    again = reader.follow("billing", consumer="one", timeout=0.3)
    assert ids(again) == expected[3:]
    assert ids(reader.follow("billing", consumer="one", timeout=0.2)) == []


def test_follow_looks_before_it_counts_silence(reader: ResultReader, ends: Ends) -> None:
    """Whoever has no time at all still gets what is there."""
    expected = ends(3)
    assert ids(reader.follow("billing", timeout=0)) == expected


def test_follow_can_start_with_what_comes(
    reader: ResultReader, client: redis.Redis, ends: Ends
) -> None:
    """A new group may leave the past out; another one has all of it."""
    old = ends(3)
    late = reader.follow("late", start="$", timeout=2)
    with closing(late):
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(next(late).job_id))
        thread.start()
        _wait(lambda: client.xinfo_groups("{largesse:0}:outcomes"))
        (new,) = ends(1, prefix="new")
        thread.join(5)
    assert found == [new]
    assert ids(reader.follow("all", timeout=0.3)) == [*old, new]


def test_follow_groups_are_apart(reader: ResultReader, ends: Ends) -> None:
    """Each group gets every ending."""
    expected = ends(5)
    for group in ("billing", "mail"):
        assert ids(reader.follow(group, timeout=0.3)) == expected


def test_follow_is_shared_by_consumers(settings: Settings, ends: Ends) -> None:
    """Consumers of one group share the endings: each goes to one of them."""
    found: dict[str, list[str]] = {"one": [], "two": []}

    def follow(name: str) -> None:
        with ResultReader(settings) as mine:
            for result in mine.follow("billing", consumer=name, timeout=1):
                found[name].append(result.job_id)
                time.sleep(0.002)

    threads = [threading.Thread(target=follow, args=(name,)) for name in found]
    for thread in threads:
        thread.start()
    expected = [job_id for n in range(20) for job_id in ends(10, prefix=f"batch-{n}")]
    for thread in threads:
        thread.join(20)
    assert sorted(found["one"] + found["two"]) == sorted(expected)
    assert found["one"]
    assert found["two"]


@pytest.mark.parametrize("shards", [1, 3])
def test_follow_takes_over_from_a_dead_consumer(redis_url: str, ends: Ends, shards: int) -> None:
    """What a dead consumer had in hand goes to another one after a while, on every shard."""
    expected = ends(9, shards=shards)
    with ResultReader(Settings(redis_url=redis_url, shards=shards)) as reader:
        for _ in range(shards):  # dies with all of a shard in hand
            with closing(reader.follow("billing", consumer="dead")) as dying:
                next(dying)
        heir = reader.follow("billing", consumer="heir", timeout=2, claim_after=0.2)
        with closing(heir):
            assert sorted(ids(islice(heir, 9))) == sorted(expected)
        assert ids(reader.follow("billing", consumer="dead", timeout=0.5)) == []


def test_follow_does_not_take_from_the_living(reader: ResultReader, ends: Ends) -> None:
    """What a consumer has in hand for less than the time is its own."""
    ends(3)
    with closing(reader.follow("billing", consumer="slow")) as slow:
        next(slow)
        other = reader.follow("billing", consumer="other", timeout=0.5, claim_after=30)
        assert ids(other) == []


def test_follow_takes_over_more_than_one_read(reader: ResultReader, ends: Ends) -> None:
    """A backlog in a dead consumer's hands is taken over whole, not a hundred a minute."""
    expected = ends(250)
    for _ in range(3):
        with closing(reader.follow("billing", consumer="dead")) as dying:
            list(islice(dying, 1))
    group: Any = reader._lease.connections().client.xinfo_groups("{largesse:0}:outcomes")
    pending = group[0]["pending"] if "pending" in group[0] else group[0][b"pending"]
    heir = reader.follow("billing", consumer="heir", timeout=1, claim_after=0.1)
    assert sorted(ids(heir)) == expected
    assert pending == 100


def test_follow_covers_all_shards(redis_url: str, ends: Ends) -> None:
    """Endings of every shard come, each shard's in order."""
    expected = ends(40, shards=4)
    with ResultReader(Settings(redis_url=redis_url, shards=4)) as reader:
        found = ids(reader.follow("billing", timeout=0.5))
    assert sorted(found) == expected
    for shard in range(4):
        mine = [one for one in found if int(one[-3:]) % 4 == shard]
        assert mine == sorted(mine)


@pytest.mark.anyio
async def test_follow_on_a_loop(settings: Settings, ends: Ends) -> None:
    """The async follower does the same: in order, resumed, taken over."""
    expected = ends(120)
    async with AsyncResultReader(settings) as reader:
        async with aclosing(reader.follow("billing", consumer="one")) as follower:
            found = []
            async for result in follower:
                found.append(result.job_id)
                if len(found) == 50:
                    break
        heir = reader.follow("billing", consumer="heir", timeout=1, claim_after=0.1)
        rest = [result.job_id async for result in heir]
    assert found == expected[:50]
    assert sorted(found[:-1] + rest) == expected


def has_read(client: redis.Redis) -> bool:
    """Say whether a group was made and given something."""
    stream = "{largesse:0}:outcomes"
    groups: Any = client.xinfo_groups(stream) if client.exists(stream) else []
    return any(one["last-delivered-id"] != b"0-0" for one in groups)


def test_follow_outlasts_an_outage(redis_server: RedisServer) -> None:
    """A follower waits while Redis is unreachable, and gets what ended after."""
    with ResultReader(Settings(redis_url=redis_server.url)) as reader:
        found: list[str] = []

        def follow() -> None:
            with closing(reader.follow("billing", timeout=20)) as follower:
                found.extend(ids(islice(follower, 4)))

        thread = threading.Thread(target=follow)
        with redis.Redis.from_url(redis_server.url) as client:
            first = end_jobs(client, 2)
            thread.start()
            _wait(lambda: has_read(client))
        redis_server.kill()
        redis_server.start()
        with redis.Redis.from_url(redis_server.url) as client:
            second = end_jobs(client, 2, prefix="after")
        thread.join(20)
    assert not thread.is_alive()
    assert list(dict.fromkeys(found)) == [*first, *second][: len(set(found))]
    assert len(set(found)) >= 3  # one may come twice: at least once is the promise


def test_follow_outlasts_a_server_that_lost_all(
    redis_server_factory: Callable[..., RedisServer],
) -> None:
    """When stream and group are gone, the group is made anew and following goes on."""
    server = redis_server_factory()
    with (
        ResultReader(Settings(redis_url=server.url)) as reader,
        redis.Redis.from_url(server.url) as client,
        closing(reader.follow("billing", timeout=5)) as follower,
    ):
        end_jobs(client, 1)
        next(follower)
        client.flushall()
        (job_id,) = end_jobs(client, 1, prefix="new")
        assert next(follower).job_id == job_id


def test_follow_that_begins_in_an_outage_says_so(free_port: int) -> None:
    """Who begins to follow while Redis is unreachable is told."""
    with (
        ResultReader(Settings(redis_url=f"redis://127.0.0.1:{free_port}/0")) as reader,
        pytest.raises(BrokerUnavailableError),
    ):
        next(reader.follow("billing"))


def _wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("shards", [1, 3])
def test_follow_tells_a_group_once_what_it_missed(
    redis_url: str, client: redis.Redis, ends: Ends, shards: int
) -> None:
    """One error for all shards, with number and time; the next call goes on with what is left."""
    ends(3, shards=shards)
    for shard in range(shards):
        note = {"count away": 7, "since away": 1_700_000_000_000 + 1_000 * shard}
        client.hset(f"{{largesse:{shard}}}:missed", mapping=note)
    with ResultReader(Settings(redis_url=redis_url, shards=shards)) as reader:
        with pytest.raises(OutcomesMissedError) as caught:
            next(reader.follow("away", timeout=1))
        error = caught.value
        known = ("away", 7 * shards, 1_700_000_000_000)
        assert (error.group, error.count, error.since_ms) == known
        assert f"{7 * shards} outcomes since 2023-11-14 22:13:20 UTC were cut" in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert len(ids(reader.follow("away", timeout=0.3))) == 3


def test_one_consumer_of_a_group_tells_what_it_missed(
    reader: ResultReader, client: redis.Redis
) -> None:
    """Several consumers that look at the same time are one group."""
    client.hset("{largesse:0}:missed", mapping={"count away": 7, "since away": 1_700_000_000_000})
    told: list[int] = []

    def follow() -> None:
        try:
            list(reader.follow("away", timeout=0.1))
        except OutcomesMissedError as error:
            told.append(error.count)

    threads = [threading.Thread(target=follow) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert told == [7]


def test_group_that_was_removed_goes_on_where_it_was(
    reader: ResultReader, client: redis.Redis, ends: Ends
) -> None:
    """Nobody read it for too long: it gets what is left, and is told what was cut."""
    first = ends(4)
    assert ids(reader.follow("away", timeout=0.2)) == first
    more = ends(6, prefix="more")
    client.execute_command("DEBUG", "SLEEP", 0.1)
    _trim(client, max_len=4, max_age_ms=50)
    assert client.xinfo_groups("{largesse:0}:outcomes") == []
    last = ends(2, prefix="last")
    with pytest.raises(OutcomesMissedError) as caught:
        list(reader.follow("away", timeout=0.2))
    assert caught.value.count == len(more)
    assert ids(reader.follow("away", timeout=0.2)) == last


def test_follow_outlasts_the_removal_of_its_group(
    reader: ResultReader, client: redis.Redis, ends: Ends
) -> None:
    """A server before Redis 7 counts a consumer that gets nothing as gone; it loses nothing."""
    with closing(reader.follow("billing", timeout=10)) as follower:
        (first,) = ends(1)
        assert next(follower).job_id == first
        client.xgroup_destroy("{largesse:0}:outcomes", "billing")
        ended_id = client.xrevrange("{largesse:0}:outcomes", count=1)[0][0].decode()
        client.hset(
            "{largesse:0}:missed", "left billing", f"{ended_id} {round(time.time() * 1000)}"
        )
        (second,) = ends(1, prefix="later")
        assert next(follower).job_id == second


def _trim(client: redis.Redis, *, max_len: int, max_age_ms: int) -> None:
    Scripts(client, Keyspace()).run("trim", 0, [max_len, max_age_ms, 0, 500])


@pytest.mark.anyio
async def test_async_follow_tells_it_too(settings: Settings, client: redis.Redis) -> None:
    """The same for asyncio."""
    client.hset("{largesse:0}:missed", mapping={"count away": 7, "since away": 1_700_000_000_000})
    async with AsyncResultReader(settings) as reader:
        with pytest.raises(OutcomesMissedError):
            async for _ in reader.follow("away", timeout=1):
                pass
        assert [one async for one in reader.follow("away", timeout=0.1)] == []
