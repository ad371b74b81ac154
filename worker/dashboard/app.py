"""The Starlette application of a dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from worker.dashboard import dead_letters, jobs, login, overview, sites
from worker.dashboard.access import AccessMiddleware
from worker.dashboard.action import page
from worker.dashboard.dashboard import Dashboard
from worker.dashboard.templating import render
from worker.errors import BrokerError

__all__ = ["create_app"]

_STATIC: Final = Path(__file__).parent / "static"
#: Entries of the audit list on its page.
AUDIT_ROWS: Final = 200
_TITLES: Final = {
    403: "Not allowed", 404: "Not found", 405: "Not found", 413: "Too much", 429: "Wait a moment",
    500: "Something broke", 503: "Cannot reach Redis",
}  # fmt: skip


def create_app(dashboard: Dashboard) -> Starlette:
    """Put the pages together.

    Args:
        dashboard: options, operator client and sessions.
    """

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = error.detail if isinstance(error, HTTPException) else ""
        answer = _problem(dashboard, request, status, text)
        if isinstance(error, HTTPException) and error.headers:
            answer.headers.update(error.headers)
        return answer

    async def unreachable(request: Request, error: Exception) -> Response:
        return _problem(
            dashboard, request, 503, f"{error.args[0]}. Nothing was changed; try again."
        )

    return Starlette(
        routes=[
            Mount("/static", app=StaticFiles(directory=_STATIC)),
            *login.routes(dashboard),
            *overview.routes(dashboard),
            *jobs.routes(dashboard),
            *sites.routes(dashboard),
            *dead_letters.routes(dashboard),
            Route("/audit", page(dashboard, _audit), methods=["GET"]),
        ],
        middleware=[Middleware(AccessMiddleware, dashboard=dashboard)],
        exception_handlers={HTTPException: refused, BrokerError: unreachable, Exception: refused},
    )


def _audit(dashboard: Dashboard, request: Request) -> Response:
    entries = dashboard.operator.audit.read(AUDIT_ROWS)
    return render(
        dashboard, request, "audit.html", entries=entries, counts=dashboard.operator.counts()
    )


def _problem(dashboard: Dashboard, request: Request, status: int, text: str) -> Response:
    title = _TITLES.get(status, "That did not work")
    if status == 500:
        text = "The log of this process says more."
    return render(dashboard, request, "problem.html", status=status, title=title, text=text)
