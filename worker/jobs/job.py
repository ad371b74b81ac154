"""A job: a valid request with its identity, on its way to becoming a message.

    producer -> Job -> message -> broker -> actor

The id of the job and the API's idempotency key are derived here and nowhere else.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import marshmallow
from dramatiq import Message

import schemas
from worker.encryption import Cipher
from worker.engine.keys import site_tag
from worker.errors import InvalidJobError
from worker.jobs.difference import differences, sketch
from worker.jobs.shortened_notice import note_shortened
from worker.operations import operation
from worker.settings import Settings
from worker.settings.site import Site, check_site_name

__all__ = ["KEY_MAX_LENGTH", "QUEUE", "Job", "idempotency_key", "job_id_of"]

#: The queue of both kinds.
QUEUE: Final = "chargebee"
#: Characters of a caller's key.
KEY_MAX_LENGTH: Final = 200
#: Options that steer the queue and do not shape the request.
_QUEUE_OPTIONS: Final = ("deadline_s", "delay_s", "lane")


def job_id_of(site: str, kind: str, key: str | None) -> str:
    """Derive the id of a job: the same site, kind and key always give the same.

    Args:
        site: name of the site.
        kind: kind of job.
        key: the caller's key; None gives a random id.

    Returns:
        32 hex digits; the first four say the site.
    """
    if key is None:
        return site_tag(site) + secrets.token_hex(14)
    text = "\x1f".join(("largesse job", site, kind, key))
    return site_tag(site) + hashlib.sha256(text.encode()).hexdigest()[:28]


def idempotency_key(job_id: str, epoch: int) -> str:
    """Derive the API's idempotency key of a job.

    Args:
        job_id: id of the job; it does not change over attempts, so neither does the key.
        epoch: how often a person or a setting asked for a new key.

    Returns:
        36 characters in the form of a UUID. The API takes up to 100.
    """
    text = f"largesse idempotency key\x1f{job_id}\x1f{epoch}"
    digits = hashlib.sha256(text.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A valid job.

    Attributes:
        id: id of the job and of its message.
        kind: "gift_checkout" or "personalized_offer".
        site: name of the site.
        key: the caller's key, or None.
        payload: canonical payload.
        options: canonical options that shape the request.
        digest: hex digest of all that shapes the request.
        parts: tells what differs from another request; see `worker.jobs.difference`.
        delay_ms: milliseconds until it may run.
        deadline_ms: milliseconds until it is too late; 0 = never.
        lane: "interactive" or "bulk".
        budget: name of the budget it counts in; the site's when None.
    """

    id: str
    kind: str
    site: str
    key: str | None
    payload: Mapping[str, Any]
    options: Mapping[str, Any]
    digest: str
    parts: bytes = field(default=b"", repr=False)
    delay_ms: int = 0
    deadline_ms: int = 0
    lane: str = "interactive"
    budget: str | None = None

    @classmethod
    def prepare(
        cls,
        settings: Settings,
        kind: str,
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        site: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Job:
        """Validate a job and give it its identity.

        Args:
            settings: sites and how strict to be.
            kind: "gift_checkout" or "personalized_offer".
            payload: fields of the request; `{}` for none.
            key: the caller's key, 1 to 200 printable characters, no blank at either end.
            site: name of the site; the default one when None.
            options: see docs/requests.md.

        Raises:
            InvalidJobError: something is wrong with it; every fault is named by its path.
            SettingsError: the site is not configured.
        """
        where = _site_of(settings, site)
        if settings.shorten_context and kind == "personalized_offer":
            payload, paths = schemas.shortened(payload)
            note_shortened(paths)
        filled = _with_defaults(where, payload, options)
        try:
            valid = schemas.validate(
                kind, payload, filled, request_context=settings.request_context
            )
        except marshmallow.ValidationError as error:
            raise InvalidJobError(schemas.flatten(error.messages) | _key_faults(key)) from None
        if faults := _key_faults(key):
            raise InvalidJobError(faults)
        name = where if isinstance(where, str) else where.name
        digest = valid.request_digest(name)
        shaping = {k: v for k, v in valid.options.items() if k not in _QUEUE_OPTIONS}
        shared = key or _shared_key(settings, kind, digest, valid.options)
        return cls(
            id=job_id_of(name, kind, shared),
            kind=kind,
            site=name,
            key=key,
            payload=valid.payload,
            options=shaping,
            digest=digest,
            # Without a key no other request can hold the id.
            parts=b"" if key is None else sketch(kind, valid.payload, shaping),
            delay_ms=round(valid.options.get("delay_s", 0) * 1000),
            deadline_ms=_deadline_ms(valid.options.get("deadline_s")),
            lane=valid.options.get("lane", "interactive"),
            budget=None if isinstance(where, str) else where.budget(operation(kind).sub_domain),
        )

    def differs_from(self, parts: bytes) -> tuple[str, ...]:
        """Name the paths in which the request differs from another one.

        Args:
            parts: of the other one.
        """
        return differences(parts, self.kind, self.payload, self.options)

    def message(self, trace: Mapping[str, str] | None = None) -> Message[Any]:
        """Give the message that carries this job to its actor.

        Args:
            trace: W3C trace context of the enqueue; no part of the job's identity.
        """
        options: dict[str, Any] = {"digest": self.digest, "site": self.site, "lane": self.lane}
        if trace:
            options["trace"] = dict(trace)
        if self.key is not None:
            options["key"] = self.key
        if self.budget not in {None, self.site}:
            options["budget"] = self.budget
        if self.deadline_ms:
            options["deadline_ms"] = self.deadline_ms
        return Message(
            queue_name=QUEUE,
            actor_name=self.kind,
            args=(),
            kwargs={"payload": self.payload, "options": self.options},
            options=options,
            message_id=self.id,
        )


def _key_faults(key: Any) -> dict[str, list[str]]:
    """Say what is wrong with a key; a blank at an end would silently make it another key."""
    if key is None:
        return {}
    if not isinstance(key, str):
        return {"key": [f"Must be a string, not {type(key).__name__}."]}
    if not 0 < len(key) <= KEY_MAX_LENGTH or not key.isprintable():
        return {"key": [f"Must be 1 to {KEY_MAX_LENGTH} printable characters."]}
    if key != key.strip():
        return {"key": ["Must not begin or end with a blank."]}
    return {}


def _shared_key(
    settings: Settings, kind: str, digest: str, options: Mapping[str, Any]
) -> str | None:
    """Give equal reads of one moment one key, where the settings ask for it: one call for all."""
    seconds = settings.share_offers_s
    timed = options.keys() & {"deadline_s", "delay_s"}
    if not seconds or timed or not operation(kind).repeatable:
        return None
    # The job's id follows from it: one of a plain digest would confirm a guess of the payload.
    mark = Cipher.of(settings).mark(digest)
    return f"shared {mark} {int(time.time() // seconds)}"


def _deadline_ms(deadline_s: float | None) -> int:
    return 0 if deadline_s is None else max(1, round(deadline_s * 1000))


def _site_of(settings: Settings, name: str | None) -> Site | str:
    """Find the site; a producer that knows none of the sites may still name one."""
    if name is not None and not settings.sites:
        check_site_name(name, "site")
        return name
    return settings.site(name)


def _with_defaults(
    site: Site | str, payload: Mapping[str, Any], options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Fill what the site has defaults for, so that every attempt sends the same."""
    if options is not None and not isinstance(options, Mapping):
        raise InvalidJobError({"options": ["Must be a mapping of option names to values."]})
    filled = dict(options or {})
    if isinstance(site, str):
        return filled
    for name in ("business_entity_id", "brand_id"):
        default = getattr(site, name)
        if default is not None and filled.get(name) is None:
            body = payload if isinstance(payload, Mapping) else {}
            if body.get(name) is None:
                filled[name] = default
    if site.skip and filled.get("skip") is None:
        filled["skip"] = list(site.skip)
    return filled
