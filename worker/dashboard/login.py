"""Logging in and out."""

from __future__ import annotations

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.dashboard.access import is_right
from worker.dashboard.action import Form, action, back, one, page, read_form
from worker.dashboard.dashboard import Dashboard, session_of
from worker.dashboard.templating import render

__all__ = ["routes"]

#: Characters of the name that somebody gives for the audit list.
NAME_MAX: Final = 40


def routes(dashboard: Dashboard) -> list[Route]:
    """Give `/login` and `/logout`."""

    async def enter(request: Request) -> Response:
        return await run_in_threadpool(_enter, dashboard, request, await read_form(request))

    return [
        Route("/login", page(dashboard, _ask), methods=["GET"]),
        Route("/login", enter, methods=["POST"]),
        Route("/logout", action(dashboard, _leave, changes=False), methods=["POST"]),
    ]


def _ask(dashboard: Dashboard, request: Request) -> Response:
    if dashboard.options.is_open:
        return back("/")
    return render(dashboard, request, "login.html", next=request.query_params.get("next", "/"))


def _enter(dashboard: Dashboard, request: Request, form: Form) -> Response:
    if dashboard.options.is_open:
        return back("/")
    address = request.client.host if request.client is not None else ""
    wait_s = dashboard.login_limiter.wait_s(address)
    if wait_s > 0:
        raise HTTPException(
            429,
            f"Too many wrong passwords. Try again in {wait_s:.0f} s.",
            {"retry-after": f"{wait_s:.0f}"},
        )
    if not _is_known(dashboard, one(form, "password")):
        dashboard.login_limiter.was_wrong(address)
        return render(
            dashboard, request, "login.html", status=403, next=one(form, "next"),
            problem="That is not the password.",
        )  # fmt: skip
    dashboard.login_limiter.was_right(address)
    name = "".join(c for c in one(form, "name")[:NAME_MAX] if c.isprintable())
    session = dashboard.sessions.begin(f"dashboard {name}".strip())
    dashboard.operator.audit.write(session.who, "login", "dashboard")
    answer = back(one(form, "next") or "/")
    answer.headers.append("set-cookie", request.scope["state"]["set_cookie"](session))
    return answer


def _is_known(dashboard: Dashboard, given: str) -> bool:
    secrets = [dashboard.options.password, dashboard.options.token]
    return any(is_right(given, secret) for secret in secrets if secret is not None)


def _leave(dashboard: Dashboard, request: Request, form: Form) -> Response:  # noqa: ARG001
    dashboard.sessions.end(session_of(request))
    answer = back("/login" if not dashboard.options.is_open else "/")
    answer.headers.append("set-cookie", request.scope["state"]["set_cookie"](None))
    return answer
