"""The API keys of one process: which sites it can serve, and which it leaves to other workers."""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import Final

from worker.engine.exclusions import Exclusions
from worker.errors import SettingsError
from worker.logs.events import SITE_KEY_ACCEPTED, SITE_KEY_MISSING, SITE_KEY_REFUSED, emit
from worker.settings import Settings
from worker.settings.site import Site

__all__ = ["NO_KEY", "SiteKeys", "key_mark", "require_key"]

_log = logging.getLogger("worker.site")

#: The mark of a site whose key cannot be read here.
NO_KEY: Final = "none"
#: Sites that a heartbeat tells of, those with a problem first.
TOLD_MAX: Final = 100


def require_key(settings: Settings) -> None:
    """Check that the key of at least one site can be read.

    Raises:
        SettingsError: none can: a worker would fetch jobs that it cannot send.
    """
    problem: SettingsError | None = None
    for site in settings.sites.values():
        try:
            site.api_key.read()
        except SettingsError as error:
            problem = problem or error
        else:
            return
    if problem is not None:
        raise problem


def key_mark(site: str, api_key: str) -> str:
    """Tell a site's key from another one: 32 bits of a hash, which say nothing about it.

    Returns:
        8 hex digits.
    """
    text = f"largesse key mark\x1f{site}\x1f{api_key}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class SiteKeys:
    """Excludes the sites that this process has no good key for.

    A key that the API refused is probed now and then. Another key is tried at once.

    Args:
        settings: the sites.
        exclusions: the sites whose jobs this process does not fetch.
    """

    def __init__(self, settings: Settings, exclusions: Exclusions) -> None:
        self._settings = settings
        self._exclusions = exclusions
        self._lock = threading.Lock()
        self._marks: dict[str, str] = {}
        #: Site to the mark of the key that the API refused, and to that of one it took again.
        self._refused: dict[str, str] = {}
        self._accepted: dict[str, str] = {}
        self._missing: set[str] = set()

    def mark(self, site: Site) -> str:
        """Give the mark of the key that the site has now; `NO_KEY` when none can be read."""
        try:
            mark = key_mark(site.name, site.api_key.read())
        except SettingsError as error:
            self._miss(site, error)
            mark = NO_KEY
        self._marks[site.name] = mark
        return mark

    def accepted(self, site: str) -> str | None:
        """Give the mark of the key that the API took after it had refused it, or None."""
        return self._accepted.get(site)

    def cannot_serve(self, budget: str, error: SettingsError) -> None:
        """Leave a budget's jobs to others: its site is not configured here, or has no key."""
        known = self._settings.sites.get(budget.partition("/")[0])
        if known is not None:
            self._miss(known, error)
        elif self._exclusions.exclude(budget, probe=False):
            _tell_missing(budget, error)

    def refuse(self, name: str, api_key: str) -> str:
        """Note that the API refused a key; give its mark."""
        mark = key_mark(name, api_key)
        site = self._settings.sites[name]
        if mark == self.mark(site):  # else it was replaced while the call was under way
            self._exclude_refused(site, mark)
        return mark

    def answered(self, name: str, api_key: str) -> None:
        """Note that the API took a key."""
        if name in self._refused:
            mark = key_mark(name, api_key)
            with self._lock:
                if self._refused.get(name) == mark:
                    self._accepted[name] = mark
            self._include(self._settings.sites[name], mark)

    def learn(self, site: Site, mark: str, *, refused: bool, tripped: bool = False) -> None:
        """Take over what Redis knows of the key: other workers have tried it too.

        Args:
            site: the site.
            mark: of its key.
            refused: whether the API refused the key.
            tripped: whether it refused every key at work: then the circuit breaker probes.
        """
        if mark == NO_KEY:
            return
        if refused and tripped:
            self._refused[site.name] = mark
            for budget in site.budgets:
                self._exclusions.include(budget)
            return
        if refused and self._accepted.get(site.name) != mark:
            self._exclude_refused(site, mark)
            return
        if not refused:
            self._accepted.pop(site.name, None)
        self._include(site, mark)

    def told(self) -> dict[str, list[str]]:
        """Give the sites with the mark of the key and what is wrong: "", "missing", "refused"."""
        found = {name: [mark, self._problem(name)] for name, mark in list(self._marks.items())}
        first = sorted(found, key=lambda name: (not found[name][1], name))[:TOLD_MAX]
        return {name: found[name] for name in first}

    def _problem(self, name: str) -> str:
        if name in self._missing:
            return "missing"
        return "refused" if name in self._refused else ""

    def _miss(self, site: Site, error: SettingsError) -> None:
        for budget in site.budgets:
            self._exclusions.exclude(budget, probe=False)
        if site.name not in self._missing:
            self._missing.add(site.name)
            _tell_missing(site.name, error)

    def _exclude_refused(self, site: Site, mark: str) -> None:
        with self._lock:
            new = self._refused.get(site.name) != mark
            self._refused[site.name] = mark
            self._accepted.pop(site.name, None)
        for budget in site.budgets:
            self._exclusions.exclude(budget, probe=True)
        if new:
            emit(_log, SITE_KEY_REFUSED, level=logging.ERROR, site=site.name, key_mark=mark)

    def _include(self, site: Site, mark: str) -> None:
        self._missing.discard(site.name)
        self._refused.pop(site.name, None)
        included = [budget for budget in site.budgets if self._exclusions.include(budget)]
        if included:
            emit(_log, SITE_KEY_ACCEPTED, site=site.name, key_mark=mark)


def _tell_missing(site: str, error: SettingsError) -> None:
    problem = f"{error.variable} {error.problem}"
    emit(
        _log, SITE_KEY_MISSING, level=logging.ERROR, site=site, problem=problem,
        remedy=error.remedy,
    )  # fmt: skip
