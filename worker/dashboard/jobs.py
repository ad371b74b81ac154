"""Jobs: the search, and a job's own page with its moves."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas import KINDS
from worker.dashboard.action import Form, action, back, one, page
from worker.dashboard.house import House, session_of
from worker.dashboard.templating import render
from worker.engine.record import JobState, Record
from worker.errors import ResultError, ResultMissingError
from worker.operator.job_query import Found, JobQuery
from worker.operator.payload import masked_outcome
from worker.operator.span import parse_since

__all__ = ["routes"]

#: Rows of a page.
ROWS: Final = 100
_CANCELLABLE: Final = frozenset(
    {JobState.QUEUED, JobState.DELAYED, JobState.RUNNING, JobState.HELD}
)
_REPLAYABLE: Final = frozenset(
    {JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED, JobState.HELD}
)


def routes(house: House) -> list[Route]:
    """Give `/jobs` and what is below it."""
    return [
        Route("/jobs", page(house, _search), methods=["GET"]),
        Route("/jobs/{job_id}", page(house, _show), methods=["GET"]),
        Route("/jobs/{job_id}/reveal", action(house, _reveal, changes=False), methods=["POST"]),
        Route("/jobs/{job_id}/{move}", action(house, _move), methods=["POST"]),
    ]


def _search(house: House, request: Request) -> Response:
    given = {
        name: request.query_params.get(name, "").strip()
        for name in ("q", "site", "kind", "state", "code", "since", "until")
    }
    now_ms, problems, times = house.desk.now_ms(), {}, dict.fromkeys(("since", "until"))
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
    found = Found([], False) if problems else _find(house, given["q"], shared)
    names = sorted({site.name for site in house.desk.sites()} | set(house.settings.sites))
    return render(
        house, request, "jobs.html", given=given, found=found, names=names, kinds=KINDS,
        states=list(JobState), now_ms=now_ms, problems=problems, counts=house.desk.counts(),
    )  # fmt: skip


def _find(house: House, words: str, shared: dict[str, Any]) -> Found:
    if not words:
        return house.desk.find(JobQuery(**shared))
    found: dict[str, Record] = {}
    partial = False
    for name in ("job_id", "key", "page_id"):
        given: dict[str, Any] = {**shared, name: words}
        part = house.desk.find(JobQuery(**given))
        found |= {record.job_id: record for record in part.records}
        partial |= part.is_partial
    return Found(list(found.values()), partial)


def _show(house: House, request: Request) -> Response:
    return _page(house, request, reveal=False)


def _reveal(house: House, request: Request, form: Form) -> Response:  # noqa: ARG001
    if not house.options.reveal:
        raise HTTPException(403, "Values are hidden here: set LARGESSE_DASHBOARD_REVEAL.")
    return _page(house, request, reveal=True)


def _page(house: House, request: Request, *, reveal: bool) -> Response:
    job_id = request.path_params["job_id"]
    try:
        record, events = house.desk.story(job_id)
    except ResultMissingError:
        raise HTTPException(404, "No job of this id is known, or it was dropped by age.") from None
    outcome = None if record.outcome is None else json.loads(record.outcome)
    who = session_of(request).who
    carried = house.desk.payload(job_id, reveal=reveal, who=who)
    plans = []
    if record.state in _REPLAYABLE and not house.options.read_only:
        plans = [house.desk.plan([job_id], new_key=new)[job_id] for new in (False, True)]
    return render(
        house, request, "job.html", job=record, events=events, carried=carried, reveal=reveal,
        outcome=outcome if reveal or outcome is None else masked_outcome(outcome), plans=plans,
        may_cancel=record.state in _CANCELLABLE and not record.cancelling,
        may_discard=record.state is JobState.HELD or record.state is JobState.FAILED,
        now_ms=house.desk.now_ms(), counts=house.desk.counts(),
    )  # fmt: skip


def _move(house: House, request: Request, form: Form) -> Response:
    job_id, move = request.path_params["job_id"], request.path_params["move"]
    session = session_of(request)
    try:
        if move == "cancel":
            word = house.desk.cancel(job_id, who=session.who)
            session.say(_CANCELLED.get(word, f"It is {word} already."))
        elif move == "replay":
            house.desk.replay(job_id, new_key=one(form, "key") == "new", who=session.who)
            session.say("It waits in its line again.")
        elif move == "discard":
            house.desk.discard(job_id, who=session.who)
            session.say("It is discarded.")
        else:
            raise HTTPException(404, "There is no such move.")
    except ResultError as error:
        session.say(str(error), tone="bad")
    return back(f"/jobs/{job_id}")


_CANCELLED: Final = {
    "cancelled": "It is cancelled.",
    "cancelling": "It runs, and ends as cancelled after this attempt.",
}
