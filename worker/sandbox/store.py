"""The state, in SQLite: a file or memory.

Nothing waits for the disk (``synchronous=OFF``, WAL): what is committed outlives the process, not
a power cut. Everything runs on the event loop's thread; a statement takes microseconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

MEMORY = ":memory:"

_TABLES = """
CREATE TABLE IF NOT EXISTS pages (
    id TEXT PRIMARY KEY, site TEXT NOT NULL, idempotency_key TEXT, request INTEGER NOT NULL,
    state TEXT NOT NULL, url TEXT NOT NULL, token TEXT NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, version INTEGER NOT NULL,
    params TEXT NOT NULL, skip TEXT NOT NULL, content TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS pages_by_key ON pages (site, idempotency_key);
CREATE TABLE IF NOT EXISTS customers (
    n INTEGER PRIMARY KEY, site TEXT NOT NULL, id TEXT NOT NULL, email TEXT NOT NULL,
    first_name TEXT NOT NULL, last_name TEXT NOT NULL, business_entity_id TEXT,
    created_at INTEGER NOT NULL, UNIQUE (site, id)
) STRICT;
CREATE INDEX IF NOT EXISTS customers_by_email ON customers (site, email);
CREATE TABLE IF NOT EXISTS events (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL, site TEXT NOT NULL, type TEXT NOT NULL,
    occurred_at INTEGER NOT NULL, page TEXT NOT NULL, customer_id TEXT, call_skip TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS requests (
    n INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, site TEXT, kind TEXT, method TEXT NOT NULL,
    path TEXT NOT NULL, host TEXT NOT NULL, headers TEXT NOT NULL, body TEXT NOT NULL,
    status INTEGER, fault TEXT, executed INTEGER NOT NULL, replayed INTEGER NOT NULL,
    idempotency_key TEXT, page_id TEXT, skip TEXT NOT NULL, error TEXT, param TEXT,
    took_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS idempotency (
    site TEXT NOT NULL, key TEXT NOT NULL, signature TEXT NOT NULL, body BLOB NOT NULL,
    page_id TEXT, at_ms INTEGER NOT NULL, PRIMARY KEY (site, key)
) STRICT;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""

_EMPTIED = ("pages", "customers", "events", "requests", "idempotency")


class Store:
    """One SQLite connection.

    Args:
        path: A file, made when missing, or ``:memory:``.

    Raises:
        sqlite3.Error: when the file cannot be opened or is not a database.
    """

    def __init__(self, path: str = MEMORY) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL").close()
        self._db.execute("PRAGMA synchronous=OFF").close()
        self._db.executescript(_TABLES).close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query, each a dict."""
        return [dict(row) for row in self._db.execute(sql, values)]

    def row(self, sql: str, values: Sequence[Any] = ()) -> dict[str, Any] | None:
        """The first row of a query, or None."""
        found = self._db.execute(sql, values).fetchone()
        return None if found is None else dict(found)

    def number(self, sql: str, values: Sequence[Any] = ()) -> int:
        """The first column of the first row, 0 when it is null."""
        found = self._db.execute(sql, values).fetchone()
        return int(found[0] or 0)

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run one statement."""
        self._db.execute(sql, values)

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for many rows, in one transaction."""
        with self.transaction():
            self._db.executemany(sql, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; do not await inside."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def remember(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        self.run("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, json.dumps(value)))

    def remembered(self, name: str, default: Any = None) -> Any:
        """The JSON value kept under a name."""
        row = self.row("SELECT value FROM state WHERE name = ?", (name,))
        return default if row is None else json.loads(row["value"])

    def empty(self) -> None:
        """Remove everything but the remembered values."""
        with self.transaction():
            for table in _EMPTIED:
                self.run(f"DELETE FROM {table}")  # noqa: S608

    def close(self) -> None:
        """Close the file; WAL and all."""
        self._db.close()
