"""The scripts on a server that is full, has lost them, or is an old one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import redis
from rig.queue import Queue, entry
from rig.server import RedisServer

from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import SCRIPT_NAMES, script
from worker.errors import BrokerUnavailableError, QueueFullError


@pytest.fixture
def own_queue(redis_server_factory: Callable[..., RedisServer]) -> Any:
    """The scripts on a server of the test's own."""
    server = redis_server_factory()
    with redis.Redis.from_url(server.url) as client:
        yield Queue(client)


def test_full_server_refuses_a_batch_whole(own_queue: Queue) -> None:
    """Nothing of a batch is taken in when memory is short, and the producer is told."""
    own_queue.add("known")
    own_queue.client.config_set("maxmemory", "1")
    with pytest.raises(QueueFullError):
        own_queue.enqueue(entry("known"), *(entry(f"job-{n}") for n in range(10)))
    own_queue.client.config_set("maxmemory", "0")
    assert own_queue.fetch().ids == ["known"]
    assert own_queue.client.keys(own_queue.key("*:job-*")) == []


def test_full_server_still_drains(own_queue: Queue) -> None:
    """When memory is short, jobs are still fetched, renewed and ended in every way."""
    queue = own_queue
    queue.add(*"abcdefg")
    queue.add("later", delay_ms=1_000)
    queue.client.config_set("maxmemory", "1")
    a, b, c, d, e = queue.fetch(5).leases
    assert queue.renew(a, b, c, d, e) == []
    assert queue.finish(a, outcome="{}")
    assert queue.retry(b, delay_ms=60_000, unsure=True, attempt="{}")
    assert queue.bury(c)
    assert queue.bury(d, state="held")
    assert queue.release(e)
    assert queue.run("reclaim", "calls", "w") == []
    assert queue.cancel("f") == "cancelled"
    assert queue.discard("c") == "discarded"
    assert queue.published() == [("a", "succeeded"), ("c", "failed"), ("f", "cancelled")]
    queue.client.config_set("maxmemory", "0")
    queue.passes(1_000)
    assert queue.fetch().ids == ["e", "g", "later"]


def test_full_server_takes_followers_in(own_queue: Queue) -> None:
    """An ending and what follows from it are one step, memory or not."""
    own_queue.add("m", mode="message")
    lease = own_queue.take("m")
    own_queue.client.config_set("maxmemory", "1")
    assert own_queue.finish(lease, outcome="", follow=[entry("next", mode="message")])
    assert own_queue.fetch().ids == ["next"]


def test_lost_scripts_are_sent_again(queue: Queue) -> None:
    """SCRIPT FLUSH, as after a failover, is not noticed."""
    queue.add("a")
    queue.client.script_flush()
    lease = queue.take("a")
    queue.client.script_flush()
    assert queue.finish(lease)
    queue.client.script_flush()
    assert queue.run("depth", "calls") == [0, 0, 0]


def test_server_that_is_a_replica_is_away(
    redis_server_factory: Callable[..., RedisServer],
) -> None:
    """READONLY, as on a demoted master, is told as away."""
    server = redis_server_factory()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", server.port)
        with pytest.raises(BrokerUnavailableError):
            Queue(client).enqueue(entry("a"))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("LOADING Redis is loading the dataset in memory", BrokerUnavailableError),
        ("BUSY Redis is busy running a script.", BrokerUnavailableError),
        ("READONLY You can't write against a read only replica.", BrokerUnavailableError),
        (
            "Error running script (call to f_1): @user_script: 9: -READONLY You can't write now.",
            BrokerUnavailableError,
        ),
        ("CLUSTERDOWN The cluster is down", BrokerUnavailableError),
        ("MASTERDOWN Link with MASTER is down", BrokerUnavailableError),
        ("NOSCRIPT No matching script.", BrokerUnavailableError),
        ("OOM command not allowed when used memory > 'maxmemory'.", QueueFullError),
        ("MISCONF Redis is configured to save RDB snapshots", QueueFullError),
    ],
)
def test_replies_that_mean_not_now(reply: str, expected: type[Exception]) -> None:
    """Every way of a server to say "not now" is away or full, as redis-py tells it."""
    from redis._parsers.base import BaseParser

    with pytest.raises(expected), speaking_to_redis():
        raise BaseParser.parse_error(reply)


def test_reply_that_is_our_own_fault_is_raised_as_it_is() -> None:
    """A wrong command is no outage: it is not hidden behind a retry."""
    with pytest.raises(redis.ResponseError), speaking_to_redis():
        raise redis.ResponseError("ERR wrong number of arguments")


def test_scripts_name_the_keys_they_touch() -> None:
    """Each script's file opens with what it does, touches and gives."""
    for name in SCRIPT_NAMES:
        text = script(name).source.split("-- " + name + ":", 1)
        assert len(text) == 2, f"{name}.lua does not open with its name"
        assert re.search(r"\b(Writes|Reads) ", text[1]), f"{name}.lua does not say its keys"


def test_scripts_use_commands_of_redis_6_2(queue: Queue) -> None:
    """No script calls a command that came after Redis 6.2, or one that takes no fixed keys."""
    used = set()
    for name in SCRIPT_NAMES:
        used |= set(re.findall(r"redis\.call\('([A-Z]+)'", script(name).source))
    used |= {"LPUSH", "RPUSH"}
    try:
        documented: Any = queue.client.execute_command("COMMAND DOCS", *used)
    except redis.ResponseError:
        return  # an older server runs the scripts in the other tests: it knows every command
    if isinstance(documented, list):
        documented = dict(zip(documented[::2], documented[1::2], strict=True))
    assert len(documented) == len(used)
    for name, facts in documented.items():
        row = facts if isinstance(facts, dict) else dict(zip(facts[::2], facts[1::2], strict=True))
        since = tuple(int(part) for part in row[b"since"].decode().split(".")[:2])
        assert since <= (6, 2), f"{name!r} is too new"
    assert not used & {"KEYS", "SCAN", "EVAL", "SELECT", "RANDOMKEY"}
