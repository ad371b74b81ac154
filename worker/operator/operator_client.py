"""The operator's moves and looks, on one connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, cast

import redis

from worker.client.result_reader import events_of
from worker.engine.broker import Budget
from worker.engine.connection import PRODUCER, connect
from worker.engine.keys import RECORD_VERSION, Keyspace
from worker.engine.options import STREAM_MOST
from worker.engine.queue_clock import queue_now_ms
from worker.engine.record import Record, read_records
from worker.engine.redis_errors import speaking_to_redis
from worker.engine.scripts import Scripts
from worker.errors import (
    EncryptionError,
    LayoutError,
    ReplayRefusedError,
    ResultError,
    ResultMissingError,
)
from worker.metrics.follower_groups import FollowerGroup, read_follower_groups
from worker.metrics.gauge_minutes import Depth, read_gauge_minutes, record_depth
from worker.metrics.minutes import Point, read_minutes
from worker.operator.audit import Audit
from worker.operator.broker_health import BrokerHealth, read_health
from worker.operator.dead_letters import DeadLetter, Which, count_dead_letters, read_dead_letters
from worker.operator.job_query import Found, JobQuery, find_jobs
from worker.operator.payload import existing_messages, mask, read_payload, unreadable
from worker.operator.queue_state import QueueState, read_queues
from worker.operator.replay_plan import ReplayPlan, plan_replay
from worker.operator.site_state import SiteState, read_sites
from worker.operator.worker_state import WorkerState, read_workers
from worker.process.budgets import rate_of
from worker.settings import Settings

__all__ = ["OperatorClient"]


class OperatorClient:
    """Looks after a queue. Threads may share one.

    Args:
        settings: where Redis is, the window, how long results are kept.
        who: name for the audit list; without one nothing is written there.

    Raises:
        BrokerUnavailableError: from every method, while Redis is unreachable.
    """

    def __init__(self, settings: Settings, *, who: str | None = None) -> None:
        self._settings = settings
        self._who = who
        self._keyspace = Keyspace.of(settings)
        self._client: redis.Redis = connect(settings.redis, PRODUCER)
        self._scripts = Scripts(self._client, self._keyspace)
        #: The audit list.
        self.audit = Audit(self._client, self._keyspace)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make one from environment variables; see docs/settings.md."""
        return cls(Settings.from_env(environ))

    # -- reads

    def now_ms(self) -> int:
        """Give the time of the queue, Unix ms."""
        with speaking_to_redis():
            return queue_now_ms(self._client, self._keyspace)

    def check_layout(self) -> None:
        """Compare the layout of the queue with the settings.

        Raises:
            LayoutError: the queue has another number of shards: some of it would not be seen.
        """
        with speaking_to_redis():
            layout: Any = self._client.hmget(
                f"{self._keyspace.prefix(0)}layout", ("shards", "version")
            )
        shards = self._keyspace.shards
        if layout[0] is not None and int(layout[0]) != shards:
            raise LayoutError(shards, RECORD_VERSION, *map(int, layout))

    def health(self) -> BrokerHealth:
        """Ask Redis how it is."""
        return read_health(self._client)

    def dead(self) -> Iterator[DeadLetter]:
        """Give the dead letters, oldest first within a shard."""
        return read_dead_letters(self._client, self._keyspace, "dead")

    def held(self) -> Iterator[DeadLetter]:
        """Give the jobs held for a person, oldest first within a shard."""
        return read_dead_letters(self._client, self._keyspace, "held")

    def dead_letters(self, which: Which) -> Iterator[DeadLetter]:
        """Give the dead letters or the held jobs, by name of the list."""
        return read_dead_letters(self._client, self._keyspace, which)

    def counts(self) -> dict[str, int]:
        """Count what is set aside: `{"dead": n, "held": n}`."""
        return count_dead_letters(self._client, self._keyspace)

    def sites(self) -> list[SiteState]:
        """Give every site that is configured, was paused or has had jobs, by name."""
        return read_sites(self._client, self._keyspace)

    def follower_groups(self) -> list[FollowerGroup]:
        """Give the groups that follow the outcomes, by name."""
        return read_follower_groups(self._client, self._keyspace)

    def workers(self) -> list[WorkerState]:
        """Give the workers that are there or hold jobs, by name."""
        return read_workers(self._client, self._keyspace)

    def queues(self) -> list[QueueState]:
        """Give every queue, by name."""
        return read_queues(self._client, self._keyspace)

    def minutes(self, minutes: int = 60) -> list[Point]:
        """Give what workers did in the last minutes, up to 120; oldest first."""
        return read_minutes(self._client, self._keyspace, minutes)

    def gauge_minutes(self, minutes: int = 60) -> list[Depth]:
        """Give how deep the queue was in the last minutes, up to 120; oldest first."""
        return read_gauge_minutes(self._client, self._keyspace, minutes)

    def record_depth(self) -> None:
        """Record this minute's depth unless a worker has, so that a stopped fleet shows."""
        record_depth(self._client, self._keyspace, self.now_ms())

    def find(self, query: JobQuery) -> Found:
        """Find jobs, enqueued last first."""
        names = {site.name for site in self.sites()} | set(self._settings.sites)
        return find_jobs(self._client, self._keyspace, query, sites=sorted(names))

    def states(self, job_ids: Iterable[str]) -> dict[str, str | None]:
        """Give the state of each job, or None of one that is not known."""
        records = read_records(self._client, self._keyspace, job_ids)
        return {
            job_id: None if one is None else one.state.value for job_id, one in records.items()
        }

    def story(self, job_id: str) -> tuple[Record, list[dict[str, Any]]]:
        """Read a job's record and what happened to it.

        Returns:
            The record, and its events as `ResultReader.events` gives them.

        Raises:
            ResultMissingError: it is not known.
        """
        found = read_records(self._client, self._keyspace, [job_id], history=True)[job_id]
        if found is None:
            raise ResultMissingError(job_id)
        return found, events_of(found)

    def payload(
        self, job_id: str, *, reveal: bool = False, who: str | None = None
    ) -> dict[str, Any] | None:
        """Read what a job carries.

        Args:
            job_id: its id.
            reveal: give the values too; without it only the structure is given.
            who: name for the audit list; the operator's when None.

        Returns:
            `{"payload": {...}, "options": {...}}`, or None when it was dropped. What cannot be
            decrypted here is `{"unreadable": "encrypted with key ..."}`.
        """
        try:
            found = read_payload(self._client, self._keyspace, job_id)
        except EncryptionError as error:
            return {"payload": unreadable(error), "options": {}}
        if reveal:
            self._note("reveal", job_id, who=who)
            return found
        return None if found is None else mask(found)

    def plan(self, job_ids: Iterable[str], *, new_key: bool = False) -> dict[str, ReplayPlan]:
        """Foretell what a replay of jobs would do; nothing is changed.

        Args:
            job_ids: ids of jobs.
            new_key: as for `replay`.
        """
        ids = list(job_ids)
        records = read_records(self._client, self._keyspace, ids)
        there = existing_messages(self._client, self._keyspace, ids)
        now_ms = self.now_ms()
        return {
            job_id: plan_replay(
                job_id, records[job_id], new_key=new_key, has_message=there[job_id],
                now_ms=now_ms, window_ms=self._window_ms(),
            )
            for job_id in ids
        }  # fmt: skip

    # -- actions

    def replay(self, job_id: str, *, new_key: bool = False, who: str | None = None) -> None:
        """Run a job again that failed, expired, was cancelled or is held.

        The job keeps its id. While its idempotency window is open it keeps its idempotency key
        too, so a page that an unknown attempt made is found again instead of doubled.

        Args:
            job_id: its id.
            new_key: give it a new idempotency key. An unknown attempt may then have left a page
                behind that nobody was given; the record counts it as an orphan.
            who: name for the audit list; the operator's when None.

        Raises:
            ReplayRefusedError: it is not in such a state, or the window is over and `new_key` was
                not asked for.
            ResultMissingError: it is not known.
        """
        arguments = [self._window_ms(), int(new_key)]
        detail = "new key" if new_key else "same key"
        self._act("replay", job_id, arguments, ("queued",), detail=detail, who=who)

    def discard(self, job_id: str, *, who: str | None = None) -> None:
        """Drop a dead letter for good, or end a held job as failed.

        Raises:
            ReplayRefusedError: the job is neither dead nor held.
            ResultMissingError: it is not known.
        """
        self._act("discard", job_id, self._keeping(), ("discarded",), who=who)

    def cancel(self, job_id: str, *, who: str | None = None) -> str:
        """Cancel a job: a waiting one at once, a running one after its attempt.

        Returns:
            "cancelled", "cancelling", or the terminal state it already has.

        Raises:
            ResultMissingError: it is not known.
        """
        return self._act("cancel", job_id, self._keeping(), None, who=who)

    def pause(self, site: str, *, reason: str = "paused by hand", who: str | None = None) -> None:
        """Hand out no more jobs of a site; they stay in their lines."""
        self._scripts.run("pause", self._keyspace.shard_of_site(site), [site, reason])
        self._note("pause", site, detail=reason, who=who)

    def resume(self, site: str, *, who: str | None = None) -> bool:
        """Hand out the jobs of a paused, tripped or throttled site again.

        Returns:
            False when nothing held it back.
        """
        word = self._scripts.run("resume", self._keyspace.shard_of_site(site), [site])
        resumed = cast("bytes", word) == b"resumed"
        self._note("resume", site, result="done" if resumed else "nothing held it back", who=who)
        return resumed

    def set_rate(
        self, site: str, rate_per_minute: float | None, *, who: str | None = None
    ) -> None:
        """Change a site's rate for the whole fleet; it stands until it is changed again.

        Args:
            site: name of the site.
            rate_per_minute: calls in any minute; 0 = no limit, None = as the settings say.
            who: name for the audit list; the operator's when None.
        """
        shard = self._keyspace.shard_of_site(site)
        if rate_per_minute is None:
            self._scripts.run("rate", shard, [site, "", 0, 0])
            self._note("rate", site, detail="as the settings say", who=who)
            return
        rate, burst = rate_of(rate_per_minute)
        budget = Budget(site, rate_per_minute=rate, burst=burst, max_in_flight=0)
        _, interval_ms, burst_ms, *_ = budget.arguments()
        self._scripts.run("rate", shard, [site, f"{rate_per_minute:g}", interval_ms, burst_ms])
        self._note("rate", site, detail=f"{rate_per_minute:g} a minute", who=who)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _window_ms(self) -> int:
        return round(self._settings.window_minutes * 60_000)

    def _keeping(self) -> list[int]:
        return [self._settings.result_ttl_s * 1000, STREAM_MOST]

    def _act(
        self, script: str, job_id: str, arguments: list[int], wanted: tuple[str, ...] | None,
        *, detail: str = "", who: str | None = None,
    ) -> str:  # fmt: skip
        shard = self._keyspace.shard_of_job(job_id)
        word = cast("bytes", self._scripts.run(script, shard, [job_id, *arguments])).decode()
        error: ResultError | None = None
        if word == "missing":
            error = ResultMissingError(job_id)
        elif wanted is not None and word not in wanted:
            error = ReplayRefusedError(job_id, word)
        self._note(script, job_id, detail=detail, result=word if error else "done", who=who)
        if error is not None:
            raise error
        return word

    def _note(
        self, action: str, target: str, *, detail: str = "", result: str = "done",
        who: str | None = None,
    ) -> None:  # fmt: skip
        name = who or self._who
        if name is not None:
            self.audit.write(name, action, target, detail=detail, result=result)
