"""`largesse jobs`: find jobs, look at one, cancel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.cli.desk import desk, examples, facts, moment, point_in_time, table
from worker.cli.exits import Exit
from worker.cli.inputs import kind_of
from worker.cli.output import fail, note, say, say_json

if TYPE_CHECKING:
    from worker.engine.record import Record
    from worker.operator import Operator

__all__ = ["jobs"]

#: All states, as `worker.engine.record.JobState` has them; that module is heavy.
STATES: Final = (
    "queued", "delayed", "running", "held", "succeeded", "failed", "expired", "cancelled",
)  # fmt: skip

jobs = typer.Typer(help="Find jobs, look at one, cancel.", no_args_is_help=True)

_TIMES: Final = ("enqueued_at", "due_at", "finished_at", "unsure_since", "deadline_at")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for each job.")]


@jobs.command(
    "list",
    epilog=examples(
        "jobs list --state running --state queued --site acme-test",
        "jobs list --key order-1042",
        "jobs list --page 8cuTRc4Rx --json",
        "jobs list --state failed --since 2h",
    ),
)
def list_jobs(
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only jobs in this state, repeatable: {', '.join(STATES)}.", metavar="STATE"
        ),
    ] = None,
    site: Annotated[str | None, typer.Option(help="Only jobs of this site.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only gift-checkout or personalized-offer.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Jobs that were enqueued with this key.")] = None,
    page: Annotated[
        str | None, typer.Option(help="The job that made this hosted page.", metavar="PAGE_ID")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Enqueued since: 30m, 2h, 7d or an ISO time.", metavar="TIME"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Enqueued before: as --since.", metavar="TIME")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most jobs.")] = 50,
    as_json: Json = False,
) -> None:
    """Find jobs, enqueued last first."""
    from worker.engine.record import JobState  # noqa: PLC0415 - heavy
    from worker.operator.job_query import JobQuery  # noqa: PLC0415

    unknown = set(state or ()) - set(STATES)
    if unknown:
        fail(f"there is no such STATE. Use {', '.join(STATES)}.")
    query = JobQuery(
        key=key,
        page_id=page,
        site=site,
        kind=None if kind is None else kind_of(kind),
        states=frozenset(map(JobState, state or STATES)),
        since_ms=point_in_time(since, "--since"),
        until_ms=point_in_time(until, "--until"),
        limit=limit,
    )
    with desk() as opened:
        found = opened.find(query)
    if as_json:
        for record in found.records:
            say_json(_as_json(record))
    else:
        table(
            ("job", "kind", "site", "state", "attempts", "enqueued", "key"),
            [_row(record) for record in found.records],
            empty="No job fits. Leave out a filter, or look for what is dead: largesse dead list",
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
    """Show a job: its state, what happened to it, what it came to, what it carries (masked)."""
    with desk() as opened:
        shown = _whole(opened, job_id, reveal=reveal)
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


@jobs.command("cancel", epilog=examples("jobs cancel 3f2a... 77b0..."))
def cancel_jobs(
    job_ids: Annotated[
        list[str], typer.Argument(help="Ids that enqueue printed.", metavar="JOB_ID...")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Cancel jobs: a waiting one at once, a running one after its attempt.

    Exit 1 when one of them had ended otherwise, 6 when one is not known.
    """
    from worker.errors import ResultMissingError  # noqa: PLC0415 - with the desk

    worst = Exit.OK
    with desk() as opened:
        for job_id in job_ids:
            try:
                word = opened.cancel(job_id)
            except ResultMissingError:
                word = "missing"
            if as_json:
                say_json({"job_id": job_id, "state": word})
            else:
                say(f"{job_id} {word}")
            if word not in {"cancelled", "cancelling"}:
                worst = max(worst, Exit.NO_RESULT if word == "missing" else Exit.FAILED)
    raise typer.Exit(worst)


def _whole(opened: Operator, job_id: str, *, reveal: bool) -> dict[str, Any]:
    from worker.operator.payload import masked_outcome  # noqa: PLC0415 - with the desk

    record, events = opened.story(job_id)
    outcome = None if record.outcome is None else json.loads(record.outcome)
    carried = opened.payload(job_id, reveal=reveal)
    return {
        **_as_json(record),
        "deliveries": record.deliveries,
        "new_keys": record.epoch,
        "orphans": record.orphans,
        "unsure_since": record.unsure_since_ms,
        "deadline_at": record.deadline_at_ms,
        "cancelling": record.cancelling,
        "outcome": outcome if reveal or outcome is None else masked_outcome(outcome),
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
