"""The bulkhead of one process: a site that hangs leaves slots to all others.

A site is *lively* while its calls come back. A lively site may use every slot. A site that has not
answered here yet, or that has gone quiet, may hold a few. All such sites together take half of the
slots from the lively ones at most.
Each process judges by its own calls: what one host lacks (a name server, a route) slows that host
alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from worker.engine.endings import Ending, Release
from worker.engine.enqueue import NO_SITE
from worker.engine.exclusions import Exclusions

if TYPE_CHECKING:
    from worker.engine.delivery import Delivery

__all__ = ["LOOK_S", "OVERFLOW", "Bulkhead"]

#: Part of the slots that one site may hold until it answers; on an event loop, where a call that
#: hangs costs little, as many calls as the ramp of a new site begins with, at least.
FEW_PART: Final = 4
FEW_ON_LOOP: Final = 5
#: An event loop runs so many times its slots at most, while the calls of a site do not come back.
OVERFLOW: Final = 2
#: Silence after which a site is quiet, s: so many times its slowest recent answer, within bounds.
QUIET_TIMES: Final = 4
QUIET_MIN_S: Final = 0.25
QUIET_MAX_S: Final = 5.0
#: Part by which the slowest recent answer is forgotten with each faster one.
FORGET_PART: Final = 0.05
#: Seconds between two looks for silence.
LOOK_S: Final = 0.1


class _Site:
    """The calls of one site, oldest first, and how it answered."""

    __slots__ = ("answered_at", "calls", "lively", "slowest_s")

    def __init__(self, *, lively: bool) -> None:
        self.lively = lively
        self.calls: dict[Delivery, float] = {}
        self.answered_at = 0.0
        self.slowest_s = 0.0

    def is_silent(self, now: float) -> bool:
        since = max(self.answered_at, next(iter(self.calls.values())))
        return now - since > min(QUIET_MAX_S, max(QUIET_MIN_S, QUIET_TIMES * self.slowest_s))


class Bulkhead:
    """Divides the slots of a process among sites.

    Messages that belong to no site are lively for ever: nobody knows how long they should take.

    Args:
        slots: calls at the same time.
        overflow: True where a call that hangs costs no thread: more calls than slots may then be
            under way.
        exclusions: sites that the process leaves to others.
        clock: gives monotonic seconds.
    """

    def __init__(
        self,
        slots: int,
        *,
        overflow: bool,
        exclusions: Exclusions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exclusions = Exclusions() if exclusions is None else exclusions
        self._slots = slots
        self._few = max(FEW_ON_LOOP if overflow else 1, slots // FEW_PART)
        self._half = slots // 2
        self._dull_max = slots if overflow else self._half
        self._overflow = overflow
        self._clock = clock
        self._lock = threading.Lock()
        self._sites: dict[str, _Site] = {}
        self._dull: dict[str, _Site] = {}  # those that are not lively
        self._total = 0
        self._stuck = 0  # calls of sites that are not lively
        self._look_at = 0.0

    def room(self) -> int:
        """Give how many more calls may start; below 0 when there are too many."""
        if not self._overflow or not self._stuck:
            return self._slots - self._total
        filled = self._total - self._stuck + min(self._stuck, self._half)
        return min(self._slots - filled, OVERFLOW * self._slots - self._total)

    def started(self, call: Delivery) -> None:
        """Count a call that is in hand from now on."""
        if self._exclusions:
            self._exclusions.started(call.budget)
        site = self._sites.get(call.budget) or self._site(call.budget)
        with self._lock:
            site.calls[call] = self._clock()
            self._total += 1
            if not site.lively:
                self._stuck += 1

    def ended(self, call: Delivery, ending: Ending) -> bool:
        """Count a call no more.

        Returns:
            Whether its site may get more calls than before, as it was not lively.
        """
        with self._lock:
            site = self._sites[call.budget]
            began = site.calls.pop(call, None)
            if began is None:
                return False
            self._total -= 1
            was_lively = site.lively
            if not was_lively:
                self._stuck -= 1
            if not isinstance(ending, Release) and not getattr(ending, "failing", False):
                site.answered_at = self._clock()
                took_s = site.answered_at - began
                slower = took_s > site.slowest_s
                site.slowest_s += (took_s - site.slowest_s) * (1 if slower else FORGET_PART)
                if not was_lively:
                    site.lively = True
                    del self._dull[call.budget]
                    self._stuck -= len(site.calls)
            return not was_lively

    def look(self) -> list[Delivery]:
        """Look for sites that have gone quiet; asked more often, look every `LOOK_S`.

        Returns:
            The calls in hand of those that were lively until now.
        """
        now = self._clock()
        calls: list[Delivery] = []
        if now < self._look_at:
            return calls
        self._look_at = now + LOOK_S
        with self._lock:
            for name, site in self._sites.items():
                if site.lively and site.calls and name != NO_SITE and site.is_silent(now):
                    site.lively = False
                    self._dull[name] = site
                    self._stuck += len(site.calls)
                    calls += site.calls
        return calls

    def limits(self) -> list[str | int]:
        """Give the sites that may not have all they want, each with the calls it may get now."""
        if not self._dull and not self._exclusions:
            return []
        with self._lock:
            allowed = {name: self._allowed(site) for name, site in self._dull.items()}
        for name, most in self._exclusions.limits().items():
            allowed[name] = min(most, allowed.get(name, most))
        return [part for pair in allowed.items() for part in pair]

    def split(self, batch: list[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
        """Count the calls of a batch that fit; give them, and those that must wait."""
        fitting: list[Delivery] = []
        surplus: list[Delivery] = []
        for one in batch:
            site = self._site(one.budget)
            excluded = self._exclusions.allowed(one.budget) == 0
            if not excluded and (site.lively or self._allowed(site) > 0):
                self.started(one)
                fitting.append(one)
            else:
                surplus.append(one)
        return fitting, surplus

    def _site(self, name: str) -> _Site:
        with self._lock:
            site = self._sites.get(name)
            if site is None:
                site = self._sites[name] = _Site(lively=name == NO_SITE)
                if not site.lively:
                    self._dull[name] = site
            return site

    def _allowed(self, site: _Site) -> int:
        """Give how many more calls a site that is not lively may get."""
        held = len(site.calls)
        more = min(self._few - held, self._dull_max - self._stuck)
        # One to try it, but the last thread is left to the sites that answer.
        tried = held == 0 and (self._overflow or self._stuck < max(1, self._slots - 1))
        return max(1 if tried else 0, more)
