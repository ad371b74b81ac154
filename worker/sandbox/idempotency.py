"""Idempotency keys: one request with a key is executed once within the window.

Choices where the documentation is silent: a key belongs to a site; only requests that were
executed are remembered, so a refused one may be repaired and sent again; a request whose key is in
progress gets 429 ``lock_timeout`` (or waits, by a setting).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from worker.sandbox.clock import Clock
from worker.sandbox.errors import Refusal
from worker.sandbox.store import Store

KEY_HEADER = "chargebee-idempotency-key"
REPLAYED_HEADER = "chargebee-idempotency-replayed"


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer that a key is bound to."""

    body: bytes
    page_id: str | None


@dataclass(slots=True)
class _InProgress:
    signature: str
    done: asyncio.Event


def signature(path: str, headers: Iterable[tuple[str, str]], body: bytes) -> str:
    """What makes two requests the same: path, body and the ``chargebee-*`` headers."""
    digest = hashlib.sha256(path.encode() + b"\0" + body)
    for name, value in sorted(headers):
        if name.startswith("chargebee-") and name != KEY_HEADER:
            digest.update(f"\0{name}:{value}".encode())
    return digest.hexdigest()


class Idempotency:
    """The keys of all sites."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._in_progress: dict[tuple[str, str], _InProgress] = {}

    def find(self, site: str, key: str, sign: str, *, window_s: int) -> Stored | None:
        """The answer that a repetition gets, or None when the key is new or its window is over.

        Raises:
            Refusal: 422 when the key was used with another request.
        """
        row = self._store.row(
            "SELECT signature, body, page_id, at_ms FROM idempotency WHERE site = ? AND key = ?",
            (site, key),
        )
        if row is None or self._clock.now_ms() - row["at_ms"] >= window_s * 1000:
            return None
        _same(row["signature"], sign)
        return Stored(body=row["body"], page_id=row["page_id"])

    def in_progress(self, site: str, key: str, sign: str) -> asyncio.Event | None:
        """What ends when the request with this key does; None when there is none.

        Raises:
            Refusal: 422 when that is another request.
        """
        found = self._in_progress.get((site, key))
        if found is None:
            return None
        _same(found.signature, sign)
        return found.done

    def begin(self, site: str, key: str, sign: str) -> None:
        """Take the key; ``end`` must follow."""
        self._in_progress[site, key] = _InProgress(sign, asyncio.Event())

    def end(self, site: str, key: str) -> None:
        """Let the key go."""
        self._in_progress.pop((site, key)).done.set()

    def bind(self, site: str, key: str, sign: str, stored: Stored) -> None:
        """Bind the answer to the key; the window begins now."""
        self._store.run(
            "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?)",
            (site, key, sign, stored.body, stored.page_id, self._clock.now_ms()),
        )


def _same(known: str, sign: str) -> None:
    if known != sign:
        raise Refusal(422, message="the idempotency key was used with another request")
