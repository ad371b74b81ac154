"""More than one server: a Redis Cluster and Sentinel, each with a failover under way."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from rig.command import clean
from rig.processes import Process, Processes
from rig.producing import GIFT, OFFER
from rig.sandbox import SandboxServer
from rig.server import RedisServer, server_binary
from rig.stopwatch import Stopwatch
from rig.waiting import until

from worker import AsyncProducer, JobHandle, Producer, Settings
from worker.demo.embedded import free_port
from worker.errors import BrokerError

SLOTS = 16384
#: Milliseconds after which a silent server counts as down.
DOWN_MS = 1_000


class Cluster:
    """Three masters, each with a third of the slots, and a replica for each.

    Args:
        make: starts servers.
    """

    def __init__(self, make: Callable[..., RedisServer]) -> None:
        self.buses: dict[int, int] = {}
        self.servers = [self._start(make) for _ in range(6)]
        masters, replicas = self.servers[:3], self.servers[3:]
        third = SLOTS // 3 + 1
        for place, server in enumerate(masters):
            last = min(SLOTS, (place + 1) * third) - 1
            self.ask(server, "CLUSTER ADDSLOTSRANGE", place * third, last)
            self.ask(server, "CLUSTER SET-CONFIG-EPOCH", place + 1)
        for server in self.servers[1:]:
            bus = self.buses[server.port]
            self.ask(self.servers[0], "CLUSTER MEET", "127.0.0.1", server.port, bus)
        self._wait(lambda server: server_knows(server, 6), "the meeting")
        for master, replica in zip(masters, replicas, strict=True):
            self.ask(replica, "CLUSTER REPLICATE", self.ask(master, "CLUSTER MYID"))
        self._wait(lambda server: b"cluster_state:ok" in info(server), "the cluster")
        self._wait(lambda server: server in masters or in_sync(server), "the replicas")

    @property
    def url(self) -> str:
        """URL with all nodes."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"redis+cluster://{hosts}"

    def master_of(self, key: str) -> RedisServer:
        """The server that has a key's slot now."""
        slot = int(self.ask(self.servers[0], "CLUSTER KEYSLOT", key))
        return self.servers[slot // (SLOTS // 3 + 1)]

    @staticmethod
    def ask(server: RedisServer, command: str, *args: Any) -> Any:
        """Send one command to one server."""
        with server.client(decode_responses=False) as client:
            return client.execute_command(command, *args)

    def _start(self, make: Callable[..., RedisServer]) -> RedisServer:
        bus = free_port()
        server = make(
            config={
                "cluster-enabled": "yes", "cluster-port": bus, "cluster-node-timeout": DOWN_MS,
                "repl-diskless-sync-delay": 0, "cluster-replica-validity-factor": 0,
            }
        )  # fmt: skip
        self.buses[server.port] = bus
        return server

    def _wait(self, condition: Callable[[RedisServer], bool], what: str) -> None:
        until(lambda: all(condition(one) for one in self.servers), timeout_s=20, what=what)


def info(server: RedisServer) -> bytes:
    """CLUSTER INFO as the server writes it."""
    with server.client(decode_responses=False) as client:
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command("CLUSTER INFO")
            return bytes(connection.read_response())
        finally:
            client.connection_pool.release(connection)


def server_knows(server: RedisServer, n: int) -> bool:
    """Say whether a node knows so many."""
    return f"cluster_known_nodes:{n}".encode() in info(server)


def in_sync(server: RedisServer) -> bool:
    """Say whether a replica has all its master has."""
    with server.client() as client:
        found: Any = client.info("replication")
    return found["role"] == "slave" and found.get("master_link_status") == "up"


@pytest.fixture
def cluster(redis_server_factory: Callable[..., RedisServer]) -> Cluster:
    """A Redis Cluster."""
    return Cluster(redis_server_factory)


class Sentinel:
    """A master, a replica and one sentinel that watches them."""

    def __init__(self, make: Callable[..., RedisServer], spawn: Processes, folder: Path) -> None:
        self.master = make()
        self.replica = make(config={"replicaof": f"127.0.0.1 {self.master.port}"})
        until(lambda: in_sync(self.replica), what="the replica")
        self.port = free_port()
        text = (
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor pages 127.0.0.1 {self.master.port} 1\n"
            f"sentinel down-after-milliseconds pages {DOWN_MS}\n"
            "sentinel failover-timeout pages 5000\n"
        )
        (folder / "sentinel.conf").write_text(text)
        words = [server_binary(), str(folder / "sentinel.conf"), "--sentinel"]
        self.process: Process = spawn(words, name="sentinel")
        until(self._sees_both, timeout_s=20, what="the sentinel")

    @property
    def url(self) -> str:
        """URL by way of the sentinel."""
        return f"redis+sentinel://127.0.0.1:{self.port}/pages/0"

    def _sees_both(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                found: Any = client.sentinel_master("pages")
        except redis.ConnectionError:
            return False
        return int(found["num-slaves"]) == 1


@pytest.fixture
def sentinel(
    redis_server_factory: Callable[..., RedisServer], spawn: Processes, tmp_path: Path
) -> Sentinel:
    """A watched pair."""
    folder = tmp_path / "sentinel"
    folder.mkdir()
    return Sentinel(redis_server_factory, spawn, folder)


@pytest.fixture
def start(sandbox_server: SandboxServer, spawn: Processes) -> Iterator[Callable[..., Producer]]:
    """Start a worker and a producer on a URL."""
    producers: list[Producer] = []

    def make(url: str, **env: str) -> Producer:
        environ: Mapping[str, str] = {
            **sandbox_server.environment, "LARGESSE_REDIS_URL": url,
            "CHARGEBEE_RATE_PER_MINUTE": "0", **env,
        }  # fmt: skip
        words = ["python", "-m", "worker.cli", "worker", "-p", "1", "-t", "8"]
        spawn(words, env=clean(environ), name="worker")
        producers.append(Producer.from_env(environ))
        return producers[-1]

    yield make
    for producer in producers:
        producer.close()


def enqueue(producer: Producer, key: str, *, timeout_s: float = 20) -> JobHandle:
    """Enqueue as an app does: again under the key while Redis is unreachable."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return producer.gift_checkout(GIFT, key=key)
        except BrokerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def result_of(job: JobHandle) -> Any:
    """Read a result as an app does: again while Redis is unreachable."""
    deadline = time.monotonic() + 25
    while True:
        try:
            return job.result(timeout=25)
        except BrokerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_cluster_serves_jobs_and_survives_a_failover(
    cluster: Cluster, start: Callable[..., Producer]
) -> None:
    """On a Cluster jobs run and are read; when a master dies its replica takes over."""
    producer = start(cluster.url, LARGESSE_SHARDS="4")
    first = enqueue(producer, "before")
    assert result_of(first).hosted_page
    many = [{"kind": "gift_checkout", "payload": GIFT, "key": f"many-{n}"} for n in range(20)]
    assert all(result_of(job).hosted_page for job in producer.enqueue_many(many))
    assert result_of(producer.personalized_offer(OFFER)).offers is not None
    followed = list(producer.results.follow("all", timeout=2))
    assert len(followed) == 22

    master = cluster.master_of(producer.keyspace.job(first.id))
    master.kill()
    killed = Stopwatch()
    after = enqueue(producer, "after")
    assert result_of(after).hosted_page
    assert killed.own_s < 20
    assert enqueue(producer, "before").accepted == "known"


@pytest.mark.anyio
async def test_cluster_serves_an_async_producer(
    cluster: Cluster, start: Callable[..., Producer], sandbox_server: SandboxServer
) -> None:
    """The same from a loop."""
    start(cluster.url, LARGESSE_SHARDS="4")
    environ = {**sandbox_server.environment, "LARGESSE_REDIS_URL": cluster.url}
    settings = Settings.from_env({**environ, "LARGESSE_SHARDS": "4"})
    async with AsyncProducer(settings) as producer:
        job = await producer.gift_checkout(GIFT)
        assert (await job.result(timeout=25)).hosted_page


def test_sentinel_serves_jobs_and_survives_a_failover(
    sentinel: Sentinel, start: Callable[..., Producer]
) -> None:
    """Behind Sentinel jobs run; when the master dies, work goes on at the new one within 15 s."""
    producer = start(sentinel.url)
    first = enqueue(producer, "before")
    assert result_of(first).hosted_page
    with sentinel.master.client() as client:
        client.wait(1, 2_000)
    sentinel.master.kill()
    killed = Stopwatch()
    after = enqueue(producer, "after")
    assert result_of(after).hosted_page
    assert killed.own_s < 15
    assert enqueue(producer, "before").accepted == "known"
    with sentinel.replica.client() as client:
        found: Any = client.info("replication")
    assert found["role"] == "master"
    producer.close()
    gc.collect()  # an open connection to a sentinel would warn here, and a warning is an error
