"""The producer: validates a job and puts it into the queue, from any backend app.

    producer = Producer.from_env()
    job = producer.gift_checkout({...}, key="order-1042", skip={"webhooks", "email"})
    page = job.result(timeout=10).hosted_page

The same key again gives the same job and its result. Nothing here needs an HTTP client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

from worker.client.connections import Lease
from worker.client.handle import AsyncJobHandle, JobHandle
from worker.client.producer_span import sending
from worker.client.result_reader import AsyncResultReader, ResultReader
from worker.engine import crash_points
from worker.engine.enqueue import (
    CALL_S,
    Accepted,
    Entry,
    entry_of,
    take_in,
    take_in_async,
)
from worker.engine.keys import Keyspace
from worker.engine.scripts import AsyncScripts, Scripts
from worker.errors import ArgumentError, BrokerUnavailableError
from worker.jobs.batch import prepare_many
from worker.jobs.job import QUEUE, Job
from worker.settings import Settings

__all__ = ["AsyncProducer", "Producer"]

Lane = Literal["interactive", "bulk"]


def _options(
    *,
    skip: Iterable[str] | None,
    business_entity_id: str | None,
    brand_id: str | None,
    origin: Mapping[str, str] | None,
    deadline_s: float | None,
    delay_s: float | None,
    lane: Lane,
) -> dict[str, Any]:
    given = {
        "skip": _in_order(skip),
        "business_entity_id": business_entity_id,
        "brand_id": brand_id,
        "origin": origin,
        "deadline_s": deadline_s,
        "delay_s": delay_s,
        "lane": None if lane == "interactive" else lane,  # the default
    }
    return {name: value for name, value in given.items() if value is not None}


def _in_order(skip: Any) -> Any:
    try:
        return skip if skip is None or isinstance(skip, str) else sorted(skip)
    except TypeError:  # told by the check of the options
        return skip


class _Producer:
    """What both producers share: all but the await."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lease = Lease(settings, type(self).__name__)
        self.keyspace = Keyspace.of(settings)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make a producer from environment variables; see docs/settings.md."""
        return cls(Settings.from_env(environ))

    @contextmanager
    def _sending(self, jobs: Sequence[Job]) -> Iterator[Iterator[Entry]]:
        """Give the entries of jobs inside their span, and tell a failure as an app needs it."""
        try:
            with sending(jobs, QUEUE) as trace:
                yield (
                    entry_of(
                        job.message(trace), self.keyspace, delay_ms=job.delay_ms, parts=job.parts
                    )
                    for job in jobs
                )
        except BrokerUnavailableError as error:
            raise error.of_enqueue() from error.__cause__


def _jobs_of(jobs: Any) -> list[Job]:
    try:
        found = list(jobs)
    except TypeError:
        found = [None]
    if not all(isinstance(job, Job) for job in found):
        raise ArgumentError("jobs", "must be a list of what Job.prepare gives")
    return found


def _handled(
    jobs: Sequence[Job], words: Sequence[Accepted], report_conflicts: bool
) -> list[dict[str, Any]]:
    """Give what the handle of each job knows.

    Raises:
        JobConflictError: a key is taken by another payload, and that is not to be reported.
        EncryptionKeyMissingError: one is taken, and the payloads cannot be compared.
    """
    differs: dict[str, tuple[str, ...]] = {}
    for job, word in zip(jobs, words, strict=True):
        if word.word == "conflict":
            differs[job.id] = job.differs_from(word.parts)
            if word.missing_key or not report_conflicts:
                raise word.refusal(job.id, differs[job.id])
    return [
        {
            "job_id": job.id,
            "kind": job.kind,
            "site": job.site,
            "key": job.key,
            "accepted": word.word,
            "differs": differs[job.id] if word.word == "conflict" else (),
        }
        for job, word in zip(jobs, words, strict=True)
    ]


class Producer(_Producer):
    """Enqueues jobs and hands out their results. Threads may share one.

    Args:
        settings: where Redis is, and the sites.

    Raises:
        InvalidJobError: from every enqueue, before anything is sent.
        JobConflictError: the key is taken by another payload.
        EncryptionKeyMissingError: the key is taken by a job that was encrypted with a key which
            this producer does not have.
        BrokerUnavailableError: Redis did not take it within 1 s; a repeat with the key is safe.
        QueueFullError: Redis has no room.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        #: Reads, waits for and follows results, over the same connections.
        self.results = ResultReader(settings, lease=self._lease)

    def gift_checkout(
        self,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        site: str | None = None,
        skip: Iterable[str] | None = None,
        business_entity_id: str | None = None,
        brand_id: str | None = None,
        origin: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        delay_s: float | None = None,
        lane: Lane = "interactive",
    ) -> JobHandle:
        """Enqueue the making of a checkout page for a gift.

        Args:
            payload: fields of the request, `{}` for none; see docs/requests.md.
            key: your name for this very request, such as an order number: the same key again is
                the same job. Without a key every call is a new job.
            site: name of the site; the default one when None.
            skip: any of "webhooks", "email", "actions".
            business_entity_id: id of the business entity, sent as a header.
            brand_id: id of the brand, sent as a header.
            origin: any of `user`, `ip`, `device` of the person behind the request.
            deadline_s: seconds from now after which the job is not sent any more.
            delay_s: seconds from now before which it is not sent.
            lane: "interactive" while somebody waits, else "bulk".
        """
        options = _options(
            skip=skip, business_entity_id=business_entity_id, brand_id=brand_id, origin=origin,
            deadline_s=deadline_s, delay_s=delay_s, lane=lane,
        )  # fmt: skip
        return self.enqueue("gift_checkout", payload, key=key, site=site, options=options)

    def personalized_offer(
        self,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        site: str | None = None,
        skip: Iterable[str] | None = None,
        business_entity_id: str | None = None,
        brand_id: str | None = None,
        origin: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        delay_s: float | None = None,
        lane: Lane = "interactive",
    ) -> JobHandle:
        """Enqueue the fetching of a customer's offers; arguments as of `gift_checkout`."""
        options = _options(
            skip=skip, business_entity_id=business_entity_id, brand_id=brand_id, origin=origin,
            deadline_s=deadline_s, delay_s=delay_s, lane=lane,
        )  # fmt: skip
        return self.enqueue("personalized_offer", payload, key=key, site=site, options=options)

    def enqueue(
        self,
        kind: str,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        site: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> JobHandle:
        """Enqueue a job of any kind.

        Args:
            kind: "gift_checkout" or "personalized_offer".
            payload: fields of the request.
            key: see `gift_checkout`.
            site: name of the site.
            options: `skip`, `business_entity_id`, `brand_id`, `origin`, `deadline_s`, `delay_s`,
                `lane`.
        """
        job = Job.prepare(self.settings, kind, payload, key=key, site=site, options=options)
        return self.enqueue_jobs([job])[0]

    def enqueue_many(self, specs: Iterable[Mapping[str, Any]]) -> list[JobHandle]:
        """Enqueue many jobs in a few round trips, each deduplicated as a single one would be.

        Args:
            specs: mappings of `kind`, `payload` and, optional, `key`, `site`, `options`.

        Raises:
            InvalidJobError: at least one is not valid; nothing was enqueued.
            JobConflictError: the key of one is taken by another payload; all others are in.
        """
        return self.enqueue_jobs(prepare_many(self.settings, specs))

    def enqueue_jobs(
        self, jobs: Iterable[Job], *, report_conflicts: bool = False
    ) -> list[JobHandle]:
        """Enqueue jobs that are valid already.

        Args:
            jobs: what `Job.prepare` gave.
            report_conflicts: give a handle whose `accepted` is "conflict" instead of raising.
        """
        jobs = _jobs_of(jobs)
        with self._sending(jobs) as entries:
            crash_points.point("producer_before_enqueue")
            with self._lease.asking() as client:
                words = take_in(Scripts(client, self.keyspace), entries, call_s=CALL_S)
            crash_points.point("producer_after_enqueue")
        return [JobHandle(self.results, **one) for one in _handled(jobs, words, report_conflicts)]

    def job(self, job_id: str) -> JobHandle:
        """Give the handle of a job by its id, without asking Redis."""
        return JobHandle(self.results, job_id)

    def close(self) -> None:
        """Give the connections back. A later call takes them anew."""
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncProducer(_Producer):
    """The same for asyncio: nothing blocks the loop. Arguments and errors as of `Producer`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        #: Reads, waits for and follows results, over the same connections.
        self.results = AsyncResultReader(settings, lease=self._lease)

    async def gift_checkout(
        self,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        site: str | None = None,
        skip: Iterable[str] | None = None,
        business_entity_id: str | None = None,
        brand_id: str | None = None,
        origin: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        delay_s: float | None = None,
        lane: Lane = "interactive",
    ) -> AsyncJobHandle:
        """Enqueue the making of a checkout page for a gift; see `Producer.gift_checkout`."""
        options = _options(
            skip=skip, business_entity_id=business_entity_id, brand_id=brand_id, origin=origin,
            deadline_s=deadline_s, delay_s=delay_s, lane=lane,
        )  # fmt: skip
        return await self.enqueue("gift_checkout", payload, key=key, site=site, options=options)

    async def personalized_offer(
        self,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        site: str | None = None,
        skip: Iterable[str] | None = None,
        business_entity_id: str | None = None,
        brand_id: str | None = None,
        origin: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        delay_s: float | None = None,
        lane: Lane = "interactive",
    ) -> AsyncJobHandle:
        """Enqueue the fetching of a customer's offers; see `Producer.gift_checkout`."""
        options = _options(
            skip=skip, business_entity_id=business_entity_id, brand_id=brand_id, origin=origin,
            deadline_s=deadline_s, delay_s=delay_s, lane=lane,
        )  # fmt: skip
        return await self.enqueue(
            "personalized_offer", payload, key=key, site=site, options=options
        )

    async def enqueue(
        self,
        kind: str,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        site: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> AsyncJobHandle:
        """Enqueue a job of any kind; see `Producer.enqueue`."""
        job = Job.prepare(self.settings, kind, payload, key=key, site=site, options=options)
        return (await self.enqueue_jobs([job]))[0]

    async def enqueue_many(self, specs: Iterable[Mapping[str, Any]]) -> list[AsyncJobHandle]:
        """Enqueue many jobs in a few round trips; see `Producer.enqueue_many`."""
        return await self.enqueue_jobs(prepare_many(self.settings, specs))

    async def enqueue_jobs(
        self, jobs: Iterable[Job], *, report_conflicts: bool = False
    ) -> list[AsyncJobHandle]:
        """Enqueue jobs that are valid already; see `Producer.enqueue_jobs`."""
        jobs = _jobs_of(jobs)
        with self._sending(jobs) as entries:
            words = await self._lease.run(
                lambda side: take_in_async(
                    AsyncScripts(side.client, self.keyspace), entries, room=side.room
                )
            )
        return [
            AsyncJobHandle(self.results, **one) for one in _handled(jobs, words, report_conflicts)
        ]

    def job(self, job_id: str) -> AsyncJobHandle:
        """Give the handle of a job by its id, without asking Redis."""
        return AsyncJobHandle(self.results, job_id)

    async def aclose(self) -> None:
        """Give the connections back. A later call takes them anew."""
        await self._lease.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
