"""Tells Redis what each site allows, when a worker starts and from time to time after."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any, Final

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from worker.engine.broker import Budget, EngineBroker
from worker.engine.site_config import limits_text
from worker.errors import BrokerError, LayoutError
from worker.logs.events import SITE_LIMITS_DIFFER, emit
from worker.process.site_keys import SiteKeys
from worker.settings import Settings
from worker.settings.site import Site

__all__ = ["BudgetKeeper", "budget_of", "rate_of"]

_log = logging.getLogger("worker.site")

#: Seconds between two writings: a Redis that lost everything learns its limits again.
REPEAT_S: Final = 5.0
#: Seconds until the next try while Redis is unreachable.
RETRY_S: Final = 1.0
#: A site's burst is this part of its rate: 3 calls at 150 a minute.
BURST_PART: Final = 50


def budget_of(
    site: Site, name: str | None = None, *, key_mark: str = "", accepted: bool = False
) -> Budget:
    """Work out the rate of a site, or of one of its hosts that has a budget of its own.

    In any minute at most rate + burst + 1 calls can go out; the rate is lowered by as much, so
    that the site's own count never passes its limit.

    Args:
        site: the site.
        name: of the budget; the site's own when None.
        key_mark: of the key that this process holds; "" when it does not say.
        accepted: whether the API took the key since it was refused.
    """
    rate, burst = rate_of(site.rate_per_minute * site.share)
    cap = max(1, int(site.max_in_flight * site.share)) if site.max_in_flight else 0
    return Budget(
        name or site.name, rate_per_minute=rate, burst=burst, max_in_flight=cap,
        bulk_every=round(1 / site.bulk_share) if site.bulk_share else 0,
        key_mark=key_mark, accepted=accepted,
    )  # fmt: skip


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
    """Writes the budgets of all configured sites, and which keys this process holds.

    Args:
        settings: the sites.
        keys: told which of its keys were refused.
    """

    def __init__(self, settings: Settings, keys: SiteKeys) -> None:
        self._sites = tuple(settings.sites.values())
        self._keys = keys
        #: The limits that living workers say, by budget, as they were last logged.
        self._limits: dict[str, Mapping[str, str]] = {}
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
        marks = {site.name: self._keys.mark(site) for site in self._sites}
        budgets = [
            budget_of(site, name, key_mark=mark, accepted=self._keys.accepted(site.name) == mark)
            for site, mark in zip(self._sites, marks.values(), strict=True)
            for name in site.budgets
        ]
        try:
            # Redis may have been away at the start, or lost what it knew.
            broker.scripts.lay_out(as_worker=True)
            found = broker.configure(budgets)
        except BrokerError as error:
            broker.outage.began(error)
            return False
        except LayoutError:
            _log.critical("this process ends: its layout is not that of the queue", exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)
            return False
        for site in self._sites:
            own = [found[name] for name in site.budgets]
            self._keys.learn(
                site,
                marks[site.name],
                refused=any(one.refused for one in own),
                tripped=all(one.tripped for one in own),
            )
        for name, known in found.items():
            self._tell_limits(name, known.limits)
        return True

    def _tell_limits(self, name: str, limits: Mapping[str, str]) -> None:
        """Say once which workers differ about a site."""
        if limits.keys() == self._limits.get(name, {}).keys():
            return
        self._limits[name] = limits
        if limits:
            said = "; ".join(f"{who} says {limits_text(one)}" for one, who in limits.items())
            emit(
                _log, SITE_LIMITS_DIFFER, level=logging.WARNING, site=name,
                problem=f"workers differ and the lowest limits hold: {said}",
                remedy="Give all workers the same settings.",
            )  # fmt: skip
