"""Jobs: the search, and a job's own page with its actions."""

from __future__ import annotations

from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas import KINDS
from worker.dashboard.action import Form, action, back, one, page
from worker.dashboard.dashboard import Dashboard, session_of
from worker.dashboard.templating import render
from worker.engine.record import JobState, Record
from worker.errors import ResultError, ResultMissingError
from worker.operator.durations import parse_since
from worker.operator.job_query import Found, JobQuery
from worker.operator.payload import shown_outcome

__all__ = ["routes"]

#: Rows of a page.
ROWS: Final = 100
_CANCELLABLE: Final = frozenset(
    {JobState.QUEUED, JobState.DELAYED, JobState.RUNNING, JobState.HELD}
)
_REPLAYABLE: Final = frozenset(
    {JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED, JobState.HELD}
)


def routes(dashboard: Dashboard) -> list[Route]:
    """Give `/jobs` and what is below it."""
    return [
        Route("/jobs", page(dashboard, _search), methods=["GET"]),
        Route("/jobs/{job_id}", page(dashboard, _show), methods=["GET"]),
        Route(
            "/jobs/{job_id}/reveal", action(dashboard, _reveal, changes=False), methods=["POST"]
        ),
        Route("/jobs/{job_id}/{verb}", action(dashboard, _act), methods=["POST"]),
    ]


def _search(dashboard: Dashboard, request: Request) -> Response:
    given = {
        name: request.query_params.get(name, "").strip()
        for name in ("q", "site", "kind", "state", "code", "since", "until")
    }
    now_ms, problems, times = dashboard.operator.now_ms(), {}, dict.fromkeys(("since", "until"))
    for name in times:
        try:
            times[name] = parse_since(given[name], now_ms) if given[name] else None
        except ValueError as error:
            problems[name] = f"“{name.title()}” {error}."
    states = frozenset({JobState(given["state"])}) if given["state"] in set(JobState) else None
    shared: dict[str, Any] = {
        "site": given["site"] or None,
        "kind": given["kind"] or None,
        "states": states or frozenset(JobState),
        "code": given["code"] or None,
        "since_ms": times["since"],
        "until_ms": times["until"],
        "limit": ROWS,
    }
    found = Found([], False) if problems else _find(dashboard, given["q"], shared)
    names = sorted(
        {site.name for site in dashboard.operator.sites()} | set(dashboard.settings.sites)
    )
    return render(
        dashboard, request, "jobs.html", given=given, found=found, names=names, kinds=KINDS,
        states=list(JobState), now_ms=now_ms, problems=problems,
        counts=dashboard.operator.counts(),
    )  # fmt: skip


def _find(dashboard: Dashboard, words: str, shared: dict[str, Any]) -> Found:
    if not words:
        return dashboard.operator.find(JobQuery(**shared))
    found: dict[str, Record] = {}
    partial = False
    for name in ("job_id", "key", "page_id"):
        given: dict[str, Any] = {**shared, name: words}
        part = dashboard.operator.find(JobQuery(**given))
        found |= {record.job_id: record for record in part.records}
        partial |= part.is_partial
    return Found(list(found.values()), partial)


def _show(dashboard: Dashboard, request: Request) -> Response:
    return _page(dashboard, request, reveal=False)


def _reveal(dashboard: Dashboard, request: Request, form: Form) -> Response:  # noqa: ARG001
    if not dashboard.options.reveal:
        raise HTTPException(403, "Values are hidden here: set LARGESSE_DASHBOARD_REVEAL.")
    return _page(dashboard, request, reveal=True)


def _page(dashboard: Dashboard, request: Request, *, reveal: bool) -> Response:
    job_id = request.path_params["job_id"]
    try:
        record, events = dashboard.operator.story(job_id)
    except ResultMissingError:
        raise HTTPException(404, "No job has this id, or it was dropped after its time.") from None
    who = session_of(request).who
    carried = dashboard.operator.payload(job_id, reveal=reveal, who=who)
    plans = []
    if record.state in _REPLAYABLE and not dashboard.options.read_only:
        plans = [dashboard.operator.plan([job_id], new_key=new)[job_id] for new in (False, True)]
    return render(
        dashboard, request, "job.html", job=record, events=events, carried=carried, reveal=reveal,
        outcome=shown_outcome(record, reveal=reveal), plans=plans,
        may_cancel=record.state in _CANCELLABLE and not record.cancelling,
        may_discard=record.state is JobState.HELD or record.state is JobState.FAILED,
        now_ms=dashboard.operator.now_ms(), counts=dashboard.operator.counts(),
    )  # fmt: skip


def _act(dashboard: Dashboard, request: Request, form: Form) -> Response:
    job_id, verb = request.path_params["job_id"], request.path_params["verb"]
    session = session_of(request)
    try:
        if verb == "cancel":
            word = dashboard.operator.cancel(job_id, who=session.who)
            session.say(_CANCELLED.get(word, f"The job is already {word}."))
        elif verb == "replay":
            dashboard.operator.replay(job_id, new_key=one(form, "key") == "new", who=session.who)
            session.say("The job waits in its line again.")
        elif verb == "discard":
            dashboard.operator.discard(job_id, who=session.who)
            session.say("The job is discarded.")
        else:
            raise HTTPException(404, "There is no such action.")
    except ResultError as error:
        session.say(str(error), tone="bad")
    return back(f"/jobs/{job_id}")


_CANCELLED: Final = {
    "cancelled": "The job is cancelled.",
    "cancelling": "The job is running. It is cancelled after this attempt.",
}
