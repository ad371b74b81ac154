"""A worker process that is watched: its port, readiness and figures, in both kinds of worker."""

from __future__ import annotations

import contextlib
import http.client
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dramatiq.broker import Consumer
from dramatiq.errors import ConnectionClosed
from prometheus_client.parser import text_string_to_metric_families
from rig.processes import descendants
from rig.server import RedisServer
from rig.system import System
from rig.waiting import until

from worker import JobFailedError
from worker.demo.embedded import free_port
from worker.engine.broker import EngineBroker
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.metrics.minutes import merge, read_minutes
from worker.operator.worker_state import read_workers
from worker.process.health import Health

#: What no figure may show: see the payloads below.
CANARIES = ("canary@example.com", "Canaria", "203.0.113.77", "order-canary", "test_sandbox_key")


def ask(port: int, path: str) -> tuple[int, str]:
    """Give status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def figures(ports: list[int], name: str) -> dict[tuple[str, ...], float]:
    """Sum a metric over processes: values of its labels, by name of the label, to the sum."""
    found: dict[tuple[str, ...], float] = {}
    for port in ports:
        text = ask(port, "/metrics")[1]
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                if one.name == f"largesse_{name}":
                    key = tuple(text for _, text in sorted(one.labels.items()))
                    found[key] = found.get(key, 0) + one.value
    return found


def listening_sockets(pid: int) -> set[str]:
    """Give the inodes of the sockets that a process listens on (Linux)."""
    mine = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            mine.add(entry.readlink().name.removeprefix("socket:[").rstrip("]"))
    tables = [Path(f"/proc/{pid}/net/{name}").read_text("ascii") for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A"} & mine


@pytest.fixture
def ports() -> list[int]:
    """Two ports in a row that nothing listens on."""
    for _ in range(50):
        first = free_port()
        try:
            ask(first + 1, "/")
        except OSError:
            return [first, first + 1]
    raise AssertionError("no two free ports in a row")


@pytest.fixture
def own_system(system: System, redis_server: RedisServer) -> Iterator[System]:
    """The system on a Redis that the test may stop."""
    system.environ["LARGESSE_REDIS_URL"] = redis_server.url
    yield system
    redis_server.resume()


def run_jobs(system: System) -> None:
    """Run four good jobs, one of them sent again after a 503, and one that is rejected."""
    system.admin.add_fault("error", status=503, times=1)
    producer = system.producer()
    origin = {"user": "canary@example.com", "ip": "203.0.113.77"}
    good = [
        producer.gift_checkout(
            {"gifter": {"customer_id": "Canaria"}},
            key=f"order-canary-{number}",
            origin=origin,
        )
        for number in range(3)
    ]
    good.append(producer.personalized_offer({"customer_id": "cust_1"}))
    bad = producer.gift_checkout({"subscription_items": [{"item_price_id": "missing_1"}]})
    for one in good:
        one.result(20)
    with pytest.raises(JobFailedError):
        bad.result(20)


def check_figures(system: System, ports: list[int]) -> None:
    """Hold the figures of all processes together against what was run."""
    where = ("gift_checkout", "acme-test")

    def ended() -> float:
        return sum(figures(ports, "jobs_total").values())

    until(lambda: ended() == 5, what="the count of five endings")
    jobs = figures(ports, "jobs_total")
    # Labels in the order of their names: error_class, kind, outcome, site.
    assert jobs["", "gift_checkout", "succeeded", "acme-test"] == 3
    assert jobs["", "personalized_offer", "succeeded", "acme-test"] == 1
    assert jobs["rejected", "gift_checkout", "failed", "acme-test"] == 1
    assert sum(figures(ports, "attempts_total").values()) == 6
    calls = figures(ports, "api_calls_total")
    assert sum(calls.values()) == 6
    assert calls["resource_not_found", "gift_checkout", "rejected", "false", "acme-test"] == 1
    assert sum(n for key, n in calls.items() if key[2] == "unavailable") == 1
    assert figures(ports, "job_seconds_count")[where] == 4
    assert figures(ports, "job_wait_seconds_count")[where] == 4
    shown = "".join(ask(port, "/metrics")[1] for port in ports)
    assert not [canary for canary in CANARIES if canary in shown]


def test_fleet_serves_a_port_for_each_process(system: System, ports: list[int]) -> None:
    """Two processes, two ports, one truth together; the series has the same after the end."""
    fleet = system.worker(processes=2, env={"LARGESSE_METRICS_PORT": str(ports[0])})
    for port in ports:
        until(lambda port=port: ask(port, "/readyz") == (200, "ready\n"))  # type: ignore[misc]
        assert ask(port, "/livez") == (200, "live\n")
    assert [len(listening_sockets(pid)) for pid in descendants(fleet.pid)] == [1, 1]
    run_jobs(system)
    check_figures(system, ports)
    fleet.terminate()
    assert fleet.wait() == 0
    with system.redis() as client:
        total = merge(read_minutes(client, Keyspace()))
    assert total is not None
    assert total.outcomes == {"succeeded": 4, "failed": 1}
    assert (total.attempts, total.retries, total.calls) == (6, 1, 6)
    assert (total.api.count, total.total_latency.count) == (6, 5)


def test_threads_of_dramatiq_are_watched_too(system: System, free_port: int) -> None:
    """The same pages and figures under dramatiq's own command line."""
    system.spawn(
        ["python", "-m", "dramatiq", "worker.main:setup", "-p", "1", "-t", "4"],
        env={**system.environ, "LARGESSE_METRICS_PORT": str(free_port)},
        name="dramatiq",
    )
    until(lambda: ask(free_port, "/readyz") == (200, "ready\n"))
    with system.redis() as client:
        (one,) = until(lambda: read_workers(client, Keyspace()), what="the worker's word")
        assert one.state(redis_now_ms(client)) == "idle"
        assert one.seen is not None
        assert one.seen.concurrency == 4
    run_jobs(system)
    check_figures(system, [free_port])


def test_nothing_listens_unless_it_is_asked_for(system: System) -> None:
    """Without a port no process of the fleet listens."""
    fleet = system.worker()
    system.producer().gift_checkout({}).result(20)
    assert [listening_sockets(pid) for pid in (fleet.pid, *descendants(fleet.pid))] == [set()] * 2


def test_silent_redis_makes_a_worker_unready_not_dead(
    own_system: System, redis_server: RedisServer, free_port: int
) -> None:
    """A stopped Redis shows in seconds; no restart is asked for, and it passes by itself."""
    own_system.worker(env={"LARGESSE_METRICS_PORT": str(free_port)})
    until(lambda: ask(free_port, "/readyz")[0] == 200)
    redis_server.pause()
    until(lambda: ask(free_port, "/readyz") == (503, "Redis is unreachable\n"), timeout_s=15)
    assert ask(free_port, "/livez")[0] == 200
    status, text = ask(free_port, "/metrics")
    assert status == 200
    assert "largesse_broker_up 0.0" in text
    assert "largesse_worker_ready 0.0" in text
    redis_server.resume()
    until(lambda: ask(free_port, "/readyz")[0] == 200, timeout_s=15)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_stuck_worker_goes_down(system: System, free_port: int, number: signal.Signals) -> None:
    """A consumer that waits for ever is unready and live; a loop that stands still is neither."""
    worker = system.spawn(
        ["python", "-m", "rig.stuck", "worker.main:serve", "--concurrency", "2", "--grace", "1"],
        env={**system.environ, "LARGESSE_METRICS_PORT": str(free_port)}, name="stuck",
    )  # fmt: skip
    until(lambda: ask(free_port, "/readyz")[0] == 200, timeout_s=20)
    system.producer().gift_checkout({}).result(20)
    worker.send(number)
    until(lambda: ask(free_port, "/readyz")[0] == 503, what="the stuck one to be unready")
    waiting = system.producer().gift_checkout({})
    with system.redis() as client:

        def state() -> str:
            (one,) = read_workers(client, Keyspace())
            return one.state(redis_now_ms(client))

        until(lambda: state() == "stuck", what="the stuck one to be listed as such")
    if number == signal.SIGUSR1:
        assert "nothing heard from Redis" in ask(free_port, "/readyz")[1]
        assert ask(free_port, "/livez")[0] == 200
    else:
        until(lambda: ask(free_port, "/livez")[0] == 503, what="the still one to be dead")
    assert waiting.state() == "queued"


def consumer_of(redis_url: str, **settings: int) -> tuple[EngineBroker, Consumer]:
    """Make a broker and the consumer of a thread of it."""
    broker = EngineBroker(url=redis_url, middleware=[])
    broker.declare_queue("chargebee")
    return broker, broker.consume("chargebee", **settings)


def test_stuck_consumer_of_threads_shows(redis_url: str) -> None:
    """The silence of a consumer grows while nobody asks it, and ends when it comes round."""
    broker, consumer = consumer_of(redis_url, timeout=10)
    (book,) = broker._lease_books.values()
    book.looked_at = time.monotonic() - 60
    health = Health(silence_s=broker.silence_s, is_unreachable=broker.outage.is_lasting)
    assert health.ready().why == "nothing heard from Redis for 60 s"
    assert next(consumer) is None
    assert health.ready().ok
    broker.close()


def test_full_consumer_of_threads_is_not_silent(redis_url: str) -> None:
    """One that waits for room comes round as well."""
    broker, consumer = consumer_of(redis_url, prefetch=0, timeout=10)
    (book,) = broker._lease_books.values()
    book.looked_at = time.monotonic() - 60
    assert next(consumer) is None
    assert broker.silence_s() < 10
    assert broker.held() == 0
    broker.close()


def test_absence_makes_a_consumer_of_threads_unready(free_port: int) -> None:
    """A Redis that refuses connections shows at once."""
    broker, consumer = consumer_of(f"redis://127.0.0.1:{free_port}/0", timeout=10)
    health = Health(silence_s=broker.silence_s, is_unreachable=broker.outage.is_lasting)
    with pytest.raises(ConnectionClosed):
        next(consumer)
    assert (health.live().ok, health.ready().why) == (True, "Redis is unreachable")
    broker.close()
