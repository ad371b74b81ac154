"""The API client: one request, one attempt, one answer or one typed error.

    operation + payload + options -> build_request -> ApiRequest -> ApiClient.call -> ApiAnswer

`ApiClient` is imported from `worker.api.client`, the only module that imports httpx, so that what
merely shows a request needs no HTTP client.
"""

from __future__ import annotations

from worker.api.answers import ApiAnswer, parse_retry_after
from worker.api.request import ApiRequest, build_request

__all__ = ["ApiAnswer", "ApiRequest", "build_request", "parse_retry_after"]
