"""Sites: what each allows, what waits for it, and its brakes."""

from __future__ import annotations

import math
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.dashboard.action import Form, action, back, one, page
from worker.dashboard.dashboard import Dashboard, session_of
from worker.dashboard.templating import render
from worker.operator.worker_state import key_holders

__all__ = ["routes"]

#: Calls a minute; what is above is a slip of the finger.
RATE_MAX: Final = 1_000_000
#: Characters of a reason.
REASON_MAX: Final = 200


def routes(dashboard: Dashboard) -> list[Route]:
    """Give `/sites` and its actions."""
    return [
        Route("/sites", page(dashboard, _list), methods=["GET"]),
        Route("/sites/{site}/{verb}", action(dashboard, _act), methods=["POST"]),
    ]


def _list(dashboard: Dashboard, request: Request) -> Response:
    sites, workers = dashboard.operator.sites(), dashboard.operator.workers()
    now_ms = dashboard.operator.now_ms()
    return render(
        dashboard, request, "sites.html", sites=sites, now_ms=now_ms,
        holders={one.name: key_holders(workers, one.name, now_ms) for one in sites},
        counts=dashboard.operator.counts(),
    )  # fmt: skip


def _act(dashboard: Dashboard, request: Request, form: Form) -> Response:
    site, verb = request.path_params["site"], request.path_params["verb"]
    if site not in {known.name for known in dashboard.operator.sites()}:
        raise HTTPException(404, "There is no such site.")
    session = session_of(request)
    if verb == "pause":
        reason = one(form, "reason")[:REASON_MAX] or "paused by hand"
        dashboard.operator.pause(site, reason=reason, who=session.who)
        session.say(f"{site} is paused. Its jobs stay in their lines; running jobs end.")
    elif verb == "resume":
        resumed = dashboard.operator.resume(site, who=session.who)
        session.say(f"{site} goes on." if resumed else f"Nothing held {site} back.")
    elif verb == "rate":
        _set_rate(dashboard, request, form, site)
    else:
        raise HTTPException(404, "There is no such action.")
    return back("/sites")


def _set_rate(dashboard: Dashboard, request: Request, form: Form, site: str) -> None:
    session = session_of(request)
    if one(form, "to") == "settings":
        dashboard.operator.set_rate(site, None, who=session.who)
        session.say(f"{site} uses the rate of the settings.")
        return
    try:
        rate = float(one(form, "rate"))
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= RATE_MAX:
        session.say("The rate must be a number of calls a minute from 0.", tone="bad")
        return
    dashboard.operator.set_rate(site, rate, who=session.who)
    session.say(
        f"{site} is limited to {rate:g} calls a minute." if rate else f"{site} has no limit."
    )
