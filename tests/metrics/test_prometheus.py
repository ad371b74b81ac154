"""/metrics: every metric of the table, nothing else, nothing private, and an unreachable Redis."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from rig.server import RedisServer
from rig.stopwatch import Stopwatch
from rig.waiting import until

from worker.demo.embedded import free_port
from worker.engine.broker import Budget, EngineBroker
from worker.engine.connection import PRODUCER, connect
from worker.engine.endings import Retry
from worker.engine.enqueue import entry_of
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.jobs.job import Job
from worker.metrics.counts import BOUNDS_S, Counts
from worker.metrics.flusher import Flusher
from worker.metrics.gauges import read_queue
from worker.metrics.metric_names import METRICS, PREFIX
from worker.metrics.minutes import read_minutes
from worker.metrics.prometheus import Metrics, ProcessCounts, QueueReading
from worker.settings import Settings

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
SITES = ["acme", "beta"]
Sample = tuple[str, dict[str, str], float]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """An empty database."""
    made = connect(redis_url, PRODUCER)
    yield made
    made.close()


@pytest.fixture
def broker(client: redis.Redis) -> EngineBroker:
    """A broker of three shards with two sites: one with room, one paused."""
    made = EngineBroker(client=client, shards=3, middleware=[])
    made.declare_queue("chargebee")
    made.configure(Budget(one, rate_per_minute=60, burst=1, max_in_flight=5) for one in SITES)
    made.scripts.run("pause", made.keyspace.shard_of_site("beta"), ["beta", "wrong key"])
    return made


def fill(broker: EngineBroker, redis_url: str) -> None:
    """Enqueue three jobs of one site, one of them delayed, one in the other lane."""
    settings = Settings(redis_url=redis_url)
    for options in ({}, {"delay_s": 600}, {"lane": "bulk"}):
        job = Job.prepare(settings, "gift_checkout", {}, site="acme", options=options)
        broker.take_in([entry_of(job.message(), broker.keyspace, delay_ms=job.delay_ms)])


def counted() -> Counts:
    """Counts with one of everything."""
    found = Counts(sites=SITES, kinds=["gift_checkout"])
    found.started("acme", "gift_checkout", attempt=1, waited_ms=30)
    found.called(
        "acme", "gift_checkout", outcome="succeeded", code=None, replayed=False, duration_ms=80
    )
    found.attempted("acme", "gift_checkout", "succeeded")
    found.ended("acme", "gift_checkout", outcome="succeeded", error_class="", duration_ms=120)
    return found


def process() -> ProcessCounts:
    """Give the collector of a process."""
    gauges = {
        "jobs_running": 1.0, "worker_concurrency": 8.0, "worker_silence_seconds": 0.1,
        "worker_ready": 1.0, "outcomes_stream_max_length": 100_000,
        "outcomes_stream_max_age_seconds": 604_800,
    }  # fmt: skip
    return ProcessCounts(counted(), lambda: gauges, version="1.2.3")


def samples(metrics: Metrics) -> list[Sample]:
    """Read what is shown as a scraper would: name, labels, value."""
    body, content_type = metrics.render("")
    assert content_type.startswith("text/plain; version=")
    families = text_string_to_metric_families(body.decode())
    return [(one.name, dict(one.labels), one.value) for each in families for one in each.samples]


def value(found: list[Sample], name: str, **labels: str) -> float:
    """Give the one sample of a name whose labels include these."""
    (only,) = [one[2] for one in found if one[0] == name and labels.items() <= one[1].items()]
    return only


def test_metrics_are_documented_both_ways() -> None:
    """docs/metrics.md has each metric with its type, labels and meaning, and no other."""
    rows = re.findall(
        rf"^\| `{PREFIX}([a-z_]+)` \| (\w+) \| (.*?) \| (.*?) \|$",
        DOCS.read_text("utf-8"),
        re.MULTILINE,
    )
    assert [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text)
            for name, kind, labels, text in rows] == [
        (one.name, one.type, one.labels, one.help) for one in METRICS.values()
    ]  # fmt: skip
    queue = DOCS.read_text("utf-8").split("## Metrics of the queue")[1]
    for one in METRICS.values():
        assert (f"| `{PREFIX}{one.name}` |" in queue) == (one.source == "queue"), one.name


def test_metrics_labels_are_documented() -> None:
    """Each label has a row that says what it may hold."""
    section = DOCS.read_text("utf-8").split("## Labels")[1].split("\n## ")[0]
    described = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert described == {label for one in METRICS.values() for label in one.labels}


def test_metrics_show_every_row_of_the_table(
    client: redis.Redis, broker: EngineBroker, redis_url: str
) -> None:
    """Each metric of the table is there with its labels, and nothing with our prefix besides."""
    fill(broker, redis_url)
    client.hset(broker.keyspace.prefix(0) + "ended", "acme|gift_checkout|expired|expired", 4)
    client.xgroup_create(broker.keyspace.stream(0), "billing", "0", mkstream=True)
    client.zadd(broker.keyspace.prefix(0) + "workers", {"w": redis_now_ms(client)})
    found = samples(Metrics(process(), QueueReading(client, broker.keyspace)))
    shown: dict[str, set[str]] = {}
    for name, labels, _ in found:
        shown.setdefault(re.sub("_(bucket|sum|count)$", "", name), set()).update(
            set(labels) - {"le"}
        )
    ours = {name: labels for name, labels in shown.items() if name.startswith(PREFIX)}
    assert ours == {PREFIX + name: set(one.labels) for name, one in METRICS.items()}
    assert {"process_start_time_seconds", "process_cpu_seconds_total"} <= set(shown)


def test_metrics_of_a_process_say_what_was_counted() -> None:
    """Counts under their labels, times in cumulative buckets with their sum."""
    found = samples(Metrics(process()))
    where = {"site": "acme", "kind": "gift_checkout"}
    assert value(found, "largesse_jobs_total", outcome="succeeded", error_class="", **where) == 1
    assert value(found, "largesse_api_calls_total", replayed="false", **where) == 1
    assert value(found, "largesse_api_call_seconds_bucket", le="0.05", **where) == 0
    assert value(found, "largesse_api_call_seconds_bucket", le="0.1", **where) == 1
    assert value(found, "largesse_api_call_seconds_bucket", le="+Inf", **where) == 1
    assert value(found, "largesse_api_call_seconds_sum", **where) == pytest.approx(0.08)
    assert value(found, "largesse_build_info", version="1.2.3") == 1
    assert value(found, "largesse_minute_flushes_lost_total") == 0


def test_metrics_buckets_are_as_documented() -> None:
    """The bounds of the code are those that the page lists in words."""
    text = DOCS.read_text("utf-8").replace("\n", " ")
    words = re.search(r"histograms end at (.*?)\.  ?", text)
    assert words is not None
    scale = {"ms": 0.001, "s": 1.0, "min": 60.0}
    bounds: list[float] = []
    waiting: list[float] = []
    for number, unit in re.findall(r"(\d+)(?: (ms|s|min)\b)?", words[1]):
        waiting.append(float(number))
        if unit:
            bounds += [one * scale[unit] for one in waiting]
            waiting = []
    assert bounds == pytest.approx(BOUNDS_S)


def test_metrics_of_the_queue(client: redis.Redis, broker: EngineBroker, redis_url: str) -> None:
    """Lines, delayed jobs, budgets and paused sites, over all shards."""
    fill(broker, redis_url)
    found = samples(Metrics(QueueReading(client, broker.keyspace)))
    assert value(found, "largesse_broker_up") == 1
    assert value(found, "largesse_jobs_waiting", site="acme", lane="interactive") == 1
    assert value(found, "largesse_jobs_waiting", site="acme", lane="bulk") == 1
    assert value(found, "largesse_jobs_waiting", site="beta", lane="bulk") == 0
    assert 0 <= value(found, "largesse_oldest_job_age_seconds", site="acme", lane="bulk") < 30
    assert value(found, "largesse_jobs_delayed") == 1
    assert value(found, "largesse_delayed_overdue_seconds") == 0
    assert value(found, "largesse_site_paused", site="beta") == 1
    assert value(found, "largesse_site_paused", site="acme") == 0
    assert value(found, "largesse_site_rate_per_minute", site="acme") == pytest.approx(60)
    assert value(found, "largesse_site_max_in_flight", site="acme") == 5
    assert value(found, "largesse_broker_memory_bytes") > 100_000


def test_queue_figures_follow_a_job(
    client: redis.Redis, broker: EngineBroker, redis_url: str
) -> None:
    """A leased job is in flight and has used budget; a delayed one that is late is overdue."""
    fill(broker, redis_url)
    shard = broker.keyspace.shard_of_site("acme")
    prefix = broker.keyspace.prefix(shard)
    broker.scripts.run("fetch", shard, broker.options.fetch_arguments("chargebee", "w", 1))
    (late,) = client.zrange(f"{prefix}q:chargebee:delayed", 0, 0)  # type: ignore[misc]
    before = read_queue(client, broker.keyspace)
    client.zadd(f"{prefix}q:chargebee:delayed", {late: before.now_ms - 42_000})
    after = read_queue(client, broker.keyspace)
    assert (before.leased, before.waiting, before.overdue_s) == (1, 1, 0.0)
    site = next(one for one in after.sites if one.name == "acme")
    assert (site.in_flight, site.paused_reason) == (1, None)
    assert 0 < site.budget_used <= 1
    assert 42 <= after.overdue_s < 60


def test_metrics_show_the_pace_that_a_429_left(
    client: redis.Redis, broker: EngineBroker, redis_url: str
) -> None:
    """It falls with the 429 and is whole again once it has climbed back."""
    fill(broker, redis_url)
    metrics = Metrics(QueueReading(client, broker.keyspace))
    assert value(samples(metrics), "largesse_site_adaptive_rate_ratio", site="acme") == 1
    shard = broker.keyspace.shard_of_site("acme")
    args = broker.options.fetch_arguments("chargebee", "w", 1)
    (job_id, _, fence, _) = broker.scripts.run("fetch", shard, args)[2]
    ending = Retry(delay_ms=0, counted=False, unsure=False, throttle_site_ms=1_000)
    args = [60_000, 1_000, *ending.arguments(job_id.decode(), int(fence))]
    assert broker.scripts.run("retry", shard, args) == [1]
    fresh = Metrics(QueueReading(client, broker.keyspace))
    assert value(samples(fresh), "largesse_site_adaptive_rate_ratio", site="acme") == 0.5
    client.hincrby(f"{broker.keyspace.prefix(shard)}site:acme", "adaptive_at", -60_000)
    later = Metrics(QueueReading(client, broker.keyspace))
    assert value(samples(later), "largesse_site_adaptive_rate_ratio", site="acme") == 1


def test_queue_figures_count_what_scripts_ended(
    client: redis.Redis, broker: EngineBroker, redis_url: str
) -> None:
    """A job that nobody ran is counted where it ended, in all and in its minute."""
    fill(broker, redis_url)
    shard = broker.keyspace.shard_of_site("acme")
    prefix = broker.keyspace.prefix(shard)
    (job_id,) = client.lrange(f"{prefix}q:chargebee:line:acme:bulk", 0, -1)  # type: ignore[misc]
    broker.scripts.run("cancel", shard, [job_id, 60_000, 1_000])
    (point,) = read_minutes(client, broker.keyspace)
    assert (point.site, point.kind, point.outcomes) == ("acme", "gift_checkout", {"cancelled": 1})
    client.hset(f"{prefix}ended", "acme/grow|gift_checkout|cancelled|cancelled", 2)
    ended = read_queue(client, broker.keyspace).ended
    assert ended == {("acme", "gift_checkout", "cancelled", "cancelled"): 3}


def test_queue_reading_of_an_unreachable_redis(free_port: int) -> None:
    """A scrape says so within about a second and shows no figure that is not true."""
    client = connect(f"redis://127.0.0.1:{free_port}/0", PRODUCER)
    started = Stopwatch()
    found = samples(Metrics(QueueReading(client, Keyspace())))
    assert started.own_s < 3
    assert [one for one in found if one[0].startswith(PREFIX)] == [("largesse_broker_up", {}, 0)]
    client.close()


def test_queue_reading_serves_several_scrapers(client: redis.Redis, broker: EngineBroker) -> None:
    """Within two seconds Redis is asked once."""
    now = [0.0]
    reading = QueueReading(client, broker.keyspace, clock=lambda: now[0])

    def asked() -> int:
        before = client.info("commandstats").get("cmdstat_smembers", {}).get("calls", 0)
        list(reading.collect())
        after = client.info("commandstats").get("cmdstat_smembers", {}).get("calls", 0)
        return int(after - before)

    assert asked() > 0
    now[0] = 1.9
    assert asked() == 0
    now[0] = 2.0
    assert asked() > 0


def test_metrics_speak_openmetrics_when_asked() -> None:
    """A scraper that prefers it gets OpenMetrics."""
    body, content_type = Metrics(process()).render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.fixture
def cluster(redis_server_factory: Callable[..., RedisServer]) -> Iterator[redis.Redis]:
    """A Cluster of one node that has all slots."""
    config = {"cluster-enabled": "yes", "cluster-port": free_port()}
    server = redis_server_factory(config=config)
    with server.client() as node:
        node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    made = connect(f"redis+cluster://127.0.0.1:{server.port}", PRODUCER)
    yield made
    made.close()


def test_figures_of_a_cluster(cluster: redis.Redis) -> None:
    """Shards in different slots are read and written all the same; it has no one memory."""
    broker = EngineBroker(client=cluster, shards=3, middleware=[])
    broker.declare_queue("chargebee")
    broker.configure(Budget(one, rate_per_minute=60, burst=1, max_in_flight=5) for one in SITES)
    fill(broker, "redis://127.0.0.1:1/0")
    found = samples(Metrics(QueueReading(cluster, broker.keyspace)))
    assert value(found, "largesse_broker_up") == 1
    assert value(found, "largesse_jobs_waiting", site="acme", lane="interactive") == 1
    assert value(found, "largesse_site_in_flight", site="beta") == 0
    assert not [one for one in found if one[0].startswith("largesse_broker_memory")]
    Flusher(cluster, broker.keyspace, counted()).flush()
    assert [one.jobs for one in read_minutes(cluster, broker.keyspace)] == [1]
