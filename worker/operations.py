"""The one table of calls: what a kind of job is at the API.

A further call is a schema in `schemas`, a row here and their tests, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import schemas
from worker.errors import AmbiguousError, InvalidJobError

__all__ = ["OPERATIONS", "Operation", "operation"]

#: Base path of version 2 of the API.
API_PATH: Final = "/api/v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of the API.

    Args:
        kind: the kind of job that makes it.
        path: path from the origin on.
        sub_domain: what stands between the site and the domain, or None.
        encoding: how the body is written.
        idempotent: the API honours an idempotency key here.
        repeatable: a read: repeating it changes nothing.
        read: reads the answer's body; raises ValueError when it is of no use.
        json_fields: fields of a form that are written as one JSON text each.
    """

    kind: str
    path: str
    sub_domain: str | None
    encoding: Literal["form", "json"]
    idempotent: bool
    repeatable: bool
    read: Callable[[Mapping[str, Any]], dict[str, Any]]
    json_fields: tuple[str, ...] = ()

    def read_answer(
        self, body: Mapping[str, Any], *, status: int = 200, replayed: bool = False
    ) -> dict[str, Any]:
        """Read what the job was for out of a 2xx answer.

        Args:
            body: the JSON object of the answer.
            status: its HTTP status, for the error.
            replayed: the answer was a replay, for the error.

        Returns:
            This part of the outcome: `{"hosted_page": ...}` or `{"offers": ..., "brand": ...,
            "expires_at": ...}`.

        Raises:
            AmbiguousError: the body is not what a success looks like, so whether the call was
                made is not known.
        """
        try:
            return self.read(body)
        except ValueError:
            pass
        # Raised out here so that the error carries no trace of the body.
        raise AmbiguousError("unusable_answer", status=status, replayed=replayed)


def _hosted_page(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"hosted_page": schemas.read_hosted_page(body)}


_ROWS: Final = (
    Operation(
        kind="gift_checkout",
        path=f"{API_PATH}/hosted_pages/checkout_gift_for_items",
        sub_domain=None,
        encoding="form",
        idempotent=True,
        repeatable=False,
        read=_hosted_page,
    ),
    # The OpenAPI file says form for this one; the official SDKs send JSON, to the grow host.
    Operation(
        kind="personalized_offer",
        path=f"{API_PATH}/personalized_offers",
        sub_domain="grow",
        encoding="json",
        idempotent=False,
        repeatable=True,
        read=schemas.read_offers,
        json_fields=("custom",),
    ),
)

#: Every call, by kind of job.
OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType({row.kind: row for row in _ROWS})


def operation(kind: str) -> Operation:
    """Return the call of a kind of job.

    Raises:
        InvalidJobError: there is no such kind.
    """
    found = OPERATIONS.get(kind)
    if found is None:
        raise InvalidJobError({"kind": [f"Must be one of: {', '.join(OPERATIONS)}."]})
    return found
