"""Dead letters and held jobs: grouped by reason, filtered, replayed or discarded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas import KINDS
from worker.dashboard.action import Form, action, back, one, page
from worker.dashboard.dashboard import Dashboard, session_of
from worker.dashboard.templating import render
from worker.errors import ResultError
from worker.operator import DeadLetter
from worker.operator.dead_letters import Which
from worker.operator.durations import parse_since
from worker.operator.filters import Filter

__all__ = ["routes"]

#: Jobs that one page looks at: groups are counted over these.
LOOK_MAX: Final = 5_000
#: Rows of a page, and jobs of one action.
ROWS: Final = 200
_FIELDS: Final = ("site", "kind", "code", "reason", "since")


def routes(dashboard: Dashboard) -> list[Route]:
    """Give `/dead`, `/held` and their actions."""
    return [
        route
        for which in ("dead", "held")
        for route in (
            Route(f"/{which}", page(dashboard, _list), methods=["GET"]),
            Route(f"/{which}/plan", action(dashboard, _plan), methods=["POST"]),
            Route(f"/{which}/act", action(dashboard, _act), methods=["POST"]),
        )
    ]


def _list(dashboard: Dashboard, request: Request) -> Response:
    which = _which(request)
    given = {name: request.query_params.get(name, "").strip() for name in _FIELDS}
    now_ms = dashboard.operator.now_ms()
    chosen, problem = _filter(given, now_ms)
    seen = Filter().choose(dashboard.operator.dead_letters(which), LOOK_MAX)
    fitting = [] if chosen is None else chosen.choose(seen, None)
    names = sorted(
        {site.name for site in dashboard.operator.sites()} | set(dashboard.settings.sites)
    )
    return render(
        dashboard, request, "dead_letters.html", which=which, given=given,
        groups=_groups(which, fitting),
        rows=[_row(entry) for entry in fitting[:ROWS]], total=len(fitting),
        shown=min(ROWS, len(fitting)),
        is_partial=len(seen) == LOOK_MAX, names=names, kinds=KINDS, now_ms=now_ms,
        problem=problem, counts=dashboard.operator.counts(), is_filtered=any(given.values()),
    )  # fmt: skip


def _plan(dashboard: Dashboard, request: Request, form: Form) -> Response:
    """Spell out what an action would do to each of the chosen jobs, and ask."""
    which, ids = _which(request), form.get("job", [])[:ROWS]
    session = session_of(request)
    if not ids:
        session.say("No job was chosen.", tone="bad")
        return back(f"/{which}")
    verb = one(form, "verb")
    plans = list(dashboard.operator.plan(ids, new_key=verb == "replay-new").values())
    return render(
        dashboard, request, "plan.html", which=which, verb=verb, plans=plans, ids=ids,
        accepted=[plan for plan in plans if plan.is_accepted], counts=dashboard.operator.counts(),
    )  # fmt: skip


def _act(dashboard: Dashboard, request: Request, form: Form) -> Response:
    which, verb = _which(request), one(form, "verb")
    session = session_of(request)
    done, refused = 0, []
    for job_id in form.get("job", [])[:ROWS]:
        try:
            if verb == "discard":
                dashboard.operator.discard(job_id, who=session.who)
            else:
                dashboard.operator.replay(job_id, new_key=verb == "replay-new", who=session.who)
            done += 1
        except ResultError as error:
            refused.append(str(error))
    word = "discarded" if verb == "discard" else "waiting again"
    session.say(f"{done} {'job is' if done == 1 else 'jobs are'} {word}.")
    if refused:
        session.say(f"{len(refused)} refused. The first: {refused[0]}", tone="bad")
    return back(f"/{which}")


def _which(request: Request) -> Which:
    return "held" if request.url.path.startswith("/held") else "dead"


def _filter(given: Mapping[str, str], now_ms: int) -> tuple[Filter | None, str | None]:
    since_ms = None
    if given["since"]:
        try:
            since_ms = parse_since(given["since"], now_ms)
        except ValueError as error:
            return None, f"“Since” {error}."
    return Filter(
        site=given["site"] or None,
        kind=given["kind"] or None,
        code=given["code"] or None,
        reason=given["reason"] or None,
        since_ms=since_ms,
    ), None


def _groups(which: Which, jobs: Sequence[DeadLetter]) -> list[dict[str, Any]]:
    counted = Counter((_code(why), why["reason"]) for why in (job.why() for job in jobs))
    return [
        {
            "code": code,
            "reason": reason,
            "count": count,
            "link": f"/{which}?{urlencode({'code': code or '', 'reason': reason or ''})}",
        }
        for (code, reason), count in counted.most_common(50)
    ]


def _code(why: Mapping[str, Any]) -> str | None:
    found = why["api_error_code"] or why["status"] or why["class"]
    return None if found is None else str(found)


def _row(job: DeadLetter) -> dict[str, Any]:
    entry = job.as_json()
    return {**entry, "code": _code(entry)}
