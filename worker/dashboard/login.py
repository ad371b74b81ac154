"""Logging in and out."""

from __future__ import annotations

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.dashboard.action import Form, action, back, one, page, read_form
from worker.dashboard.gate import is_right
from worker.dashboard.house import House, session_of
from worker.dashboard.templating import render

__all__ = ["routes"]

#: Characters of the name that somebody gives for the audit list.
NAME_MAX: Final = 40


def routes(house: House) -> list[Route]:
    """Give `/login` and `/logout`."""

    async def enter(request: Request) -> Response:
        return await run_in_threadpool(_enter, house, request, await read_form(request))

    return [
        Route("/login", page(house, _ask), methods=["GET"]),
        Route("/login", enter, methods=["POST"]),
        Route("/logout", action(house, _leave, changes=False), methods=["POST"]),
    ]


def _ask(house: House, request: Request) -> Response:
    if house.options.is_open:
        return back("/")
    return render(house, request, "login.html", next=request.query_params.get("next", "/"))


def _enter(house: House, request: Request, form: Form) -> Response:
    if house.options.is_open:
        return back("/")
    address = request.client.host if request.client is not None else ""
    wait_s = house.doorkeeper.wait_s(address)
    if wait_s > 0:
        raise HTTPException(
            429,
            f"Too many wrong passwords. Try again in {wait_s:.0f} s.",
            {"retry-after": f"{wait_s:.0f}"},
        )
    if not _is_known(house, one(form, "password")):
        house.doorkeeper.was_wrong(address)
        return render(
            house, request, "login.html", status=403, next=one(form, "next"),
            problem="That is not the password.",
        )  # fmt: skip
    house.doorkeeper.was_right(address)
    name = "".join(c for c in one(form, "name")[:NAME_MAX] if c.isprintable())
    session = house.sessions.begin(f"dashboard {name}".strip())
    house.desk.audit.write(session.who, "login", "dashboard")
    answer = back(one(form, "next") or "/")
    answer.headers.append("set-cookie", request.scope["state"]["set_cookie"](session))
    return answer


def _is_known(house: House, given: str) -> bool:
    secrets = [house.options.password, house.options.token]
    return any(is_right(given, secret) for secret in secrets if secret is not None)


def _leave(house: House, request: Request, form: Form) -> Response:  # noqa: ARG001
    house.sessions.end(session_of(request))
    answer = back("/login" if not house.options.is_open else "/")
    answer.headers.append("set-cookie", request.scope["state"]["set_cookie"](None))
    return answer
