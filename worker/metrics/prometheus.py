"""The figures in the words of Prometheus, made when somebody asks.

Needs `prometheus_client` (extra `worker`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, cast

import redis
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from worker.engine.keys import Keyspace
from worker.engine.queue_clock import is_cluster
from worker.engine.redis_errors import speaking_to_redis
from worker.errors import BrokerError
from worker.metrics.counts import BOUNDS_S, Counts, Times
from worker.metrics.follower_groups import FollowerGroup, read_follower_groups
from worker.metrics.gauges import QueueGauges, read_queue
from worker.metrics.metric_names import METRICS, PREFIX

__all__ = ["Metrics", "ProcessCounts", "QueueReading"]

#: Seconds that a reading of the queue serves several scrapers.
KEEP_S: Final = 2.0

Samples = Iterable[tuple[tuple[str, ...], float]]
_BOUNDS: Final = (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf")


class Metrics:
    """Everything that `/metrics` shows.

    Args:
        collectors: `ProcessCounts`, `QueueReading`.
    """

    def __init__(self, *collectors: Collector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        for one in collectors:
            self._registry.register(one)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Write all metrics.

        Args:
            accept: header of the request.

        Returns:
            The body and its content type.
        """
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


class ProcessCounts(Collector):
    """What one process counted since its start.

    Args:
        counts: the counts.
        gauges: gives the gauges of the moment: name without prefix to value.
        version: of Largesse.
    """

    def __init__(
        self, counts: Counts, gauges: Callable[[], Mapping[str, float]], *, version: str
    ) -> None:
        self._counts = counts
        self._gauges = gauges
        self._version = version

    def describe(self) -> list[Metric]:
        """Nothing is read to register."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give the figures of this moment."""
        found = self._counts.snapshot()
        gauges = self._gauges()
        for name, metric in METRICS.items():
            if metric.source != "process":
                continue
            if metric.type == "histogram":
                mine = ((key[1:], one) for key, one in found.times.items() if key[0] == name)
                yield _histogram(name, mine)
            elif metric.type == "counter":
                counts = [(key[1:], n) for key, n in found.counts.items() if key[0] == name]
                yield _family(name, counts if metric.labels else counts or [((), 0)])
            elif name == "build_info":
                yield _family(name, [((self._version,), 1)])
            elif name in gauges:
                yield _family(name, [((), gauges[name])])


class QueueReading(Collector):
    """What Redis knows; a scrape waits for it about a second at most.

    Args:
        client: a client whose replies are bytes, of little patience.
        keyspace: names of the keys.
        clock: gives seconds that never go back.
    """

    def __init__(
        self,
        client: redis.Redis,
        keyspace: Keyspace,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keyspace = keyspace
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, dict[str, Samples]] | None = None

    def describe(self) -> list[Metric]:
        """Nothing is read to register."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give the state of the queue; of an unreachable Redis only that it is unreachable."""
        with self._lock:  # several scrapers at once are one reading
            now = self._clock()
            if self._kept is None or now - self._kept[0] >= KEEP_S:
                self._kept = (now, self._read())
            samples = self._kept[1]
        for name, rows in samples.items():
            yield _family(name, rows)

    def _read(self) -> dict[str, Samples]:
        try:
            figures = read_queue(self._client, self._keyspace)
            groups = read_follower_groups(self._client, self._keyspace)
            memory = self._memory()
        except BrokerError:
            return {"broker_up": [((), 0)]}
        return {"broker_up": [((), 1)], **memory, **_samples(figures), **_group_samples(groups)}

    def _memory(self) -> dict[str, Samples]:
        if is_cluster(self._client):
            return {}
        with speaking_to_redis():
            info = cast("dict[str, int]", self._client.info("memory"))
        return {
            "broker_memory_bytes": [((), info["used_memory"])],
            "broker_memory_max_bytes": [((), info.get("maxmemory", 0))],
        }


def _samples(queue: QueueGauges) -> dict[str, Samples]:
    lines, sites = queue.lines, queue.sites
    return {
        "jobs_waiting": [((one.site, one.lane), one.waiting) for one in lines],
        "oldest_job_age_seconds": [((one.site, one.lane), one.oldest_age_s) for one in lines],
        "jobs_delayed": [((), queue.delayed)],
        "delayed_overdue_seconds": [((), queue.overdue_s)],
        "jobs_leased": [((), queue.leased)],
        "jobs_dead": [((), queue.dead)],
        "jobs_held": [((), queue.held)],
        "outcomes_stream_length": [((), queue.outcomes)],
        "site_in_flight": [((one.name,), one.in_flight) for one in sites],
        "site_max_in_flight": [((one.name,), one.max_in_flight) for one in sites],
        "site_rate_per_minute": [((one.name,), one.rate_per_minute) for one in sites],
        "site_adaptive_rate_ratio": [((one.name,), one.adaptive_ratio) for one in sites],
        "site_budget_used_ratio": [((one.name,), one.budget_used) for one in sites],
        "site_throttled_seconds": [((one.name,), one.throttled_s) for one in sites],
        "site_paused": [((one.name,), one.paused_reason is not None) for one in sites],
        "site_tripped": [((one.name,), one.tripped_reason is not None) for one in sites],
        "site_unserved_seconds": [((name,), for_s) for name, for_s in queue.unserved.items()],
        "jobs_ended_by_broker_total": list(queue.ended.items()),
    }


def _group_samples(groups: Sequence[FollowerGroup]) -> dict[str, Samples]:
    return {
        "outcomes_group_lag": [((one.name,), one.lag) for one in groups],
        "outcomes_group_shard_lag": [((one.name,), one.shard_lag) for one in groups],
        "outcomes_group_age_seconds": [((one.name,), one.age_ms / 1000) for one in groups],
        "outcomes_group_missed": [((one.name,), one.missed) for one in groups],
    }


def _family(name: str, samples: Samples) -> Metric:
    metric = METRICS[name]
    # The client adds `_total` to a counter by itself.
    make = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = make(PREFIX + name.removesuffix("_total"), metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, float(value))
    return family


def _histogram(name: str, times: Iterable[tuple[tuple[str, ...], Times]]) -> Metric:
    metric = METRICS[name]
    family = HistogramMetricFamily(PREFIX + name, metric.help, labels=metric.labels)
    for labels, one in times:
        total = 0
        buckets = []
        for bound, count in zip(_BOUNDS, one.buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, sum_value=one.sum_s)
    return family
