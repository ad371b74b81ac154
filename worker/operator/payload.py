"""What a job carries, as an operator may see it: masked, unless somebody asked to see it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace
from worker.engine.record import Record
from worker.engine.redis_errors import speaking_to_redis
from worker.errors import EncryptionError

__all__ = [
    "MASK",
    "existing_messages",
    "mask",
    "masked_outcome",
    "read_payload",
    "shown_outcome",
    "unreadable",
]

#: Stands in the place of every value.
MASK: Final = "•••"
#: Members of a page that may be seen; whoever has its address can open it.
_OPEN_OF_PAGE: Final = frozenset({"id", "state", "expires_at", "type", "created_at"})


def mask(value: Any) -> Any:
    """Replace every value and keep the structure; null stays null.

    Args:
        value: JSON.
    """
    if isinstance(value, Mapping):
        return {name: mask(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [mask(member) for member in value]
    return None if value is None else MASK


def shown_outcome(record: Record, *, reveal: bool) -> dict[str, Any] | None:
    """Give the outcome of a job as a person may see it; None when there is none.

    Args:
        record: of the job.
        reveal: give the values too.
    """
    if record.unreadable is not None:
        return unreadable(record.unreadable)
    if record.outcome is None:
        return None
    outcome: dict[str, Any] = json.loads(record.outcome)
    return outcome if reveal else masked_outcome(outcome)


def masked_outcome(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Hide what is private in an outcome: a page's address, and what is offered to whom.

    Args:
        outcome: as it is published.
    """
    shown = dict(outcome)
    page, offers = shown.get("hosted_page"), shown.get("offers")
    if isinstance(page, Mapping):
        shown["hosted_page"] = _page(page)
    if isinstance(offers, list):
        shown["offers"] = [_offer(offer) for offer in offers]
    if shown.get("brand") is not None:
        shown["brand"] = mask(shown["brand"])
    return shown


def _page(page: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v if k in _OPEN_OF_PAGE else mask(v) for k, v in page.items()}


def _offer(offer: Any) -> Any:
    if not isinstance(offer, Mapping):
        return mask(offer)
    return {name: v if name == "id" else mask(v) for name, v in offer.items()}


def read_payload(client: redis.Redis, keyspace: Keyspace, job_id: str) -> dict[str, Any] | None:
    """Read what a job carries, unmasked.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        job_id: its id.

    Returns:
        `{"payload": {...}, "options": {...}}`, or None when it was dropped (a job that succeeded
        keeps none) or cannot be read.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
        EncryptionError: this process cannot decrypt it.
    """
    with speaking_to_redis():
        raw: Any = client.get(keyspace.message(job_id))
    if raw is None:
        return None
    text = keyspace.cipher.decrypt(raw, job_id=job_id, part="message")
    try:
        carried = json.loads(text)["kwargs"]
        return {"payload": carried["payload"], "options": carried["options"]}
    except (ValueError, KeyError, TypeError):
        return None


def unreadable(error: EncryptionError) -> dict[str, str]:
    """Give what is shown in the place of something that cannot be decrypted here."""
    return {"unreadable": error.brief}


def existing_messages(
    client: redis.Redis, keyspace: Keyspace, job_ids: Iterable[str]
) -> dict[str, bool]:
    """Say for each job whether what it carries is still there, in one round trip."""
    ids = list(job_ids)
    with speaking_to_redis():
        pipe = client.pipeline(transaction=False)
        for job_id in ids:
            pipe.exists(keyspace.message(job_id))
        return {job_id: bool(there) for job_id, there in zip(ids, pipe.execute(), strict=True)}
