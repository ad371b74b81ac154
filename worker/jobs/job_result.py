"""What a job came to, as an app reads it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker.engine.record import JobState, Record
from worker.errors import Failure

__all__ = ["Failure", "HostedPage", "JobResult"]

_PAGE_FIELDS: Final = ("id", "url", "expires_at", "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedPage:
    """A checkout page at the API. Whoever has the URL can open it: the repr leaves it out.

    Attributes:
        id: id of the page.
        url: where the shopper goes.
        expires_at: Unix s after which it is no good, or None when the API did not say.
        state: "created" at first.
        attributes: everything the API said of it.
    """

    id: str
    url: str = field(repr=False)
    expires_at: int | None
    state: str | None
    attributes: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> HostedPage:
        """Read a page out of the outcome."""
        return cls(
            id=attributes["id"],
            url=attributes["url"],
            expires_at=attributes.get("expires_at"),
            state=attributes.get("state"),
            attributes=attributes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The state of a job and, once it has ended, what it came to.

    Attributes:
        job_id, kind, site, key: what the job is; the key is None on results read off the stream.
        state: where it is; an outcome is there in the terminal states.
        attempts: attempts counted so far.
        hosted_page: the page of a gift checkout, never one that has expired.
        offers: the offers of a personalized offer (often none: an empty list is a success).
        brand: the brand the offers are of, or None.
        expires_at: Unix s after which page or offers are no good, or None.
        error: why it failed.
        replayed: whether the API answered with an earlier answer to the same idempotency key.
        finished_at_ms: Unix ms of the ending, or None.
        is_expired: True when page or offers were there and are past their expiry.
    """

    job_id: str
    kind: str
    site: str
    key: str | None = None
    state: JobState
    attempts: int = 0
    hosted_page: HostedPage | None = None
    offers: list[dict[str, Any]] | None = None
    brand: Mapping[str, Any] | None = None
    expires_at: int | None = None
    error: Failure | None = None
    replayed: bool = False
    finished_at_ms: int | None = None
    is_expired: bool = False

    @classmethod
    def of_record(cls, record: Record, *, now_s: float | None = None) -> JobResult:
        """Read a result out of a record.

        Args:
            record: the record, its outcome read too.
            now_s: Unix s; the clock's when None.

        Raises:
            EncryptionError: its outcome cannot be decrypted here.
        """
        if record.unreadable is not None:
            raise record.unreadable
        if record.outcome is None:
            reason = record.reason or ""
            held = record.state is JobState.HELD
            return cls(
                job_id=record.job_id, kind=record.kind, site=record.site, key=record.key,
                state=record.state, attempts=record.attempts,
                error=Failure(cls="held", status=None, api_error_code=None, param=None,
                              reason=reason, retryable=True) if held else None,
            )  # fmt: skip
        return cls.of_outcome(record.outcome, key=record.key, now_s=now_s)

    @classmethod
    def of_outcome(
        cls, text: bytes | str, *, key: str | None = None, now_s: float | None = None
    ) -> JobResult:
        """Read a result out of the JSON text of an outcome."""
        outcome = json.loads(text)
        expires_at = outcome.get("expires_at")
        now = time.time() if now_s is None else now_s
        expired = expires_at is not None and expires_at <= now and outcome["state"] == "succeeded"
        page, offers = outcome.get("hosted_page"), outcome.get("offers")
        error = outcome.get("error")
        return cls(
            job_id=outcome["job_id"],
            kind=outcome["kind"],
            site=outcome["site"],
            key=key,
            state=JobState(outcome["state"]),
            attempts=outcome.get("attempts") or 0,
            hosted_page=HostedPage.of(page) if page and not expired else None,
            offers=offers if isinstance(offers, list) and not expired else None,
            brand=outcome.get("brand"),
            expires_at=expires_at,
            error=Failure.of(error) if error else _past(expired),
            replayed=bool(outcome.get("replayed")),
            finished_at_ms=outcome.get("finished_at"),
            is_expired=expired,
        )

    def as_json(self) -> dict[str, Any]:
        """Give it as one object of `largesse result --json`."""
        page = self.hosted_page
        return {
            "job_id": self.job_id,
            "kind": self.kind,
            "site": self.site,
            "state": self.state.value,
            "attempts": self.attempts,
            "hosted_page": page and {name: getattr(page, name) for name in _PAGE_FIELDS},
            "offers": self.offers,
            "error": self.error and self.error.as_json(),
        }


def _past(expired: bool) -> Failure | None:
    if not expired:
        return None
    return Failure(
        cls="result_expired", status=None, api_error_code=None, param=None,
        reason="the page or the offers are past their expiry", retryable=True,
    )  # fmt: skip
