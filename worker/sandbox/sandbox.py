"""The parts of one sandbox, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from worker.sandbox.catalogue import Catalogue
from worker.sandbox.clock import Clock
from worker.sandbox.customers import Customers
from worker.sandbox.events import Events
from worker.sandbox.faults import Faults
from worker.sandbox.hosted_page import HostedPages
from worker.sandbox.idempotency import Idempotency
from worker.sandbox.journal import Journal
from worker.sandbox.limits import Limits
from worker.sandbox.settings import Settings
from worker.sandbox.sites import DEFAULT_KEY, DEFAULT_SITE, Sites
from worker.sandbox.store import MEMORY, Store


class Sandbox:
    """Everything that the application works on.

    Args:
        state: SQLite file, or ``:memory:``.
        sites: Site name to its API keys; the documented test site when None.
        settings: How it behaves.
        clock: Stands on the machine's clock when None, moved as the state file says.
        access_log: Whether each API request writes a line to stderr.
        origin: Where the sandbox is reached; set again when the port is known.

    Raises:
        ValueError: for a site that cannot be.
        sqlite3.Error: when the state cannot be opened.
    """

    def __init__(
        self,
        *,
        state: str = MEMORY,
        sites: Mapping[str, Sequence[str]] | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        access_log: bool = False,
        origin: str = "http://127.0.0.1:8400",
    ) -> None:
        self.sites = Sites(sites or {DEFAULT_SITE: [DEFAULT_KEY]})
        self.initial_settings = settings or Settings()
        self.settings = self.initial_settings
        self.store = Store(state)
        self.clock = clock or Clock(offset_ms=self.store.remembered("clock_offset_ms", 0))
        self.catalogue = Catalogue(self.store)
        self.pages = HostedPages(self.store, self.clock)
        self.customers = Customers(self.store, self.clock)
        self.events = Events(self.store, self.clock)
        self.idempotency = Idempotency(self.store, self.clock)
        self.journal = Journal(self.store)
        self.limits = Limits()
        self.faults = Faults()
        self.access_log = access_log
        self.origin = origin
        self.stopping = asyncio.Event()

    def reset(self, keep: Sequence[str] = ()) -> None:
        """Empty the state; faults, settings, clock, catalogue and sites too, unless kept."""
        self.journal.reset()
        self.store.empty()
        self.limits.reset()
        if "faults" not in keep:
            self.faults.remove()
        if "settings" not in keep:
            self.settings = self.initial_settings
        if "clock" not in keep:
            self.clock.reset()
            self.store.remember("clock_offset_ms", 0)
        if "catalogue" not in keep:
            self.catalogue.remove()
        if "sites" not in keep:
            self.sites.reset()

    def close(self) -> None:
        """Write what is pending and close the state."""
        self.journal.flush()
        self.store.close()
