"""The table of all metrics: name, type, labels and meaning; docs/metrics.md says the same.

Names reuse the words of the log. Labels are bounded: sites and kinds that are configured, codes
that the API documents; never an id or a value of a payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["METRICS", "PREFIX", "Metric"]

#: First part of every name.
PREFIX: Final = "largesse_"

_JOB = ("site", "kind")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: without the prefix.
        type: of Prometheus.
        source: "process" (each worker process tells its own) or "queue" (read from Redis: every
            process tells the same).
        labels: names of its labels, in order.
        help: what it means.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    source: Literal["process", "queue"]
    labels: tuple[str, ...]
    help: str


def _table(*rows: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({row.name: row for row in rows})


METRICS: Final = _table(
    Metric("jobs_total", "counter", "process", (*_JOB, "outcome", "error_class"),
           "jobs that this process ended: succeeded, failed, expired, held"),
    Metric("attempts_total", "counter", "process", (*_JOB, "outcome"),
           "attempts by outcome: succeeded, failed, expired, held, reissued, "
           "retry_scheduled, snoozed"),
    Metric("api_calls_total", "counter", "process",
           (*_JOB, "outcome", "api_error_code", "replayed"),
           "calls of the API by outcome: succeeded, or the class of the error"),
    Metric("api_call_seconds", "histogram", "process", _JOB,
           "time of a call, from the request to the end of the answer"),
    Metric("job_seconds", "histogram", "process", _JOB,
           "total latency: from enqueue to the ending in Redis, delays included"),
    Metric("job_wait_seconds", "histogram", "process", _JOB,
           "time from enqueue to the first attempt, delays included"),
    Metric("jobs_running", "gauge", "process", (), "jobs that this process runs now"),
    Metric("worker_concurrency", "gauge", "process", (),
           "most jobs that this process runs at the same time; 0 under dramatiq's threads"),
    Metric("worker_silence_seconds", "gauge", "process", (),
           "time since the slowest consumer last got an answer from Redis"),
    Metric("worker_ready", "gauge", "process", (), "1 while /readyz answers 200, else 0"),
    Metric("outcomes_stream_max_length", "gauge", "process", (),
           "most entries of the stream of outcomes of a shard; the oldest are cut beyond it"),
    Metric("outcomes_stream_max_age_seconds", "gauge", "process", (),
           "how long an outcome waits for a group that has not handled it, before it is cut"),
    Metric("minute_flushes_lost_total", "counter", "process", (),
           "flushes of counts that Redis did not take; these counts are lost, jobs are not"),
    Metric("broker_clock_steps_total", "counter", "process", (),
           "steps of Redis time of more than 5.5 s, forward or back, as this process saw them"),
    Metric("build_info", "gauge", "process", ("version",), "always 1"),
    Metric("broker_up", "gauge", "queue", (), "1 when Redis answered this scrape, else 0"),
    Metric("broker_memory_bytes", "gauge", "queue", (),
           "memory that Redis uses; not measured on a Cluster"),
    Metric("broker_memory_max_bytes", "gauge", "queue", (),
           "memory limit of Redis; 0 = none; not measured on a Cluster"),
    Metric("jobs_waiting", "gauge", "queue", ("site", "lane"),
           "jobs that wait in the lines of a site"),
    Metric("oldest_job_age_seconds", "gauge", "queue", ("site", "lane"),
           "age of the job at the head of the line, since its enqueue; 0 when the line is empty"),
    Metric("jobs_delayed", "gauge", "queue", (), "jobs that wait until they are due"),
    Metric("delayed_overdue_seconds", "gauge", "queue", (),
           "how late the next delayed job is; above a few seconds no worker fetches"),
    Metric("jobs_leased", "gauge", "queue", (), "jobs that workers hold under a lease"),
    Metric("jobs_dead", "gauge", "queue", (), "dead letters; a person replays or discards them"),
    Metric("jobs_held", "gauge", "queue", (), "jobs whose outcome is unknown; a person decides"),
    Metric("outcomes_stream_length", "gauge", "queue", (), "entries of the streams of outcomes"),
    Metric("outcomes_group_lag", "gauge", "queue", ("group",),
           "outcomes that the group has not handled"),
    Metric("outcomes_group_shard_lag", "gauge", "queue", ("group",),
           "the same on the shard that has the most: each shard is cut by itself"),
    Metric("outcomes_group_age_seconds", "gauge", "queue", ("group",),
           "time since the oldest outcome that the group has not handled; 0 when there is none"),
    Metric("outcomes_group_missed", "gauge", "queue", ("group",),
           "outcomes that were cut before the group had handled them; 0 once the group is told"),
    Metric("site_in_flight", "gauge", "queue", ("site",),
           "calls of the whole fleet at this moment"),
    Metric("site_max_in_flight", "gauge", "queue", ("site",),
           "most calls of the whole fleet at the same moment; 0 = no limit"),
    Metric("site_rate_per_minute", "gauge", "queue", ("site",),
           "most calls of the fleet in a minute; 0 = no limit"),
    Metric("site_adaptive_rate_ratio", "gauge", "queue", ("site",),
           "adaptive rate as a part of the full rate; below 1 after a 429, until it is back at 1"),
    Metric("site_budget_used_ratio", "gauge", "queue", ("site",),
           "0 = a whole burst may be sent at once, 1 = calls are spaced by the rate"),
    Metric("site_throttled_seconds", "gauge", "queue", ("site",),
           "time until the site may be called again, as the API asked; 0 = now"),
    Metric("site_paused", "gauge", "queue", ("site",),
           "1 while a person has paused the site"),
    Metric("site_tripped", "gauge", "queue", ("site",),
           "1 while the circuit breaker of the site is tripped by failures or a refused key"),
    Metric("site_unserved_seconds", "gauge", "queue", ("site",),
           "time for which jobs of the site wait and no living worker has a key for it"),
    Metric("jobs_ended_by_broker_total", "counter", "queue", (*_JOB, "outcome", "error_class"),
           "jobs that a script ended without a worker: past the deadline, poison, cancelled"),
)  # fmt: skip
