"""How far behind each group is, on every server and over all shards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from worker.engine.keys import Keyspace
from worker.metrics import follower_groups
from worker.metrics.follower_groups import FollowerGroup, read_follower_groups


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client."""
    with redis.Redis.from_url(redis_url) as made:
        yield made


def add(client: redis.Redis, keyspace: Keyspace, shard: int, n: int) -> list[Any]:
    """Add so many entries; their ids."""
    return [client.xadd(keyspace.stream(shard), {"job_id": "one"}) for _ in range(n)]


@pytest.fixture(params=["known", "unknown"])
def lag(request: pytest.FixtureRequest, client: redis.Redis, monkeypatch: Any) -> str:
    """A server that knows the lag of a group, and one that does not."""
    kind: str = request.param
    if kind == "unknown":
        known = client.xinfo_groups

        def without(stream: str) -> Any:
            return [{**group, "lag": None} for group in known(stream)]  # type: ignore[union-attr]

        monkeypatch.setattr(client, "xinfo_groups", without)
        monkeypatch.setattr(follower_groups, "COUNT_AT_ONCE", 3)
    return kind


def only(client: redis.Redis, keyspace: Keyspace) -> FollowerGroup:
    """Give the only group."""
    (group,) = read_follower_groups(client, keyspace)
    return group


@pytest.mark.usefixtures("lag")
def test_group_is_behind_by_what_it_has_not_handled(client: redis.Redis) -> None:
    """What it has not read and what it has in hand, over all shards and on the fullest."""
    keyspace = Keyspace(shards=2)
    assert read_follower_groups(client, keyspace) == []
    for shard in range(2):
        client.xgroup_create(keyspace.stream(shard), "billing", "0", mkstream=True)
    add(client, keyspace, 0, 10)
    add(client, keyspace, 1, 2)
    assert (only(client, keyspace).lag, only(client, keyspace).shard_lag) == (12, 10)
    client.xreadgroup("billing", "one", {keyspace.stream(0): ">"}, count=4)
    assert only(client, keyspace).lag == 12
    client.xack(keyspace.stream(0), "billing", *_ids(client, keyspace.stream(0))[:4])
    found = only(client, keyspace)
    assert (found.lag, found.shard_lag, found.missed) == (8, 6, 0)
    client.hset(f"{keyspace.prefix(1)}missed", "count billing", 5)
    assert only(client, keyspace).missed == 5


@pytest.mark.usefixtures("lag")
def test_group_that_has_handled_all_is_not_behind(client: redis.Redis) -> None:
    """Neither by number nor by age."""
    keyspace = Keyspace()
    add(client, keyspace, 0, 7)
    client.xgroup_create(keyspace.stream(0), "new", "$")
    assert only(client, keyspace) == FollowerGroup(
        name="new", age_ms=0, lag=0, shard_lag=0, missed=0
    )


def _ids(client: redis.Redis, stream: str) -> list[Any]:
    rows: Any = client.xrange(stream)
    return [entry_id for entry_id, _ in rows]
