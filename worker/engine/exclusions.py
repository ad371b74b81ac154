"""The sites whose jobs this process leaves to others: it has no good key for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["PROBE_S", "Exclusions"]

#: Seconds between two probes of an excluded site, where a probe may help.
PROBE_S: Final = 60.0


class Exclusions:
    """Excludes sites from fetches, for good or with a probe now and then.

    Threads share it: every change replaces the whole mapping.

    Args:
        clock: gives monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Site to when it is probed, monotonic seconds; None = never.
        self._sites: Mapping[str, float | None] = {}

    def __bool__(self) -> bool:
        return bool(self._sites)

    def exclude(self, site: str, *, probe: bool) -> bool:
        """Fetch no more jobs of a site.

        Args:
            site: name of the site, or of its budget.
            probe: whether to fetch one job every `PROBE_S`, which tells if the site works again.

        Returns:
            Whether it is news.
        """
        new = site not in self._sites
        if new or (self._sites[site] is None) == probe:
            self._sites = {**self._sites, site: self._clock() + PROBE_S if probe else None}
        return new

    def include(self, site: str) -> bool:
        """Fetch its jobs again.

        Returns:
            Whether it was excluded.
        """
        if site not in self._sites:
            return False
        self._sites = {name: at for name, at in self._sites.items() if name != site}
        return True

    def allowed(self, site: str) -> int | None:
        """Give how many jobs of a site may be fetched now; None when it is not excluded."""
        if site not in self._sites:
            return None
        at = self._sites[site]
        return int(at is not None and self._clock() >= at)

    def limits(self) -> dict[str, int]:
        """Give every excluded site with the jobs that may be fetched now."""
        now = self._clock()
        return {site: int(at is not None and now >= at) for site, at in self._sites.items()}

    def started(self, site: str) -> None:
        """A job of the site was fetched: the next probe comes later."""
        if self._sites.get(site) is not None:
            self._sites = {**self._sites, site: self._clock() + PROBE_S}
