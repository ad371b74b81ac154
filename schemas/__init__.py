"""The requests and answers of the two calls, as schemas.

    job = schemas.validate("gift_checkout", {...}, {"skip": ["email"]})

This package stands alone: it knows nothing of queues or HTTP.
"""

from __future__ import annotations

from schemas.job import (
    KINDS,
    PAYLOAD_MAX_BYTES,
    REQUEST_OPTIONS,
    RequestContext,
    ValidJob,
    paths,
    rows_form,
    validate,
)
from schemas.options import SKIPS
from schemas.problems import flatten, shown
from schemas.responses import read_hosted_page, read_offers
from schemas.shortening import shortened
from schemas.suggestion import did_you_mean

#: Raised when the meaning of a record changes; `worker` refuses a `schemas` of another number.
CONTRACT = 1

__all__ = [
    "CONTRACT",
    "KINDS",
    "PAYLOAD_MAX_BYTES",
    "REQUEST_OPTIONS",
    "SKIPS",
    "RequestContext",
    "ValidJob",
    "did_you_mean",
    "flatten",
    "paths",
    "read_hosted_page",
    "read_offers",
    "rows_form",
    "shortened",
    "shown",
    "validate",
]
