"""Every look and move of the operator on a Cluster: several shards, no single clock or memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from rig.server import RedisServer
from rig.shelf import GIFT
from rig.waiting import until

from worker import Producer, Settings
from worker.dashboard.snapshot import take
from worker.demo.embedded import free_port
from worker.doctor.fleet import check_fleet
from worker.doctor.keys import check_keys
from worker.engine.connection import PRODUCER, connect
from worker.engine.keys import Keyspace
from worker.operator import OperatorClient
from worker.operator.job_query import JobQuery
from worker.process.heartbeat import Heartbeat, read_heartbeats
from worker.process.redis_checks import check_redis

SITES = ("acme-test", "globex", "initech")
FACTS = {
    "version": "1", "concurrency": 8, "running": 0, "silence_ms": 0, "ready": True, "why": "ready",
}  # fmt: skip


@pytest.fixture
def settings(redis_server_factory: Callable[..., RedisServer]) -> Settings:
    """A Cluster of one node that has all slots, and three shards on it."""
    config = {"cluster-enabled": "yes", "cluster-port": free_port()}
    server = redis_server_factory(config=config)
    with server.client() as node:
        node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    url = f"redis+cluster://127.0.0.1:{server.port}"
    return Settings.from_env({"LARGESSE_REDIS_URL": url, "LARGESSE_SHARDS": "3"})


@pytest.fixture
def operator(settings: Settings) -> Iterator[OperatorClient]:
    """A desk on it, and a job of each site in line."""
    with Producer(settings) as producer, OperatorClient(settings, who="test") as opened:
        producer.enqueue_many(
            {"kind": "gift_checkout", "payload": GIFT, "site": site, "key": "k"} for site in SITES
        )
        yield opened


def test_looks_on_a_cluster(operator: OperatorClient) -> None:
    """What is read on one server is read on many."""
    assert [one.backlog for one in operator.sites()] == [1, 1, 1]
    assert [one.waiting["interactive"] for one in operator.queues()] == [3]
    assert operator.workers() == []
    assert operator.counts() == {"dead": 0, "held": 0}
    assert len(operator.find(JobQuery()).records) == 3
    assert len(operator.find(JobQuery(key="k")).records) == 3
    assert operator.health().server
    assert operator.minutes() == []
    operator.record_depth()
    (depth,) = operator.gauge_minutes(2)
    assert depth.total("waiting") == 3
    assert take(operator).waiting == 3
    assert take(operator, "globex").waiting == 1


def test_moves_on_a_cluster(operator: OperatorClient) -> None:
    """Pause, rate, resume and cancel reach the shard of their site, and the audit has them."""
    operator.pause("globex")
    operator.set_rate("globex", 30)
    (site,) = [one for one in operator.sites() if one.name == "globex"]
    assert (site.paused_reason, site.hand_rate) == ("paused by hand", 30)
    assert operator.resume("globex")
    for record in operator.find(JobQuery()).records:
        assert operator.cancel(record.job_id) == "cancelled"
    assert len(operator.audit.read()) == 6


def test_heartbeat_on_a_cluster(settings: Settings, operator: OperatorClient) -> None:
    """Workers tell and are listed."""
    client = connect(settings.redis, PRODUCER)
    one = Heartbeat(client, Keyspace(shards=3), "host-1:1:cafe", lambda: FACTS)
    one.beat()
    assert [seen.worker for seen in read_heartbeats(client, Keyspace(shards=3))] == [
        "host-1:1:cafe"
    ]
    assert [found.state(operator.now_ms()) for found in operator.workers()] == ["idle"]
    one.leave()
    assert operator.workers() == []
    client.close()


def test_doctor_on_a_cluster(settings: Settings, operator: OperatorClient) -> None:
    """Each primary is judged, the keys of all are looked at, and jobs without workers are told."""
    client = connect(settings.redis, PRODUCER)
    keyspace = Keyspace(shards=3)
    found = {one.name: one for one in check_redis(client, str(settings.redis))}
    assert {name for name, one in found.items() if one.status == "fail"} == set()
    assert found["persistence"].found.startswith("127.0.0.1:")
    found = {one.name: one for one in check_keys(client, keyspace)}
    assert {one.status for one in found.values()} == {"ok"}
    assert found["records"].found.startswith("3 looked at")
    found = {one.name: one for one in check_fleet(client, keyspace, frozenset(SITES))}
    assert found["workers"].found == "no worker runs, and 3 jobs are queued"
    client.close()
