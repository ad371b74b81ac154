"""Turning a function into a page or into an action: threads, forms, protection from forgery."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.dashboard.access import is_right
from worker.dashboard.dashboard import Dashboard, session_of

__all__ = ["Form", "Handler", "action", "back", "page", "read_form"]

#: Bytes of a form: 500 ids of jobs have 20 kB.
BODY_MAX: Final = 256 * 1024

#: Names to all their values.
Form = dict[str, list[str]]
Handler = Callable[[Request], Awaitable[Response]]


def page(dashboard: Dashboard, show: Callable[[Dashboard, Request], Response]) -> Handler:
    """Make a page out of a function that may block."""

    async def shown(request: Request) -> Response:
        return await run_in_threadpool(show, dashboard, request)

    return shown


def action(
    dashboard: Dashboard,
    act: Callable[[Dashboard, Request, Form], Response],
    *,
    changes: bool = True,
) -> Handler:
    """Make an action out of a function that may block; its form must hold the session's secret.

    Args:
        dashboard: the dashboard.
        act: what to do with the form.
        changes: whether read-only forbids it.
    """

    async def acted(request: Request) -> Response:
        form = await read_form(request)
        session = session_of(request)
        if not session.is_program and not is_right(one(form, "csrf"), session.csrf):
            raise HTTPException(403, "The form was too old. Go back, load the page again.")
        if changes and dashboard.options.read_only:
            raise HTTPException(403, "This dashboard only shows: it is read-only.")
        return await run_in_threadpool(act, dashboard, request, form)

    return acted


async def read_form(request: Request) -> Form:
    """Read a form that is not large.

    Raises:
        HTTPException: 413 when it is, 400 when it is none.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_MAX:
            raise HTTPException(413, "The form is too large.")
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=2000)
    except ValueError:
        raise HTTPException(400, "The request is not a form.") from None


def one(form: Form, name: str) -> str:
    """Give the one value of a field; "" when it is missing."""
    return form.get(name, [""])[0].strip()


def back(to: str) -> RedirectResponse:
    """Go to a page of this dashboard after an action, and nowhere else."""
    parts = urlsplit(to)
    safe = to.startswith("/") and not (parts.scheme or parts.netloc) and "\\" not in to
    return RedirectResponse(to if safe and not to.startswith("//") else "/", 303)
