"""The overview, and the stream of events that keeps it fresh."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from schemas import KINDS
from worker.dashboard.action import page
from worker.dashboard.dashboard import Dashboard, session_of
from worker.dashboard.snapshot import Snapshots
from worker.dashboard.templating import fragment, render
from worker.errors import BrokerError

__all__ = ["routes"]

#: Seconds between two events.
EVERY_S: Final = 2.0
#: Streams at the same time; each holds a connection.
STREAMS_MAX: Final = 64


def routes(dashboard: Dashboard) -> list[Route]:
    """Give `/` and `/live`."""
    live = Live(dashboard)
    return [
        Route("/", page(dashboard, live.show), methods=["GET"]),
        Route("/live", live.stream, methods=["GET"]),
    ]


class Live:
    """The overview of one dashboard.

    Args:
        dashboard: the dashboard.
    """

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._snapshots = Snapshots(dashboard.operator)
        self._streams = 0

    def show(self, dashboard: Dashboard, request: Request) -> Response:
        """Show the whole page."""
        site, kind = _choice(request)
        seen = self._snapshots.get(site, kind)
        names = sorted({one.name for one in seen.sites} | set(dashboard.settings.sites))
        return render(
            dashboard, request, "overview.html", seen=seen, site=site, kind=kind, names=names,
            kinds=KINDS, counts=seen.counts,
        )  # fmt: skip

    async def stream(self, request: Request) -> Response:
        """Stream the parts of the page that change."""
        if self._streams >= STREAMS_MAX:
            raise HTTPException(503, "Too many pages are open.")
        self._streams += 1
        return StreamingResponse(
            self._events(request), media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )  # fmt: skip

    async def _events(self, request: Request) -> AsyncIterator[str]:
        session = session_of(request)
        site, kind = _choice(request)
        try:
            while not (self._dashboard.stopping.is_set() or await request.is_disconnected()):
                if session.id and not self._dashboard.sessions.is_alive(session):
                    yield _event("bye", "The session is over. Log in again.")
                    return
                yield await run_in_threadpool(self._event, site, kind)
                await _pause(self._dashboard)
        finally:
            self._streams -= 1

    def _event(self, site: str | None, kind: str | None) -> str:
        try:
            seen = self._snapshots.get(site, kind)
        except BrokerError as error:
            return _event("unreachable", error.args[0])
        return _event("overview", fragment("live.html", seen=seen))


async def _pause(dashboard: Dashboard) -> None:
    for _ in range(round(EVERY_S / 0.25)):
        if dashboard.stopping.is_set():
            return
        await asyncio.sleep(0.25)


def _event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _choice(request: Request) -> tuple[str | None, str | None]:
    given = request.query_params
    return given.get("site") or None, given.get("kind") or None
