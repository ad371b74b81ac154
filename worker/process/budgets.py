"""Tells Redis what each site allows, when a worker starts and from time to time after."""

from __future__ import annotations

import hashlib
import threading
from typing import Any, Final

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from worker.engine.broker import Budget, EngineBroker
from worker.errors import BrokerError, SettingsError
from worker.settings import Settings
from worker.settings.site import Site

__all__ = ["BudgetKeeper", "budget_of", "key_mark_of", "rate_of"]

#: Seconds between two writings: a Redis that lost everything learns its limits again.
REPEAT_S: Final = 5.0
#: Seconds until the next try while Redis is unreachable.
RETRY_S: Final = 1.0
#: A site's burst is this part of its rate: 3 calls at 150 a minute.
BURST_PART: Final = 50


def budget_of(site: Site, name: str | None = None, *, key_mark: str = "") -> Budget:
    """Work out the rate of a site, or of one of its hosts that has a budget of its own.

    In any minute at most rate + burst + 1 calls can go out; the rate is lowered by as much, so
    that the site's own count never passes its limit.

    Args:
        site: the site.
        name: of the budget; the site's own when None.
        key_mark: see `key_mark_of`; "" when the key is the one of the last time.
    """
    rate, burst = rate_of(site.rate_per_minute * site.share)
    cap = max(1, int(site.max_in_flight * site.share)) if site.max_in_flight else 0
    return Budget(
        name or site.name, rate_per_minute=rate, burst=burst, max_in_flight=cap, key_mark=key_mark
    )


def key_mark_of(site: Site) -> str:
    """Tell the site's key from another one: 32 bits of a hash, which say nothing about it.

    Returns:
        8 hex digits; "none" when there is no key to read.
    """
    try:
        key = site.api_key.read()
    except SettingsError:
        return "none"
    text = f"largesse key mark\x1f{site.name}\x1f{key}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def rate_of(allowed: float) -> tuple[float, int]:
    """Work out the rate that keeps within a number of calls in any minute.

    Args:
        allowed: calls a minute; 0 = no limit.

    Returns:
        Calls a minute, and how many may go at once before they are spaced.
    """
    burst = int(allowed // BURST_PART)
    rate = max(allowed - burst - 1, allowed / 2) if allowed else 0.0
    return rate, burst


class BudgetKeeper(Middleware):
    """Writes the budgets of all configured sites.

    Args:
        settings: the sites.
    """

    def __init__(self, settings: Settings) -> None:
        self._sites = tuple(settings.sites.values())
        #: Marks of the keys as Redis has heard of them: it is told of a key when it is another.
        self._marks: dict[str, str] = {}
        self._stopped = threading.Event()

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        """Write once before the first job, if Redis is there; then keep writing."""
        written = self._write(broker)
        threading.Thread(
            target=self._keep, args=(broker, written), name="largesse-budgets", daemon=True
        ).start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:  # noqa: ARG002
        """Write no more."""
        self._stopped.set()

    def _keep(self, broker: Broker, written: bool) -> None:
        while not self._stopped.wait(REPEAT_S if written else RETRY_S):
            written = self._write(broker)

    def _write(self, broker: Broker) -> bool:
        assert isinstance(broker, EngineBroker)  # noqa: S101 - added by main.build alone
        marks = {site.name: key_mark_of(site) for site in self._sites}
        try:
            broker.configure(
                budget_of(site, name, key_mark=mark if self._marks.get(site.name) != mark else "")
                for site, mark in zip(self._sites, marks.values(), strict=True)
                for name in site.budgets
            )
        except BrokerError as error:
            broker.outage.began(error)
            return False
        self._marks = marks
        return True
