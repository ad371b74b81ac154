"""A job as the exact request that goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Final

from worker.api.encoding import encode_form, encode_json
from worker.api.headers import Header, idempotency_header, option_headers
from worker.operations import Operation
from worker.settings.site import Site

#: As the official SDKs write it.
_CONTENT_TYPES: Final = {
    "form": "application/x-www-form-urlencoded",
    "json": "application/json;charset=UTF-8",
}


@dataclass(frozen=True, slots=True, repr=False)
class ApiRequest:
    """One request, complete but for the API key.

    Args:
        method: `POST`.
        url: the whole address.
        headers: list of pairs (name, value), in the order they go out; no Authorization.
        body: the exact bytes.
    """

    method: str
    url: str
    headers: tuple[Header, ...]
    body: bytes

    def __repr__(self) -> str:
        path = self.url.split("://", 1)[-1].partition("/")[2]
        return f"ApiRequest({self.method} /{path})"


def build_request(
    operation: Operation,
    *,
    site: Site,
    payload: Mapping[str, Any],
    options: Mapping[str, Any],
    idempotency_key: str | None,
) -> ApiRequest:
    """Build the request of a job: pure, the same bytes and headers for every attempt.

    Args:
        operation: the call.
        site: where it goes; its defaults fill what the options leave open.
        payload: canonical payload of the job.
        options: canonical options of the job.
        idempotency_key: 1 to 100 printable ASCII characters. It is sent whenever it is given:
            whether it should be is `operation.idempotent`.

    Raises:
        InvalidJobError: an option or the key cannot be carried by a header.
    """
    if operation.encoding == "json":
        body = encode_json(payload)
    else:
        body = encode_form(payload, operation.json_fields)
    headers = [
        ("Content-Type", _CONTENT_TYPES[operation.encoding]),
        ("Accept", "application/json"),
        # An answer has some 400 bytes: packing it gains nothing, and what is not packed cannot
        # burst. One that comes packed all the same is unpacked up to the cap.
        ("Accept-Encoding", "identity"),
        ("User-Agent", user_agent()),
        *option_headers(options, payload=payload, site=site),
    ]
    if idempotency_key is not None:
        headers.append(idempotency_header(idempotency_key))
    url = site.origin(operation.sub_domain) + operation.path
    return ApiRequest("POST", url, tuple(headers), body)


@cache
def user_agent() -> str:
    """Return the name and version we go by, such as `largesse/0.1.0`."""
    try:
        return f"largesse/{metadata.version('largesse')}"
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "largesse/0"
