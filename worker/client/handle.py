"""The handle of one job: its state, its result, its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.client.arguments import job_id_of
from worker.engine.record import JobState
from worker.errors import Failure, JobFailedError, JobHeldError, ResultExpiredError
from worker.jobs.job_result import JobResult

if TYPE_CHECKING:
    from worker.client.result_reader import AsyncResultReader, ResultReader

__all__ = ["AsyncJobHandle", "JobHandle"]


class _Handle:
    """What both handles know.

    Attributes:
        id: id of the job.
        kind, site, key: of the job; None on a handle made from an id alone.
        accepted: "new", or "known" when the job was there already.
        differs: with `accepted` "conflict", the paths in which the job differs from the request.
    """

    def __init__(
        self,
        job_id: str,
        *,
        kind: str | None = None,
        site: str | None = None,
        key: str | None = None,
        accepted: str | None = "known",
        differs: tuple[str, ...] = (),
    ) -> None:
        self.id = job_id_of(job_id)
        self.kind = kind
        self.site = site
        self.key = key
        self.accepted = accepted
        self.differs = differs

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind or 'job'} {self.id}>"


class JobHandle(_Handle):
    """One job, for threads."""

    def __init__(self, reader: ResultReader, job_id: str, **known: Any) -> None:
        super().__init__(job_id, **known)
        self._reader = reader

    def state(self) -> JobState:
        """Read where the job is.

        Raises:
            ResultMissingError: it is not known.
        """
        return self._reader.get(self.id).state

    def result(self, timeout: float | None = None) -> JobResult:
        """Wait for the page or the offers.

        Args:
            timeout: most seconds to wait; None waits for ever.

        Returns:
            A succeeded result.

        Raises:
            ResultTimeoutError: no outcome within the timeout; the job goes on.
            JobFailedError: it failed, expired or was cancelled; the error carries the result.
            JobHeldError: it is set aside for a person.
            ResultExpiredError: the page or the offers are past their expiry.
            ResultMissingError: it is not known.
            EncryptionError: the outcome cannot be decrypted here.
        """
        return usable(self._reader.wait(self.id, timeout=timeout))

    def events(self) -> list[dict[str, Any]]:
        """Read what happened so far: `enqueued`, each `attempt`, `published`; oldest first."""
        return self._reader.events(self.id)

    def cancel(self) -> str:
        """Cancel the job; see `ResultReader.cancel`."""
        return self._reader.cancel(self.id)


class AsyncJobHandle(_Handle):
    """One job, for asyncio; methods as of `JobHandle`."""

    def __init__(self, reader: AsyncResultReader, job_id: str, **known: Any) -> None:
        super().__init__(job_id, **known)
        self._reader = reader

    async def state(self) -> JobState:
        """Read where the job is."""
        return (await self._reader.get(self.id)).state

    async def result(self, timeout: float | None = None) -> JobResult:  # noqa: ASYNC109
        """Wait for the page or the offers; see `JobHandle.result`."""
        return usable(await self._reader.wait(self.id, timeout=timeout))

    async def events(self) -> list[dict[str, Any]]:
        """Read what happened so far."""
        return await self._reader.events(self.id)

    async def cancel(self) -> str:
        """Cancel the job."""
        return await self._reader.cancel(self.id)


def usable(result: JobResult) -> JobResult:
    """Give back a result that has what the job was for.

    Raises:
        JobHeldError, JobFailedError, ResultExpiredError: it has not.
    """
    if result.state is JobState.HELD:
        raise JobHeldError(result.job_id)
    if result.is_expired:
        raise ResultExpiredError(result.job_id)
    if result.state is not JobState.SUCCEEDED:
        raise JobFailedError(result.job_id, result.state, result.error or Failure.of({}))
    return result
