"""How the sandbox behaves; every one can be changed while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Settings that one site may have of its own.
PER_SITE = ("rate_per_minute", "max_concurrent")

_CHOICES = {
    "rate_window": ("sliding", "fixed"),
    "concurrent_duplicate": ("lock_timeout", "wait"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, with the defaults of the documentation.

    Attributes:
        rate_per_minute: Requests a minute and site; 0 = no limit.
        max_concurrent: Requests in progress per site; 0 = no limit.
        rate_window: ``sliding`` (any 60 s) or ``fixed`` (whole minutes of the clock).
        retry_after: Form of the header on a 429: ``seconds``, ``date``, ``none``, or text to send.
        grow_own_limit: Whether offers have a budget of their own.
        latency_ms: Wait before every API request is executed.
        page_expires_s: Life of a hosted page.
        idempotency_window_s: How long a key is honoured.
        concurrent_duplicate: What a request gets whose key is in progress: 429 ``lock_timeout``,
            or to wait for the answer of the first.
        offers_form: Whether offers are accepted form-encoded as well.
        site_limits: Site to its own ``rate_per_minute`` and ``max_concurrent``.
    """

    rate_per_minute: int = 0
    max_concurrent: int = 0
    rate_window: str = "sliding"
    retry_after: str = "seconds"
    grow_own_limit: bool = False
    latency_ms: float = 0
    page_expires_s: int = 3 * 3600
    idempotency_window_s: int = 30 * 60
    concurrent_duplicate: str = "lock_timeout"
    offers_form: bool = False
    site_limits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def limit(self, site: str, name: str) -> int:
        """One of ``PER_SITE`` as it holds for a site."""
        value = self.site_limits.get(site, {}).get(name, getattr(self, name))
        return int(value)

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with some replaced.

        Raises:
            ValueError: for an unknown name or a value that it cannot have.
        """
        if "site" in changes:
            return self._changed_for_site(dict(changes))
        known = {f.name: f for f in dataclasses.fields(self) if f.name != "site_limits"}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown setting {name}")
            _check(name, value, getattr(self, name))
        return dataclasses.replace(self, **changes)

    def _changed_for_site(self, changes: dict[str, Any]) -> Settings:
        site = changes.pop("site")
        own = dict(self.site_limits.get(site, {}))
        for name, value in changes.items():
            if name not in PER_SITE:
                raise ValueError(f"{name} cannot be set for one site")
            if value is None:
                own.pop(name, None)
            else:
                _check(name, value, 0)
                own[name] = value
        return dataclasses.replace(self, site_limits={**self.site_limits, site: own})

    def as_json(self) -> dict[str, Any]:
        """What ``GET /_sandbox/settings`` answers."""
        return dataclasses.asdict(self)


def _check(name: str, value: Any, default: Any) -> None:
    if isinstance(default, bool):
        right = isinstance(value, bool)
    elif isinstance(default, float) or name == "latency_ms":
        right = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    elif isinstance(default, int):
        right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    else:
        right = isinstance(value, str)
    if not right:
        raise ValueError(f"{name} has a value it cannot have")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name} should be one of {', '.join(_CHOICES[name])}")
