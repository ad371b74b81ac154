"""The actors: load the job, make the call, turn the answer or the error into an ending."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import dramatiq
from dramatiq import Broker

from worker.api.client import ApiClient
from worker.api.request import ApiRequest, build_request
from worker.engine import crash_points
from worker.engine.delivery import Delivery, current_delivery
from worker.engine.endings import Bury, Ending, Finish, Release, Retry
from worker.engine.exclusions import Exclusions
from worker.errors import NotSentError, SettingsError
from worker.jobs import outcome
from worker.jobs.job import QUEUE, idempotency_key
from worker.metrics.counts import Counts
from worker.operations import OPERATIONS, Operation
from worker.process.job_log import JobLog, JobNames
from worker.process.site_keys import SiteKeys
from worker.retry.rules import Decision, close_window, decide, may_send
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.traces.worker_spans import Client

__all__ = ["Caller", "register"]

#: Most milliseconds that a succeeded result is kept, whatever expiry the API names: 31 days.
RESULT_TTL_MAX_MS: Final = 31 * 86_400_000


#: Classes of errors that, many in a row, say that the site is unavailable.
FAILING_CLASSES: Final = frozenset({"ambiguous", "not_sent", "unavailable"})
#: Calls at the same time where the worker does not say: more than it has threads.
CONNECTIONS: Final = 1024


class Caller:
    """Makes the calls of one process.

    Args:
        settings: sites, policies, bounds.
        client: the API client; made from the settings when None.
        connections: most calls at the same time.
        counts: where attempts and calls are counted.
        rng: source of jitter.
        keys: which sites the process has a good key for.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        client: Client | None = None,
        keys: SiteKeys | None = None,
        connections: int = CONNECTIONS,
        counts: Counts | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.client: Client = client or ApiClient(
            connect_timeout_s=settings.connect_timeout_s,
            attempt_timeout_s=settings.attempt_timeout_s,
            max_body_bytes=settings.max_body_bytes,
            max_connections=connections,
        )
        self._rng = rng or random.Random()
        #: Which sites this process can serve.
        self.keys = keys or SiteKeys(settings, Exclusions())
        self._policies = {kind: settings.policy(kind) for kind in OPERATIONS}
        #: What was counted since the start of the process.
        self.counts = counts or Counts(sites=settings.sites, kinds=OPERATIONS)
        self._log = JobLog(self.counts)

    async def call(
        self, operation: Operation, payload: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Make one attempt of the current delivery and say what becomes of it."""
        delivery = current_delivery()
        policy = self._policies[operation.kind]
        if not delivery.is_leased():
            delivery.end(Release())
            return
        if not may_send(
            policy,
            repeatable=operation.repeatable,
            unsure_since_ms=delivery.unsure_since_ms,
            now_ms=delivery.now_ms(),
        ):
            decision = close_window(policy)
            self._note(decision, delivery, None)
            delivery.end(self._ending(decision, delivery, None, ""))
            return
        at_ms, started = delivery.now_ms(), time.monotonic()
        names = _names(delivery)
        self._log.started(
            names,
            attempt=delivery.attempts + 1,
            waited_ms=at_ms - delivery.enqueued_at_ms,
        )
        api_key = ""
        try:
            request, api_key = self._prepare(operation, payload, options, delivery)
            ending = await self._attempt(
                operation, request, api_key, delivery, names=names, at_ms=at_ms
            )
        except Exception as error:  # noqa: BLE001 - every failure is an ending
            took_ms = round((time.monotonic() - started) * 1000)
            if isinstance(error, NotSentError):
                delivery.sent = False
            entry = outcome.attempt_entry(
                at_ms=at_ms, took_ms=took_ms, status=None, error=error,
                replayed=bool(getattr(error, "replayed", False)),
            )  # fmt: skip
            self._log.called(
                names, attempt=delivery.attempts + 1, path=operation.path,
                duration_ms=took_ms, error=error,
            )  # fmt: skip
            decision = self._decide(error, operation, delivery)
            self._note(decision, delivery, error)
            mark = self._note_key(decision, delivery, error, api_key)
            ending = self._ending(decision, delivery, error, entry, key_mark=mark)
        delivery.end(ending)

    async def _attempt(
        self,
        operation: Operation,
        request: ApiRequest,
        api_key: str,
        delivery: Delivery,
        *,
        names: JobNames,
        at_ms: int,
    ) -> Ending:
        crash_points.point("before_send")
        delivery.sent = True
        answer = await self.client.call(request, api_key=api_key)
        self.keys.answered(delivery.site, api_key)
        part = operation.read_answer(answer.body, status=answer.status, replayed=answer.replayed)
        crash_points.point("after_parse")
        entry = outcome.attempt_entry(
            at_ms=at_ms, took_ms=answer.elapsed_ms, status=answer.status, error=None,
            replayed=answer.replayed,
        )  # fmt: skip
        self._log.called(
            names, attempt=delivery.attempts + 1, path=operation.path,
            duration_ms=answer.elapsed_ms, status=answer.status, replayed=answer.replayed,
        )  # fmt: skip
        self._log.succeeded(
            names, attempts=delivery.attempts + 1, replayed=answer.replayed,
            duration_ms=delivery.now_ms() - delivery.enqueued_at_ms,
        )  # fmt: skip
        return Finish(
            outcome=outcome.succeeded(delivery, part, replayed=answer.replayed),
            ttl_ms=self._ttl_ms(outcome.expiry_of(part), delivery.now_ms()),
            attempt=entry,
        )

    def _prepare(
        self,
        operation: Operation,
        payload: Mapping[str, Any],
        options: Mapping[str, Any],
        delivery: Delivery,
    ) -> tuple[ApiRequest, str]:
        site = self.settings.site(delivery.site)
        keyed = operation.idempotent or self.settings.offers_idempotency_key
        request = build_request(
            operation,
            site=site,
            payload=payload,
            options=options,
            idempotency_key=idempotency_key(delivery.job_id, delivery.epoch) if keyed else None,
        )
        return request, site.api_key.read()

    def _note(self, decision: Decision, delivery: Delivery, error: Exception | None) -> None:
        self._log.decided(
            _names(delivery),
            decision,
            attempt=delivery.attempts + 1,
            duration_ms=delivery.now_ms() - delivery.enqueued_at_ms,
            error=error,
        )

    def _note_key(
        self, decision: Decision, delivery: Delivery, error: Exception, api_key: str
    ) -> str:
        """Leave a site to others when its key is the matter; give the mark of a refused key."""
        if decision.action == "hand_back" and isinstance(error, SettingsError):
            self.keys.cannot_serve(delivery.budget, error)
        return self.keys.refuse(delivery.site, api_key) if decision.key_refused else ""

    def _decide(self, error: Exception, operation: Operation, delivery: Delivery) -> Decision:
        since_ms = delivery.unsure_since_ms
        if since_ms is None and delivery.sent:
            since_ms = delivery.delivered_at_ms
        return decide(
            error,
            policy=self._policies[operation.kind],
            operation_repeatable=operation.repeatable,
            attempt=delivery.attempts + 1,
            first_sent_ms=since_ms,
            # A delayed job's time runs from when it could first be sent.
            enqueued_ms=delivery.first_delivery_at_ms,
            now_ms=delivery.now_ms(),
            deadline_ms=delivery.deadline_at_ms,
            unsure=delivery.unsure_since_ms is not None,
            rng=self._rng,
        )

    def _ending(
        self,
        decision: Decision,
        delivery: Delivery,
        error: Exception | None,
        attempt: str | bytes,
        *,
        key_mark: str = "",
    ) -> Ending:
        match decision.action:
            case "hand_back":
                return Release()
            case "retry" | "reissue" | "trip_site":
                return Retry(
                    delay_ms=decision.delay_ms,
                    counted=decision.counted,
                    unsure=decision.executed_unknown,
                    attempt=attempt,
                    throttle_site_ms=decision.throttle_site_ms or 0,
                    new_epoch=decision.action == "reissue",
                    trip_reason=decision.trip_reason or "",
                    failing=decision.error_class in FAILING_CLASSES,
                    key_mark=key_mark,
                )
            case "hold":
                return Bury(
                    state="held", reason=decision.why, error_class=decision.error_class,
                    attempt=attempt, counted=decision.counted,
                )  # fmt: skip
        state = "expired" if decision.action == "expire" else "failed"
        text = outcome.failed(
            delivery, state, error_class=decision.error_class, reason=decision.why, error=error
        )
        ttl_ms = self.settings.result_ttl_s * 1000
        if state == "expired":
            return Finish(state=state, outcome=text, ttl_ms=ttl_ms, attempt=attempt)
        return Bury(
            reason=decision.why, error_class=decision.error_class, outcome=text, ttl_ms=ttl_ms,
            attempt=attempt,
        )  # fmt: skip

    def _ttl_ms(self, expires_at: int | None, now_ms: int) -> int:
        """How long a succeeded result is kept: until its page expires, and a bit more."""
        if expires_at is None:
            return self.settings.result_ttl_s * 1000
        left_ms = max(0, expires_at * 1000 - now_ms) + self.settings.result_margin_s * 1000
        return min(RESULT_TTL_MAX_MS, max(1000, left_ms))


def _names(delivery: Delivery) -> JobNames:
    return JobNames(delivery.job_id, delivery.actor_name, delivery.site)


def register(broker: Broker, caller: Caller) -> None:
    """Bind one actor for each row of the table of operations to the broker."""
    for operation in OPERATIONS.values():
        _bind(broker, caller, operation)


def _bind(broker: Broker, caller: Caller, operation: Operation) -> None:
    async def attempt(*, payload: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        await caller.call(operation, payload, options)

    # An attempt has a deadline of its own, tighter than any time limit.
    bind = dramatiq.actor(
        broker=broker, actor_name=operation.kind, queue_name=QUEUE, max_retries=0,
        time_limit=math.inf,
    )  # fmt: skip
    bind(attempt)
