"""httpx at its best: clients of a single connection each, as a large pool slows every call."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import httpx

from benchmarks.work import api_url, headers, in_flight

__all__ = ["AsyncClients", "post"]

_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60)
_TIMEOUT_S = 30
_own = threading.local()


def post(fields: Mapping[str, str]) -> Mapping[str, Any]:
    """Make the call over this thread's (or greenlet's) connection; give the parsed answer."""
    if not hasattr(_own, "client"):
        _own.client = httpx.Client(
            headers=headers(), limits=_LIMITS, timeout=_TIMEOUT_S, verify=False
        )
    answer = _own.client.post(api_url(), data=fields)
    answer.raise_for_status()
    return answer.json()


class AsyncClients:
    """As many clients as there are calls in flight; a call takes the one that was used last."""

    def __init__(self) -> None:
        tls = httpx.create_ssl_context(verify=False)
        self._url = api_url()
        self._free = [
            httpx.AsyncClient(headers=headers(), limits=_LIMITS, timeout=_TIMEOUT_S, verify=tls)
            for _ in range(in_flight())
        ]

    async def post(self, fields: Mapping[str, str]) -> Mapping[str, Any]:
        """Make the call; give the parsed answer."""
        client = self._free.pop()
        try:
            answer = await client.post(self._url, data=fields)
            answer.raise_for_status()
            return answer.json()
        finally:
            self._free.append(client)
