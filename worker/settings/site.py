"""Chargebee sites: where each one is, which key opens it and what budget it has.

A site comes from a table of the sites file (`LARGESSE_SITES`) or from `CHARGEBEE_SITE` and its
companions. API keys are held by reference and read when a request needs them; a key never enters
a message, a log, a repr or a pickle.

Source of the address template: the API's documentation (`{site}.chargebee.com`, test sites are
called `{site}-test`, a sub-domain of an operation goes before the domain).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from worker.errors import SettingsError
from worker.settings.secret import Secret

__all__ = ["SKIP_NAMES", "Secret", "Site", "check_api_url", "check_site_name"]

#: Calls per minute. Test sites and the smallest live plan have 150; more must be said, as calls
#: above the limit get a live site flagged. 0 = no limit.
DEFAULT_RATE_PER_MINUTE: Final = 150
#: Calls at the same moment. The API published 100 for POST on test sites; half leaves room for
#: the site's other integrations. 0 = no limit.
DEFAULT_MAX_IN_FLIGHT: Final = 50
#: Part of the site's budget this fleet may use, 0 < share <= 1. The whole of it, until the site's
#: other integrations are known.
DEFAULT_SHARE: Final = 1.0
#: Part of the calls that the bulk lane gets while both lanes wait. 0 = none.
DEFAULT_BULK_SHARE: Final = 0.1
#: The only environment that the API's description lists.
DEFAULT_DOMAIN: Final = "chargebee.com"
#: The API is served over TLS only; plain HTTP is for a stand-in and comes in by `api_url`.
DEFAULT_PROTOCOL: Final = "https"
#: Characters of a business entity's or a brand's id. Source: the API's description, maxLength.
MAX_ENTITY_ID_LENGTH: Final = 50
#: What a job may leave out at the API, by the names the options use.
SKIP_NAMES: Final = ("actions", "email", "webhooks")

_SITE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}\Z")
_PRINTABLE = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One Chargebee site.

    Attributes:
        name: the site's name at Chargebee, `-test` included (`acme-test`).
        api_key: where the key is.
        api_url: an origin (`http://127.0.0.1:8400`) that replaces the documentation's template
            for every operation, or None.
        protocol: `https`, or `http` for a stand-in.
        domain: the environment that the site's host ends with.
        port: TCP port, or None for the protocol's own.
        rate_per_minute: calls per minute that the site allows; 0 = no limit.
        max_in_flight: calls at one moment; 0 = no limit.
        share: part of both that this fleet may use, 0 < share <= 1.
        bulk_share: part of the calls that jobs of the bulk lane get while interactive jobs wait,
            0 <= bulk_share <= 0.5; 0 = none.
        grow_budget: True when calls to the `grow` host have a budget of their own.
        business_entity_id: default of the site's jobs.
        brand_id: default of the site's jobs.
        skip: default of the site's jobs, a sorted subset of `SKIP_NAMES`.

    Raises:
        SettingsError: a value is out of bounds; names the field, never the value.
    """

    name: str
    api_key: Secret
    api_url: str | None = None
    protocol: str = DEFAULT_PROTOCOL
    domain: str = DEFAULT_DOMAIN
    port: int | None = None
    rate_per_minute: int = DEFAULT_RATE_PER_MINUTE
    max_in_flight: int = DEFAULT_MAX_IN_FLIGHT
    share: float = DEFAULT_SHARE
    bulk_share: float = DEFAULT_BULK_SHARE
    grow_budget: bool = False
    business_entity_id: str | None = None
    brand_id: str | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_site_name(self.name)
        if self.api_url is not None:
            object.__setattr__(self, "api_url", check_api_url(self.api_url, "api_url"))
        for field, (test, problem, remedy) in _FIELD_RULES.items():
            if not test(getattr(self, field)):
                raise SettingsError(field, problem, remedy)
        object.__setattr__(self, "share", float(self.share))
        object.__setattr__(self, "bulk_share", float(self.bulk_share))
        object.__setattr__(self, "skip", tuple(sorted(set(self.skip))))

    @property
    def budgets(self) -> tuple[str, ...]:
        """Names of its budgets: its own, and one for the grow host when that has its own."""
        return (self.name, f"{self.name}/grow") if self.grow_budget else (self.name,)

    def budget(self, sub_domain: str | None) -> str:
        """Give the name of the budget that calls to a sub-domain count in."""
        apart = self.grow_budget and sub_domain is not None
        return f"{self.name}/{sub_domain}" if apart else self.name

    def origin(self, sub_domain: str | None = None) -> str:
        """Say where the requests of an operation go.

        Args:
            sub_domain: the operation's own, such as `grow`, or None.

        Returns:
            Scheme, host and port, without a slash at the end:
            `https://acme-test.grow.chargebee.com`.
        """
        if self.api_url is not None:
            return self.api_url
        middle = f"{sub_domain}." if sub_domain else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.protocol}://{self.name}.{middle}{self.domain}{port}"

    @property
    def is_test(self) -> bool:
        """True for a test site, whose name ends in `-test`."""
        return self.name.endswith("-test")

    @property
    def sends_key_in_clear(self) -> bool:
        """True when the key would cross a network without TLS; `largesse doctor` warns of it."""
        parts = urlsplit(self.origin())
        return parts.scheme == "http" and not _is_loopback(parts.hostname or "")

    @property
    def budget_per_minute(self) -> float:
        """Calls per minute that this fleet may make: the rate times the share; 0 = no limit."""
        return self.rate_per_minute * self.share

    @property
    def in_flight_budget(self) -> int:
        """Calls at one moment that this fleet may make, at least 1; 0 = no limit."""
        return max(1, int(self.max_in_flight * self.share)) if self.max_in_flight else 0


def check_site_name(name: object, variable: str = "CHARGEBEE_SITE") -> str:
    """Check the name of a site: a host label in lower case.

    Args:
        name: what was written.
        variable: where, for the error text.

    Raises:
        SettingsError: it cannot be the name of a site.
    """
    if isinstance(name, str) and _SITE_NAME.match(name):
        return name
    problem = "is not the name of a site"
    remedy = (
        "Write the first part of the site's address in lower case, such as acme or acme-test: "
        "1 to 63 letters, digits and hyphens."
    )
    raise SettingsError(variable, problem, remedy)


def check_api_url(url: object, variable: str) -> str:
    """Check an origin: `http` or `https`, a host, perhaps a port, and nothing else.

    Args:
        url: what was written; one slash at the end is forgiven.
        variable: where, for the error text.

    Returns:
        The origin without a slash at the end.

    Raises:
        SettingsError: it is not an origin. It is not repeated: it may hold a password.
    """
    remedy = "Write scheme, host and port only, such as https://api.example.com:8443."
    problem = "is not an origin"
    if not isinstance(url, str) or not _PRINTABLE.match(url):
        raise SettingsError(variable, problem, remedy)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError(variable, problem, remedy) from None
    if parts.scheme not in {"http", "https"} or not _is_host(parts.hostname) or port == 0:
        raise SettingsError(variable, problem, remedy)
    if "@" in parts.netloc:
        raise SettingsError(variable, "holds a user or a password", remedy)
    if parts.path not in {"", "/"} or parts.netloc.endswith(":") or "?" in url or "#" in url:
        raise SettingsError(variable, "holds more than an origin", remedy)
    return f"{parts.scheme}://{parts.netloc}"


def _is_host(host: str | None) -> bool:
    return host is not None and (_is_address(host) or _DOMAIN.match(host) is not None)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    named = host == "localhost" or host.endswith(".localhost")
    return named or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _is_bulk_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 0.5


def _is_port(value: object) -> bool:
    return value is None or (_is_count(value) and value in range(1, 65536))


def _is_entity_id(value: object) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, str)
        and len(value) <= MAX_ENTITY_ID_LENGTH
        and _PRINTABLE.match(value) is not None
    )


def _is_skip(value: object) -> bool:
    return isinstance(value, tuple) and all(name in SKIP_NAMES for name in value)


_ENTITY_RULE = (
    _is_entity_id,
    "is not an id",
    f"Write 1 to {MAX_ENTITY_ID_LENGTH} printable ASCII characters without spaces.",
)
_COUNT_RULE = (_is_count, "is not a whole number from 0", "Write a count; 0 means no limit.")
_FIELD_RULES: Mapping[str, tuple[Callable[[object], bool], str, str]] = {
    "protocol": (
        lambda value: isinstance(value, str) and value in {"https", "http"},
        "is neither https nor http",
        "Leave it out.",
    ),
    "domain": (
        lambda value: isinstance(value, str) and _DOMAIN.match(value) is not None,
        "is not a host name",
        "Leave it out, or write the domain alone, such as chargebee.com.",
    ),
    "port": (_is_port, "is not a TCP port", "Leave it out, or write a number from 1 to 65535."),
    "rate_per_minute": _COUNT_RULE,
    "max_in_flight": _COUNT_RULE,
    "share": (_is_share, "is not a share", "Write a number above 0 and up to 1."),
    "bulk_share": (_is_bulk_share, "is not such a share", "Write a number from 0 to 0.5."),
    "grow_budget": (
        lambda value: isinstance(value, bool),
        "is neither true nor false",
        "Write true when the grow host has a limit of its own.",
    ),
    "business_entity_id": _ENTITY_RULE,
    "brand_id": _ENTITY_RULE,
    "skip": (
        _is_skip,
        "is not a list of what to skip",
        f"Choose from {', '.join(SKIP_NAMES)}.",
    ),
}
