"""The headers of a request that come from a job's options and its site's defaults."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

from worker.errors import InvalidJobError
from worker.settings.site import Site

#: Name and value of one header.
Header = tuple[str, str]

IDEMPOTENCY_KEY: Final = "chargebee-idempotency-key"
IDEMPOTENCY_REPLAYED: Final = "chargebee-idempotency-replayed"

#: Longest key the API takes, in characters. Source: its documentation, "Idempotent requests".
IDEMPOTENCY_KEY_MAX: Final = 100

#: The only value that the API knows for a skip header.
ALL_DISABLED: Final = "all-disabled"

#: What a job can skip, and the header that says so.
SKIP_HEADERS: Final[Mapping[str, str]] = {
    "actions": "chargebee-event-actions",
    "email": "chargebee-event-email",
    "webhooks": "chargebee-event-webhook",
}

#: Fields that the body may carry too; what the body says wins over the site's default.
_CONTEXT_HEADERS: Final[Mapping[str, str]] = {
    "business_entity_id": "chargebee-business-entity-id",
    "brand_id": "chargebee-brand-id",
}


def option_headers(
    options: Mapping[str, Any], *, payload: Mapping[str, Any], site: Site
) -> Iterator[Header]:
    """Name what the options of a job ask for, with the site's defaults for what they leave open.

    Args:
        options: canonical options of the job.
        payload: canonical body of the job.
        site: where the job goes.

    Raises:
        InvalidJobError: a value that no header can carry; names the option, not the value.
    """
    skip = options.get("skip")
    for name in site.skip if skip is None else skip:
        yield SKIP_HEADERS[name], ALL_DISABLED
    for option, header in _CONTEXT_HEADERS.items():
        value = options.get(option)
        if value is None and option not in payload:
            value = getattr(site, option)
        if value is not None:
            yield header, _carried(value, f"options.{option}")
    yield from _origin_headers(options.get("origin") or {})


def idempotency_header(key: str) -> Header:
    """Return the header of an idempotency key.

    Raises:
        InvalidJobError: empty, longer than 100 characters, or not printable ASCII.
    """
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_MAX:
        raise InvalidJobError({"key": [f"Not of 1 to {IDEMPOTENCY_KEY_MAX} characters."]})
    return IDEMPOTENCY_KEY, _carried(key, "key")


def _origin_headers(origin: Mapping[str, str]) -> Iterator[Header]:
    user = origin.get("user")
    if user is not None and user.isascii():
        yield "chargebee-request-origin-user", _carried(user, "options.origin.user")
    elif user is not None:
        # A header carries ASCII only; the API reads this one as Base64 of UTF-8.
        encoded = base64.b64encode(user.encode()).decode("ascii")
        yield "chargebee-request-origin-user-encoded", encoded
    for name in ("ip", "device"):
        if name in origin:
            yield (
                f"chargebee-request-origin-{name}",
                _carried(origin[name], f"options.origin.{name}"),
            )


def _carried(value: str, path: str) -> str:
    # Validation has refused all of this at enqueue; a record written by anything else ends here.
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise InvalidJobError({path: ["A header carries printable ASCII only."]})
    return value
