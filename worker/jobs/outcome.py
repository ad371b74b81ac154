"""The outcome of a job as it is stored and published: one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.engine.delivery import Delivery
from worker.errors import ApiError
from worker.logs.json_bytes import json_bytes
from worker.retry.decision import FINAL_CLASSES

__all__ = ["attempt_entry", "expiry_of", "failed", "succeeded"]


def expiry_of(part: Mapping[str, Any]) -> int | None:
    """Give the Unix s at which page or offers expire, or None when the API did not say."""
    page = part.get("hosted_page") or part
    value = page.get("expires_at")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def succeeded(delivery: Delivery, part: Mapping[str, Any], *, replayed: bool) -> bytes:
    """Write the outcome of a job that got its answer.

    Args:
        delivery: the job.
        part: what the operation read: `{"hosted_page": ...}` or `{"offers": ..., ...}`.
        replayed: whether the API answered with an earlier answer.
    """
    return _write(
        delivery,
        "succeeded",
        hosted_page=part.get("hosted_page"),
        offers=part.get("offers"),
        brand=part.get("brand"),
        expires_at=expiry_of(part),
        replayed=replayed,
        error=None,
    )


def failed(
    delivery: Delivery, state: str, *, error_class: str, reason: str, error: Exception | None
) -> bytes:
    """Write the outcome of a job that ends without an answer.

    Args:
        delivery: the job.
        state: "failed" or "expired".
        error_class: see docs/errors.md.
        reason: one sentence without private values.
        error: the last attempt's error.
    """
    return _write(
        delivery,
        state,
        hosted_page=None,
        offers=None,
        brand=None,
        expires_at=None,
        replayed=bool(getattr(error, "replayed", False)),
        error={
            "class": error_class,
            "status": getattr(error, "status", None),
            "api_error_code": getattr(error, "api_error_code", None),
            "param": getattr(error, "param", None),
            "reason": reason,
            "retryable": error_class not in FINAL_CLASSES,
        },
    )


def attempt_entry(
    *, at_ms: int, took_ms: int, status: int | None, error: Exception | None, replayed: bool
) -> bytes:
    """Write one line of the history: when, how long, and what came; no body."""
    entry: dict[str, Any] = {"at": at_ms, "ms": took_ms}
    if isinstance(error, ApiError):
        status = error.status
        if error.api_error_code:
            entry["code"] = error.api_error_code
    if status is not None:
        entry["status"] = status
    if error is not None:
        entry["error"] = getattr(error, "reason", None) or type(error).__name__
    if replayed:
        entry["replayed"] = True
    return json_bytes(entry)


def _write(delivery: Delivery, state: str, **rest: Any) -> bytes:
    return json_bytes(
        {
            "job_id": delivery.job_id,
            "kind": delivery.actor_name,
            "site": delivery.site,
            "state": state,
            "attempts": delivery.attempts + 1,
            **rest,
            "finished_at": delivery.now_ms(),
        }
    )
