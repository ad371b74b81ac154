"""The request log and the counts drawn from it: an independent witness for fault tests."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from worker.sandbox.store import Store

#: Entries kept in memory before they are written in one transaction, and for how long at most.
BATCH = 256
BATCH_S = 0.2

_COLUMNS = (
    "n, at_ms, site, kind, method, path, host, headers, body, status, fault, executed, "
    "replayed, idempotency_key, page_id, skip, error, param, took_ms"
)


@dataclass(slots=True)
class Entry:
    """One API request, and what became of it. ``status`` None: no status line was sent."""

    n: int
    at_ms: int
    method: str
    path: str
    host: str
    headers: list[tuple[str, str]]
    body: str = ""
    site: str | None = None
    kind: str | None = None
    status: int | None = None
    fault: str | None = None
    executed: bool = False
    replayed: bool = False
    idempotency_key: str | None = None
    page_id: str | None = None
    skip: list[str] = field(default_factory=list)
    error: str | None = None
    param: str | None = None
    took_ms: int = 0

    def counted(self) -> tuple[Any, ...]:
        """What the counts tell apart."""
        return (
            self.site,
            self.kind,
            self.status,
            self.fault,
            self.executed,
            self.replayed,
        )

    def row(self) -> tuple[Any, ...]:
        """Its columns in the order of the table."""
        return (
            self.n,
            self.at_ms,
            self.site,
            self.kind,
            self.method,
            self.path,
            self.host,
            json.dumps(self.headers),
            self.body,
            self.status,
            self.fault,
            self.executed,
            self.replayed,
            self.idempotency_key,
            self.page_id,
            json.dumps(self.skip),
            self.error,
            self.param,
            self.took_ms,
        )


class Journal:
    """Requests in order of arrival, numbered from 1."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: list[Entry] = []
        # A page may be of a request that a kill kept from being logged.
        self._last_n = store.number(
            "SELECT max(n) FROM (SELECT n FROM requests UNION SELECT request FROM pages)"
        )
        self._counts: Counter[tuple[Any, ...]] = Counter()
        for row in store.rows(
            "SELECT site, kind, status, fault, executed, replayed, count(*) AS c FROM requests "
            "GROUP BY 1, 2, 3, 4, 5, 6"
        ):
            *key, count = row.values()
            self._counts[*key[:4], bool(key[4]), bool(key[5])] = count
        self._span: dict[str | None, tuple[int, int]] = {
            row["site"]: (row["oldest"], row["newest"])
            for row in store.rows(
                "SELECT site, min(at_ms) AS oldest, max(at_ms) AS newest FROM requests GROUP BY 1"
            )
        }

    def next_n(self) -> int:
        """The number of a new request."""
        self._last_n += 1
        return self._last_n

    def add(self, entry: Entry) -> None:
        """Log a request; it is counted at once and written with others."""
        self._counts[entry.counted()] += 1
        oldest, newest = self._span.get(entry.site, (entry.at_ms, entry.at_ms))
        self._span[entry.site] = min(oldest, entry.at_ms), max(newest, entry.at_ms)
        self._pending.append(entry)
        if len(self._pending) >= BATCH:
            self.flush()
        elif len(self._pending) == 1:
            asyncio.get_running_loop().call_later(BATCH_S, self.flush)

    def flush(self) -> None:
        """Write what is pending."""
        if self._pending:
            marks = ", ".join("?" * 19)
            self._store.run_many(
                f"INSERT INTO requests ({_COLUMNS}) VALUES ({marks})",  # noqa: S608
                [entry.row() for entry in self._pending],
            )
            self._pending.clear()

    def reset(self) -> None:
        """Forget everything; numbers begin at 1 again."""
        self._pending.clear()
        self._counts.clear()
        self._span.clear()
        self._last_n = 0

    def read(self, *, after: int = 0, limit: int = 1000, newest: bool = False) -> list[Any]:
        """Requests with a number above ``after``; in order, or the newest first."""
        self.flush()
        order = "DESC" if newest else "ASC"
        found = self._store.rows(
            f"SELECT {_COLUMNS} FROM requests WHERE n > ? ORDER BY n {order} LIMIT ?",  # noqa: S608
            (after, limit),
        )
        for row in found:
            row["headers"] = json.loads(row["headers"])
            row["skip"] = json.loads(row["skip"])
            row["executed"] = bool(row["executed"])
            row["replayed"] = bool(row["replayed"])
        return found

    def counts(self, site: str | None = None) -> dict[str, Any]:
        """Totals over all requests, or those of one site."""
        total: Counter[str] = Counter()
        by: dict[str, Counter[str]] = {
            name: Counter() for name in ("by_status", "by_kind", "by_site", "by_fault")
        }
        for (of_site, kind, status, fault, executed, replayed), n in self._counts.items():
            if site not in (None, of_site):
                continue
            total["requests"] += n
            total["executed"] += n * executed
            total["replayed"] += n * replayed
            total["refused_429"] += n * (status == 429)
            total["auth_failed"] += n * (status == 401)
            by["by_status"][str(status or fault)] += n
            by["by_kind"][str(kind)] += n
            by["by_site"][str(of_site)] += n
            if fault:
                by["by_fault"][fault] += n
        names = ("requests", "executed", "replayed", "refused_429", "auth_failed")
        return {name: total[name] for name in names} | {k: dict(v) for k, v in by.items()}

    def span(self, site: str | None = None) -> dict[str, int | None]:
        """When the first and the last request came, Unix ms of the sandbox clock."""
        spans = [span for of_site, span in self._span.items() if site in (None, of_site)]
        return {
            "oldest_at_ms": min((oldest for oldest, _ in spans), default=None),
            "newest_at_ms": max((newest for _, newest in spans), default=None),
        }
