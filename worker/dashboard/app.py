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

from worker.dashboard import jobs, login, overview, set_aside, sites
from worker.dashboard.action import page
from worker.dashboard.gate import Gate
from worker.dashboard.house import House
from worker.dashboard.templating import render
from worker.errors import BrokerError

__all__ = ["create_app"]

_STATIC: Final = Path(__file__).parent / "static"
#: Entries of the audit list on its page.
AUDIT_ROWS: Final = 200
_TITLES: Final = {
    403: "Not allowed", 404: "Not found", 405: "Not found", 413: "Too much", 429: "Wait a moment",
    500: "Something broke", 503: "Redis is away",
}  # fmt: skip


def create_app(house: House) -> Starlette:
    """Put the pages together.

    Args:
        house: options, desk and sessions.
    """

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = error.detail if isinstance(error, HTTPException) else ""
        answer = _problem(house, request, status, text)
        if isinstance(error, HTTPException) and error.headers:
            answer.headers.update(error.headers)
        return answer

    async def away(request: Request, error: Exception) -> Response:
        return _problem(house, request, 503, f"{error.args[0]}. Nothing was changed; try again.")

    return Starlette(
        routes=[
            Mount("/static", app=StaticFiles(directory=_STATIC)),
            *login.routes(house),
            *overview.routes(house),
            *jobs.routes(house),
            *sites.routes(house),
            *set_aside.routes(house),
            Route("/audit", page(house, _audit), methods=["GET"]),
        ],
        middleware=[Middleware(Gate, house=house)],
        exception_handlers={HTTPException: refused, BrokerError: away, Exception: refused},
    )


def _audit(house: House, request: Request) -> Response:
    entries = house.desk.audit.read(AUDIT_ROWS)
    return render(house, request, "audit.html", entries=entries, counts=house.desk.counts())


def _problem(house: House, request: Request, status: int, text: str) -> Response:
    title = _TITLES.get(status, "That did not work")
    if status == 500:
        text = "The log of this process says more."
    return render(house, request, "problem.html", status=status, title=title, text=text)
