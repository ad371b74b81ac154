"""`largesse jobs`: find, show and cancel jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.cli.exits import Exit
from worker.cli.job_filters import (
    LIVING,
    STATES,
    Code,
    Key,
    Kind,
    Limit,
    Since,
    Site,
    State,
    Until,
    Where,
    query_of,
)
from worker.cli.operator_client import examples, facts, moment, operator, table
from worker.cli.output import fail, note, say, say_json, stderr_console

if TYPE_CHECKING:
    from worker.engine.record import Record
    from worker.operator import OperatorClient

__all__ = ["jobs"]

#: Jobs from which on a bar shows how far the command has come.
PROGRESS_FROM: Final = 50

jobs = typer.Typer(help="Find, show and cancel jobs.", no_args_is_help=True)

_TIMES: Final = ("enqueued_at", "due_at", "finished_at", "unsure_since", "deadline_at")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for each job.")]


@jobs.command(
    "list",
    epilog=examples(
        "jobs list --state running --state queued --site acme-test",
        "jobs list --key order-1042",
        "jobs list --page 8cuTRc4Rx --json",
        "jobs list --state failed --since 2h --code 404",
        "jobs list --state delayed --where 'attempts>3' --where lane=bulk",
    ),
)
def list_jobs(
    *, state: State = None, site: Site = None, kind: Kind = None, key: Key = None,
    page: Annotated[
        str | None, typer.Option(help="The job that made this hosted page.", metavar="PAGE_ID")
    ] = None,
    code: Code = None, since: Since = None, until: Until = None, where: Where = None,
    limit: Limit = 50, as_json: Json = False,
) -> None:  # fmt: skip
    """Find jobs, the newest first."""
    query = query_of(
        states=state or STATES, site=site, kind=kind, key=key, page_id=page, code=code,
        since=since, until=until, where=where, limit=limit,
    )  # fmt: skip
    with operator() as client:
        found = client.find(query)
    if as_json:
        for record in found.records:
            say_json(_as_json(record))
    else:
        table(
            ("job", "kind", "site", "state", "attempts", "enqueued", "key"),
            [_row(record) for record in found.records],
            empty="No job matches. Leave out a filter, or list dead letters: largesse dead list",
        )
    if found.is_partial:
        note("There may be more: narrow the search, or raise --limit.")


@jobs.command("show", epilog=examples("jobs show 3f2a...", "jobs show 3f2a... --reveal --json"))
def show_job(
    job_id: Annotated[str, typer.Argument(help="Id that enqueue printed.", metavar="JOB_ID")],
    *,
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal", help="Show values and page addresses too; the audit list notes it."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a job: its state, its events, its outcome and its payload (masked)."""
    with operator() as client:
        shown = _whole(client, job_id, reveal=reveal)
    if as_json:
        say_json(shown)
        return
    events = shown.pop("events")
    facts(shown, times=_TIMES)
    say("events")
    for event in events:
        rest = {name: value for name, value in event.items() if name not in {"at", "event"}}
        words = " ".join(f"{name} {value}" for name, value in rest.items())
        say(f"  {moment(event.get('at'))}  {event['event']:<10}{words}".rstrip())


@jobs.command(
    "cancel",
    epilog=examples(
        "jobs cancel 3f2a... 77b0...",
        "jobs cancel --site acme-test --where lane=bulk --dry-run",
        "jobs cancel --state delayed --since 2h --yes",
    ),
)
def cancel_jobs(
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(help="Ids that enqueue printed, or use filters.", metavar="[JOB_ID]..."),
    ] = None,
    *, state: State = None, site: Site = None, kind: Kind = None, key: Key = None,
    code: Code = None, since: Since = None, until: Until = None, where: Where = None,
    limit: Limit = 1_000,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Cancel jobs: a waiting job at once, a running job after its attempt.

    Filters choose among jobs that have not ended; on a terminal the command asks first. Exit 1
    when a job had already ended, 6 when an id is unknown.
    """
    filters: dict[str, Any] = {
        "site": site, "kind": kind, "key": key, "code": code, "since": since, "until": until,
        "where": where,
    }  # fmt: skip
    if not (job_ids or state or any(filters.values())):
        fail("give JOB_IDs, or a filter such as --site acme-test or --state queued.")
    if job_ids and (state or any(filters.values())):
        fail("give JOB_IDs or filters, not both.")
    with operator() as client:
        ids = list(dict.fromkeys(job_ids or ()))
        if not ids:
            found = client.find(query_of(states=state or LIVING, limit=limit, **filters))
            ids = [record.job_id for record in found.records]
            if found.is_partial:
                note("There may be more: run it again, or raise --limit.")
            if not ids:
                note("No job matches: nothing to do.")
        if dry_run:
            _foretell(client, ids, as_json)
            return
        if ids and not (yes or job_ids) and sys.stdin.isatty():
            typer.confirm(
                f"Cancel {len(ids)} {'job' if len(ids) == 1 else 'jobs'}?", abort=True, err=True
            )
        raise typer.Exit(_cancel(client, ids, as_json))


def _cancel(client: OperatorClient, ids: Sequence[str], as_json: bool) -> Exit:
    from worker.errors import ResultMissingError  # noqa: PLC0415 - heavy

    worst = Exit.OK
    with stderr_console().status("") as status:
        for place, job_id in enumerate(ids, start=1):
            if len(ids) >= PROGRESS_FROM:
                status.update(f"{place} of {len(ids)}")
            try:
                word = client.cancel(job_id)
            except ResultMissingError:
                word = "missing"
            if as_json:
                say_json({"job_id": job_id, "state": word})
            else:
                say(f"{job_id} {word}")
            if word not in {"cancelled", "cancelling"}:
                worst = max(worst, Exit.NO_RESULT if word == "missing" else Exit.FAILED)
    return worst


def _foretell(client: OperatorClient, ids: Sequence[str], as_json: bool) -> None:
    """Say what a cancel would do to each, by its state now."""
    for job_id, state in client.states(ids).items():
        would = _CANCEL.get(state or "missing", "nothing: it has ended")
        if as_json:
            say_json({"job_id": job_id, "state": state, "would": would})
        else:
            say(f"{job_id} {state or 'missing'}: {would}")


_CANCEL: Final = {
    "queued": "cancel it at once",
    "delayed": "cancel it at once",
    "running": "cancel it after this attempt, unless that one succeeds",
    "held": "cancel it at once; a page that it may have made stays at the site",
    "missing": "nothing: the id is unknown",
}


def _whole(client: OperatorClient, job_id: str, *, reveal: bool) -> dict[str, Any]:
    from worker.operator.payload import shown_outcome  # noqa: PLC0415 - heavy

    record, events = client.story(job_id)
    carried = client.payload(job_id, reveal=reveal)
    return {
        **_as_json(record),
        "deliveries": record.deliveries,
        "new_keys": record.epoch,
        "orphans": record.orphans,
        "unsure_since": record.unsure_since_ms,
        "deadline_at": record.deadline_at_ms,
        "cancelling": record.cancelling,
        "outcome": shown_outcome(record, reveal=reveal),
        "payload": carried and carried["payload"],
        "options": carried and carried["options"],
        "events": events,
    }


def _as_json(record: Record) -> dict[str, Any]:
    return {
        "job_id": record.job_id,
        "kind": record.kind,
        "site": record.site,
        "lane": record.lane,
        "key": record.key,
        "state": record.state.value,
        "attempts": record.attempts,
        "enqueued_at": record.enqueued_at_ms,
        "due_at": record.due_at_ms,
        "finished_at": record.finished_at_ms,
        "reason": record.reason,
    }


def _row(record: Record) -> tuple[object, ...]:
    return (
        record.job_id, record.kind.replace("_", "-"), record.site, record.state.value,
        record.attempts, moment(record.enqueued_at_ms), record.key,
    )  # fmt: skip
