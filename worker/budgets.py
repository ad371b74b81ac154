"""Tells Redis what each site allows, when a worker starts and from time to time after."""

from __future__ import annotations

import threading
from typing import Any, Final

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from worker.engine.broker import Budget, EngineBroker
from worker.errors import BrokerError
from worker.settings import Settings
from worker.sites import Site

__all__ = ["BudgetKeeper", "budget_of", "pace_of"]

#: Seconds between two writings: a Redis that lost everything learns its limits again.
REPEAT_S: Final = 5.0
#: Seconds until the next try while Redis is away.
AWAY_S: Final = 1.0
#: A site's burst is this part of its rate: 3 calls at 150 a minute.
BURST_PART: Final = 50


def budget_of(site: Site, name: str | None = None) -> Budget:
    """Work out the pace of a site, or of one of its hosts that has a budget of its own.

    In any minute at most rate + burst + 1 calls can go out; the rate is lowered by as much, so
    that the site's own count never passes its limit.
    """
    rate, burst = pace_of(site.rate_per_minute * site.share)
    cap = max(1, int(site.max_in_flight * site.share)) if site.max_in_flight else 0
    return Budget(name or site.name, rate_per_minute=rate, burst=burst, max_in_flight=cap)


def pace_of(allowed: float) -> tuple[float, int]:
    """Work out the pace that keeps within a number of calls in any minute.

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
        self._budgets = [
            budget_of(site, name) for site in settings.sites.values() for name in site.budgets
        ]
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
        while not self._stopped.wait(REPEAT_S if written else AWAY_S):
            written = self._write(broker)

    def _write(self, broker: Broker) -> bool:
        assert isinstance(broker, EngineBroker)  # noqa: S101 - added by main.build alone
        try:
            broker.configure(self._budgets)
        except BrokerError as error:
            broker.absence.began(error)
            return False
        return True
