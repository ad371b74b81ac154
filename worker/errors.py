"""Every error that Largesse raises, in one tree.

    WorkerError
    ├ SettingsError                 a setting is missing or wrong
    │ └ LayoutError                 the queue in Redis is laid out in another way
    ├ ArgumentError                 a call was given a value of the wrong type or range
    ├ InvalidJobError               a job was refused before it was enqueued
    ├ JobConflictError              the key is taken by another payload
    ├ BrokerError
    │ ├ BrokerUnavailableError      Redis is unreachable, loading or read-only
    │ └ QueueFullError              Redis has no memory or disk left: nothing was accepted
    ├ EncryptionError               something in Redis cannot be decrypted
    │ ├ EncryptionKeyMissingError   its key is not among LARGESSE_ENCRYPTION_KEYS
    │ └ DecryptionError             it was changed, or its key is another one of the same id
    ├ ApiError                      one attempt at the API failed
    │ ├ NotSentError                the request never left: connect, DNS, TLS
    │ ├ ThrottledError              429: the request was not executed
    │ ├ UnavailableError            503: the site is unavailable for a while
    │ ├ AmbiguousError              it may have been executed: the outcome is unknown
    │ ├ RejectedError               4xx: the same request gets the same answer
    │ └ MisconfiguredError          401, 403, unknown site: no request of the site can succeed
    ├ OutcomesMissedError           outcomes were cut before a group had handled them
    └ ResultError
      ├ ResultMissingError          no job of this id, or its result was dropped by age
      ├ ResultTimeoutError          no outcome yet
      ├ ResultExpiredError          the page or the offers are past their expiry
      ├ JobHeldError                held for a person
      ├ ReplayRefusedError          the state of the job does not allow the action
      └ JobFailedError              the job ended without a page or offers

No error carries a value of a payload, a key or a page URL: only names, codes and ids. All of them
can be pickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

__all__ = [
    "AmbiguousError",
    "ApiError",
    "ArgumentError",
    "BrokerError",
    "BrokerUnavailableError",
    "DecryptionError",
    "EncryptionError",
    "EncryptionKeyMissingError",
    "Failure",
    "InvalidJobError",
    "JobConflictError",
    "JobFailedError",
    "JobHeldError",
    "LayoutError",
    "MisconfiguredError",
    "NotSentError",
    "OutcomesMissedError",
    "QueueFullError",
    "RejectedError",
    "ReplayRefusedError",
    "ResultError",
    "ResultExpiredError",
    "ResultMissingError",
    "ResultTimeoutError",
    "SettingsError",
    "ThrottledError",
    "UnavailableError",
    "WorkerError",
]


#: Paths that a conflict lists one by one.
_PATHS_SHOWN: Final = 10


class WorkerError(Exception):
    """The root of the tree: `except WorkerError` catches every error of Largesse."""


class SettingsError(WorkerError):
    """A setting is missing or wrong.

    Args:
        variable: name of the environment variable, or path inside the sites file.
        problem: what is wrong with it, without its value.
        remedy: what to do next.
    """

    def __init__(self, variable: str, problem: str, remedy: str) -> None:
        super().__init__(variable, problem, remedy)
        self.variable = variable
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.variable} {self.problem}. {self.remedy}"


class LayoutError(SettingsError):
    """The queue in Redis is laid out in another way: jobs would lie where no worker looks.

    Args:
        shards: number of shards of this process (`LARGESSE_SHARDS`).
        version: version of the job records that this process writes, or reads as a worker.
        queue_shards: number of shards of the queue.
        queue_version: highest version of job records that its workers read.
    """

    def __init__(self, shards: int, version: int, queue_shards: int, queue_version: int) -> None:
        if shards != queue_shards:
            super().__init__(
                "LARGESSE_SHARDS",
                f"is {shards}, and the queue in this Redis has {queue_shards}",
                f"Set LARGESSE_SHARDS={queue_shards} for every app and worker of this queue.",
            )
        else:
            super().__init__(
                "The version of Largesse",
                f"writes job records of version {version}, and the workers read up to "
                f"{queue_version}",
                "Upgrade the workers first, then the apps.",
            )
        self.shards = shards
        self.version = version
        self.queue_shards = queue_shards
        self.queue_version = queue_version
        # What a pickle calls this with.
        self.args = (shards, version, queue_shards, queue_version)


class ArgumentError(WorkerError):
    """An argument has the wrong type or range.

    Args:
        argument: its name.
        problem: what it must be.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(argument, problem)
        self.argument = argument
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.argument} {self.problem}."


class InvalidJobError(WorkerError):
    """A job was refused by validation; nothing was enqueued.

    Args:
        messages: field path (`subscription_items.2.quantity`) to the list of what is wrong there.
    """

    def __init__(self, messages: Mapping[str, Sequence[str]]) -> None:
        copied = {path: list(texts) for path, texts in messages.items()}
        super().__init__(copied)
        self.messages: dict[str, list[str]] = copied

    def __str__(self) -> str:
        return "; ".join(f"{path}: {' '.join(texts)}" for path, texts in self.messages.items())


class JobConflictError(WorkerError):
    """The key already belongs to a job with another payload or other options.

    Args:
        job_id: id of the job that holds the key.
        differs: paths in which the request differs from it, such as `options.skip`; empty when
            they are not known.
    """

    def __init__(self, job_id: str, differs: Sequence[str] = ()) -> None:
        super().__init__(job_id, tuple(differs))
        self.job_id = job_id
        self.differs = tuple(differs)

    def __str__(self) -> str:
        shown = ", ".join(self.differs[:_PATHS_SHOWN])
        more = len(self.differs) - _PATHS_SHOWN
        if more > 0:
            shown += f" and {more} more"
        what = f"differs in: {shown}" if shown else "has another payload or other options"
        return (
            f"this key already belongs to job {self.job_id}, which {what}. Use a new key, or send "
            "the same request."
        )


class BrokerError(WorkerError):
    """Redis did not take the command; the job was not accepted."""


class BrokerUnavailableError(BrokerError):
    """Redis is unreachable, loading, busy or read-only.

    Args:
        problem: where Redis is and what happened, without credentials.
        remedy: what to do next.
        never_sent: whether the command certainly did not reach Redis.
    """

    def __init__(
        self,
        problem: str = "Redis did not answer",
        remedy: str = "Try again when Redis is back.",
        *,
        never_sent: bool = False,
    ) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy
        self.never_sent = never_sent

    def of_enqueue(self) -> BrokerUnavailableError:
        """Give the error as an app that enqueues needs it."""
        fate = "Nothing was enqueued" if self.never_sent else "The job may have been enqueued"
        remedy = f"{fate}; you can retry with the same key."
        return BrokerUnavailableError(self.problem, remedy, never_sent=self.never_sent)

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}"


class QueueFullError(BrokerError):
    """Redis has no memory (`OOM`) or no disk (`MISCONF`) left.

    Args:
        problem: the kind of failure.
    """

    def __init__(self, problem: str = "Redis is out of memory") -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"{self.problem}: the job was not accepted. Free memory or disk, then enqueue again."
        )


class EncryptionError(WorkerError):
    """Something of a job in Redis cannot be decrypted.

    Args:
        job_id: id of the job.
        key_id: id of the key that it names; "?" when it names none.
    """

    def __init__(self, job_id: str, key_id: str = "?") -> None:
        super().__init__(job_id, key_id)
        self.job_id = job_id
        self.key_id = key_id

    @property
    def brief(self) -> str:
        """Give what a list shows in the place of the text."""
        return f"encrypted with key {self.key_id}"


class EncryptionKeyMissingError(EncryptionError):
    """The key is not among those of this process."""

    def __str__(self) -> str:
        return (
            f"job {self.job_id} is encrypted with key {self.key_id}, which this process does not "
            "have. Add the key to LARGESSE_ENCRYPTION_KEYS, behind the first one, and restart."
        )


class DecryptionError(EncryptionError):
    """The text was changed or moved, or this process has another key under its id."""

    @property
    def brief(self) -> str:
        """Give what a list shows in the place of the text."""
        return f"encrypted with key {self.key_id}, and was changed or is of another key"

    def __str__(self) -> str:
        return (
            f"job {self.job_id} cannot be decrypted with key {self.key_id}: the text was changed, "
            f"or this process has another key under the id {self.key_id}. Compare "
            "LARGESSE_ENCRYPTION_KEYS with the process that enqueued it; else enqueue it again."
        )


class ApiError(WorkerError):
    """One attempt at the API failed.

    Args:
        reason: a short fixed phrase, such as `read_timeout` or `http_status`.
        status: HTTP status, or None when no answer came.
        api_error_code: the API's code, such as `param_wrong_value`.
        param: the API's name of the parameter at fault, such as `subscription_items[quantity][0]`.
        retry_after_s: seconds the API asked to wait, unclamped; None when it did not.
        replayed: True when the answer was a replay of an earlier one (idempotency).
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        api_error_code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        replayed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.api_error_code = api_error_code
        self.param = param
        self.retry_after_s = retry_after_s
        self.replayed = replayed

    def __str__(self) -> str:
        parts = [self.reason]
        parts += [f"status {self.status}"] if self.status is not None else []
        parts += [self.api_error_code] if self.api_error_code else []
        parts += [f"param {self.param}"] if self.param else []
        return ", ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (type(self), self.args, self.__dict__.copy()))


def _restore(cls: type[ApiError], args: tuple[str, ...], state: dict[str, Any]) -> ApiError:
    error = cls(*args)
    error.__dict__.update(state)
    return error


class NotSentError(ApiError):
    """The request was not sent: no connection, no name, no TLS session."""


class ThrottledError(ApiError):
    """429: over the site's limit, or a lock was taken; the request was not executed."""


class UnavailableError(ApiError):
    """503: the site is in maintenance, read-only or not ready."""


class AmbiguousError(ApiError):
    """The request may have been executed: only the same key may be sent again."""


class RejectedError(ApiError):
    """A 4xx that the same request will always get."""


class MisconfiguredError(ApiError):
    """The key or the site is wrong: no request of this site can succeed."""


class ResultError(WorkerError):
    """A result cannot be returned.

    Args:
        job_id: id of the job asked for.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class ResultMissingError(ResultError):
    """The id is unknown: no such job was enqueued, or its result was dropped after its time."""

    def __str__(self) -> str:
        return (
            f"job {self.job_id} is unknown. Results are dropped some time after their page "
            "or offers expired. Enqueue the job again for a new page."
        )


class ResultTimeoutError(ResultError):
    """The job has no outcome yet; it goes on.

    Args:
        job_id: its id.
        state: where it is; None when Redis did not say.
        place: how many jobs of its site are before it; None unless it is in line.
        reason: what it waits for, such as "no worker is alive"; "" when nothing holds it back.
    """

    def __init__(
        self, job_id: str, state: str | None = None, place: int | None = None, reason: str = ""
    ) -> None:
        super().__init__(job_id)
        self.args = (job_id, state, place, reason)
        self.state = state
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        state = f" ({self.state})" if self.state else ""
        why = f" {self.reason[0].upper()}{self.reason[1:]}." if self.reason else ""
        return (
            f"job {self.job_id} has no outcome yet{state}.{why} The job goes on: read its result "
            "again later."
        )


class ResultExpiredError(ResultError):
    """The page or the offers of the job have expired and are not returned."""

    def __str__(self) -> str:
        return f"the result of job {self.job_id} has expired. Enqueue again with a new key."


class OutcomesMissedError(WorkerError):
    """Outcomes were cut from the stream before this group had handled them; raised once.

    The next `follow` goes on behind them. Read the jobs that you still wait for by their ids.

    Args:
        group: name of the group.
        count: how many outcomes.
        since_ms: Unix ms of the first of them.
    """

    def __init__(self, group: str, count: int, since_ms: int) -> None:
        super().__init__(group, count, since_ms)
        self.group = group
        self.count = count
        self.since_ms = since_ms

    @property
    def problem(self) -> str:
        """What happened, without the next step."""
        since = datetime.fromtimestamp(self.since_ms / 1000, UTC)
        return (
            f"Group {self.group} was away for too long: {self.count} outcomes since "
            f"{since:%Y-%m-%d %H:%M:%S} UTC were cut before it had handled them."
        )

    def __str__(self) -> str:
        return (
            f"{self.problem} Follow again to go on, and read the jobs that you still wait for by "
            "their ids."
        )


class JobHeldError(ResultError):
    """The job is held: it is unknown whether a page was made, and a person decides."""

    def __str__(self) -> str:
        return f"job {self.job_id} is held for a person. See `largesse result {self.job_id}`."


class ReplayRefusedError(ResultError):
    """The state of a job does not allow a replay or a discard.

    Args:
        job_id: its id.
        word: `needs_new_key`, `gone`, or the state it is in.
    """

    def __init__(self, job_id: str, word: str) -> None:
        super().__init__(job_id)
        self.args = (job_id, word)
        self.word = word

    def __str__(self) -> str:
        if self.word == "needs_new_key":
            return (
                f"an attempt of job {self.job_id} has an unknown outcome and its idempotency "
                "window is over: a replay may make a second page. Look at the site first, then "
                "replay with a new key (--new-key)."
            )
        if self.word == "gone":
            return f"the message of job {self.job_id} was dropped. Enqueue the job again."
        return (
            f"job {self.job_id} is {self.word}. Only failed, expired, cancelled and held jobs can "
            "be replayed. Only dead and held jobs can be discarded."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job ended without a page or offers.

    Attributes:
        cls: class of the error, such as "rejected", "ambiguous", "expired"; see docs/errors.md.
        status: HTTP status of the last answer, or None.
        api_error_code: the API's code, or None.
        param: the API's name of the parameter at fault, or None.
        reason: one sentence without private values.
        retryable: whether the same request may succeed when it is sent again, by a replay or under
            a new key. False: change the request first, or somebody decided against it.
    """

    cls: str
    status: int | None
    api_error_code: str | None
    param: str | None
    reason: str
    retryable: bool

    @classmethod
    def of(cls, error: Mapping[str, Any]) -> Failure:
        """Read a failure out of the outcome."""
        return cls(
            cls=error.get("class") or "unknown",
            status=error.get("status"),
            api_error_code=error.get("api_error_code"),
            param=error.get("param"),
            reason=error.get("reason") or "",
            retryable=bool(error.get("retryable")),
        )

    def as_json(self) -> dict[str, Any]:
        """Give it as the outcome has it."""
        return {
            "class": self.cls,
            "status": self.status,
            "api_error_code": self.api_error_code,
            "param": self.param,
            "reason": self.reason,
            "retryable": self.retryable,
        }

    def __str__(self) -> str:
        parts = [self.cls, *(str(part) for part in (self.status, self.api_error_code) if part)]
        if self.param:
            parts.append(f"param {self.param}")
        return ", ".join(parts)


class JobFailedError(ResultError):
    """The job ended as failed, expired or cancelled.

    Args:
        job_id: its id.
        state: the state in which it ended.
        failure: why; an app shows the shopper its own words.
    """

    def __init__(self, job_id: str, state: str, failure: Failure) -> None:
        super().__init__(job_id)
        self.args = (job_id, state, failure)
        self.state = state
        self.failure = failure

    def __str__(self) -> str:
        return f"job {self.job_id} ended as {self.state}: {self.failure}"
