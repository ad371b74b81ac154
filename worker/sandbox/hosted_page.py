"""Hosted pages: made by a gift checkout, opened and completed by a person, then acknowledged."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.sandbox.clock import Clock
from worker.sandbox.errors import Refusal
from worker.sandbox.store import Store

CREATED = "created"
REQUESTED = "requested"
SUCCEEDED = "succeeded"
CANCELLED = "cancelled"
ACKNOWLEDGED = "acknowledged"

#: States in which the page can still be completed.
OPEN = (CREATED, REQUESTED)


@dataclass(frozen=True, slots=True)
class HostedPage:
    """One page as it is stored. Times are Unix seconds, ``version`` is Unix ms.

    Attributes:
        request: Number of the request that made it.
        token: What a submitted form must carry.
        params: The checked parameters of the call.
        skip: Skip headers that came with the call.
        content: What the completed checkout made.
    """

    id: str
    site: str
    idempotency_key: str | None
    request: int
    state: str
    url: str
    token: str
    created_at: int
    updated_at: int
    expires_at: int
    version: int
    params: Mapping[str, Any]
    skip: tuple[str, ...]
    content: Mapping[str, Any] | None

    @property
    def layout(self) -> str:
        """``in_app`` or ``full_page``; the latter is this site's setting."""
        return str(self.params.get("layout", "full_page"))

    def as_json(self) -> dict[str, Any]:
        """The API's resource."""
        page = {
            "id": self.id,
            "type": "checkout_gift",
            "url": self.url,
            "state": self.state,
            "embed": False,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "updated_at": self.updated_at,
            "resource_version": self.version,
            "layout": self.layout,
            "object": "hosted_page",
        }
        for name in ("business_entity_id", "brand_id"):
            if name in self.params:
                page[name] = self.params[name]
        if self.content is not None:
            page["content"] = self.content
        return page


class HostedPages:
    """All pages of all sites."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def make(
        self,
        *,
        site: str,
        params: Mapping[str, Any],
        skip: tuple[str, ...],
        idempotency_key: str | None,
        request: int,
        origin: str,
        life_s: int,
    ) -> HostedPage:
        """Make a page that lives for ``life_s``, at ``{origin}/pages/v3/{id}/``."""
        mark = "__test__" if site.endswith("-test") else ""
        page_id = f"{mark}{secrets.token_urlsafe(24).replace('-', 'x')}"
        now_ms = self._clock.now_ms()
        page = HostedPage(
            id=page_id,
            site=site,
            idempotency_key=idempotency_key,
            request=request,
            state=CREATED,
            url=f"{origin}/pages/v3/{page_id}/",
            token=secrets.token_urlsafe(16),
            created_at=now_ms // 1000,
            updated_at=now_ms // 1000,
            expires_at=now_ms // 1000 + life_s,
            version=now_ms,
            params=params,
            skip=skip,
            content=None,
        )
        self._store.run(
            "INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                page.id,
                page.site,
                page.idempotency_key,
                page.request,
                page.state,
                page.url,
                page.token,
                page.created_at,
                page.updated_at,
                page.expires_at,
                page.version,
                json.dumps(params),
                json.dumps(skip),
            ),
        )
        return page

    def find(self, page_id: str, *, site: str | None = None) -> HostedPage | None:
        """The page of this id, if it is one of the site."""
        row = self._store.row(
            "SELECT * FROM pages WHERE id = ? AND (? IS NULL OR site = ?)", (page_id, site, site)
        )
        return None if row is None else _read(row)

    def move(
        self, page: HostedPage, state: str, *, content: Mapping[str, Any] | None = None
    ) -> HostedPage:
        """Bring a page into a state, with what the checkout made."""
        now_ms = self._clock.now_ms()
        self._store.run(
            "UPDATE pages SET state = ?, updated_at = ?, version = ?, "
            "content = coalesce(?, content) WHERE id = ?",
            (
                state,
                now_ms // 1000,
                max(now_ms, page.version + 1),
                None if content is None else json.dumps(content),
                page.id,
            ),
        )
        moved = self.find(page.id)
        assert moved is not None  # noqa: S101
        return moved

    def acknowledge(self, page: HostedPage) -> HostedPage:
        """Acknowledge a completed page.

        Raises:
            Refusal: 409 ``invalid_state_for_request`` in any other state.
        """
        if page.state != SUCCEEDED:
            raise Refusal(409, message=f"a page that is {page.state} cannot be acknowledged")
        return self.move(page, ACKNOWLEDGED)

    def has_expired(self, page: HostedPage) -> bool:
        """Whether it can no longer be completed, by the sandbox clock."""
        return page.state in OPEN and self._clock.now_s() >= page.expires_at

    def list(self, *, site: str | None = None, newest: int | None = None) -> list[HostedPage]:
        """Pages in the order in which they were made, or the newest few first."""
        order = "rowid" if newest is None else "rowid DESC"
        rows = self._store.rows(
            f"SELECT * FROM pages WHERE ? IS NULL OR site = ? ORDER BY {order} LIMIT ?",  # noqa: S608
            (site, site, -1 if newest is None else newest),
        )
        return [_read(row) for row in rows]

    def counts(self, site: str | None = None) -> dict[str, Any]:
        """Totals: pages, keys, and the keys that more than one page was made for."""
        per_key = (
            "SELECT idempotency_key AS key, count(*) AS n FROM pages "
            "WHERE (?1 IS NULL OR site = ?1) GROUP BY site, idempotency_key"
        )
        totals = (
            f"WITH per_key AS ({per_key}) "  # noqa: S608
            "SELECT coalesce(sum(n), 0) AS pages, count(key) AS idempotency_keys, "
            "coalesce(max(n) FILTER (WHERE key IS NOT NULL), 0) AS max_pages_per_key, "
            "coalesce(sum(n) FILTER (WHERE key IS NULL), 0) AS pages_without_key FROM per_key"
        )
        many = f"SELECT key FROM ({per_key}) WHERE key IS NOT NULL AND n > 1"  # noqa: S608
        keys = [row["key"] for row in self._store.rows(many, (site,))]
        return {**(self._store.row(totals, (site,)) or {}), "keys_with_many_pages": keys}


def _read(row: dict[str, Any]) -> HostedPage:
    row["params"] = json.loads(row["params"])
    row["skip"] = tuple(json.loads(row["skip"]))
    row["content"] = None if row["content"] is None else json.loads(row["content"])
    return HostedPage(**row)
