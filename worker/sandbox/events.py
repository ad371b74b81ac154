"""Events, and what the skip headers did to them.

The headers act on the events of the very call that carries them. Neither operation raises one:
what follows at checkout is not suppressed, whatever the call that made the page asked for.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from worker.sandbox.clock import Clock
from worker.sandbox.hosted_page import HostedPage
from worker.sandbox.store import Store

_COLUMNS = "id, site, type, occurred_at, page, customer_id, call_skip"


class Events:
    """The events of all sites, in order."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def record(self, event_type: str, page: HostedPage, *, customer_id: str | None = None) -> None:
        """Record an event raised by the checkout of a page."""
        self._store.run(
            "INSERT INTO events (id, site, type, occurred_at, page, customer_id, call_skip) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                f"ev_{secrets.token_hex(8)}",
                page.site,
                event_type,
                self._clock.now_s(),
                page.id,
                customer_id,
                json.dumps(page.skip),
            ),
        )

    def list(self, *, site: str | None = None, newest: int | None = None) -> list[dict[str, Any]]:
        """Events in order, or the newest few first.

        ``call_skip`` names the skip headers of the call that made the page, ``suppressed`` what
        of this event they suppressed: nothing, as it was raised at checkout and not by the call.
        """
        order = "n" if newest is None else "n DESC"
        rows = self._store.rows(
            f"SELECT {_COLUMNS} FROM events "  # noqa: S608
            f"WHERE ? IS NULL OR site = ? ORDER BY {order} LIMIT ?",
            (site, site, -1 if newest is None else newest),
        )
        for row in rows:
            row["call_skip"] = json.loads(row["call_skip"])
            row["suppressed"] = []
        return rows

    def count(self, site: str | None = None) -> int:
        """How many there are."""
        return self._store.number(
            "SELECT count(*) FROM events WHERE ? IS NULL OR site = ?", (site, site)
        )
