"""A browser without a screen: asks an ASGI application in this process, keeps cookies."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp


class Visitor:
    """Asks for pages.

    Args:
        app: what is visited.
        base_url: where it believes to be.
    """

    def __init__(self, app: ASGIApp, *, base_url: str) -> None:
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url=base_url,
            headers={"accept": "text/html"},
        )
        self.cookies = self._client.cookies

    def get(self, path: str, **rest: Any) -> httpx.Response:
        """GET a path."""
        return self._runner.run(self._client.get(path, **rest))

    def post(self, path: str, **rest: Any) -> httpx.Response:
        """POST a form to a path."""
        return self._runner.run(self._client.post(path, **rest))

    def close(self) -> None:
        """Close the connection and the loop."""
        self._runner.run(self._client.aclose())
        self._runner.close()
