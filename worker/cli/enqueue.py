"""`largesse enqueue`: one job, or a file of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from worker.cli.complete import complete_kind, complete_site
from worker.cli.exits import Exit
from worker.cli.inputs import kind_of, read_lines, read_object
from worker.cli.output import fail, note, say, say_json, stderr_console
from worker.cli.result import show_results

if TYPE_CHECKING:
    from worker.client.handle import JobHandle
    from worker.client.producer import Producer
    from worker.jobs.job import Job
    from worker.jobs.job_file import BadLine
    from worker.settings import Settings

__all__ = ["enqueue"]

#: Jobs that are handed to the producer at a time; after each lot their ids are printed, so that
#: a run that breaks off says what was accepted.
LOT: Final = 500
#: Faulty lines that are listed one by one for a person.
LISTED: Final = 50


def enqueue(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="gift-checkout or personalized-offer.",
            metavar="[KIND]",
            autocompletion=complete_kind,
        ),
    ] = None,
    payload: Annotated[
        str | None,
        typer.Argument(help="JSON file of the body, or - for stdin.", metavar="[PAYLOAD]"),
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="Job file, one JSON object a line; - for stdin."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Key of the job. The same key gives the same job, never a second one."),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            help="Site; default: the default site. With --file: for lines without a site.",
            autocompletion=complete_site,
        ),
    ] = None,
    skip: Annotated[
        str | None, typer.Option(help="What to skip: any of webhooks,email,actions.")
    ] = None,
    business_entity: Annotated[
        str | None, typer.Option("--business-entity", help="Id of the business entity.")
    ] = None,
    options: Annotated[
        str | None,
        typer.Option(help="JSON file with options, as in a line of a job file."),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Wait for the outcome and print it instead of the id."
        ),
    ] = None,
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid", help="With --file: enqueue the valid lines and skip the others."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each job.")
    ] = False,
) -> None:
    """Enqueue one job, or all jobs of a file; print their ids.

    All lines of a file are checked first: when one is bad, nothing is enqueued.
    """
    from worker.jobs.job import Job  # noqa: PLC0415 - heavy
    from worker.settings import Settings  # noqa: PLC0415

    single = (kind, payload, key, skip, business_entity, options)
    if file is not None and any(value is not None for value in single):
        fail(
            "--file takes KIND, PAYLOAD and options from its lines. Give --file and --site alone."
        )
    if file is None and (kind is None or payload is None):
        fail("give KIND and PAYLOAD, or --file JOBS. See: largesse enqueue --help")
    settings = Settings.from_env()
    if file is None:
        chosen = kind_of(kind or "")
        given = dict(read_object(options, "--options")) if options is not None else {}
        given |= {"skip": skip} if skip is not None else {}
        given |= {"business_entity_id": business_entity} if business_entity is not None else {}
        body = read_object(payload or "", "PAYLOAD")
        job = Job.prepare(settings, chosen, body, key=key, site=site, options=given)
        jobs: Sequence[tuple[int | None, Job]] = [(None, job)]
    else:
        jobs = _checked(settings, file, site, skip_invalid=skip_invalid, as_json=as_json)
    ids, conflicts = _send(settings, jobs, quiet=wait is not None, as_json=as_json)
    shown = Exit.OK
    if wait is not None:
        shown = show_results(settings, ids, wait, as_json=as_json)
    raise typer.Exit(Exit.INVALID if conflicts else shown)


def _checked(
    settings: Settings, file: str, site: str | None, *, skip_invalid: bool, as_json: bool
) -> list[tuple[int | None, Job]]:
    """Read and check a whole file; ends the command when a line is bad and none may be skipped."""
    from worker.jobs.job_file import JobLine, read_jobs  # noqa: PLC0415 - heavy

    good: list[JobLine] = []
    bad: list[BadLine] = []
    with _progress("checking") as tick:
        for found in read_jobs(read_lines(file, "JOBS"), settings, default_site=site):
            if isinstance(found, JobLine):
                good.append(found)
            else:
                bad.append(found)
            tick()
    _list_bad(bad, as_json=as_json)
    if bad and not skip_invalid:
        lines = f"{len(bad)} of {len(good) + len(bad)} lines are bad"
        fail(f"{lines}: nothing was enqueued. Correct them, or pass --skip-invalid.")
    return [(line.line, line.job) for line in good]


def _list_bad(bad: Sequence[BadLine], *, as_json: bool) -> None:
    if as_json:
        for line in bad:
            say_json({"line": line.line, "errors": line.messages}, to_stderr=True)
        return
    for text in (text for line in bad[:LISTED] for text in line.texts()):
        note(text)
    if len(bad) > LISTED:
        note(f"... and {len(bad) - LISTED} more lines; --json lists them all.")


def _send(
    settings: Settings, jobs: Sequence[tuple[int | None, Job]], *, quiet: bool, as_json: bool
) -> tuple[list[str], int]:
    """Enqueue, print what was accepted; gives the ids, and how many keys were taken."""
    from worker.client.producer import Producer  # noqa: PLC0415 - heavy
    from worker.errors import JobConflictError  # noqa: PLC0415 - with the producer

    ids: list[str] = []
    conflicts = 0
    with Producer(settings) as producer, _progress("enqueuing", len(jobs)) as tick:
        for start in range(0, len(jobs), LOT):
            lot = jobs[start : start + LOT]
            handles = producer.enqueue_jobs([job for _, job in lot], report_conflicts=True)
            states = _states(producer, handles) if as_json and not quiet else {}
            for (line, job), handle in zip(lot, handles, strict=True):
                tick()
                if handle.accepted == "conflict":
                    conflicts += 1
                    place = "largesse" if line is None else f"line {line}: key"
                    note(f"{place}: {JobConflictError(handle.id, handle.differs)}")
                    continue
                ids.append(handle.id)
                if as_json and not quiet:
                    state = states.get(handle.id) or ("delayed" if job.delay_ms else "queued")
                    shown = {"job_id": handle.id, "state": state, "key": job.key, "line": line}
                    say_json(shown)
                elif not quiet:
                    say(handle.id)
    return ids, conflicts


def _states(producer: Producer, handles: Sequence[JobHandle]) -> dict[str, str]:
    """Read the states of the jobs that were there already; a new one's is known."""
    known = [handle.id for handle in handles if handle.accepted == "known"]
    found = producer.results.get_many(known) if known else {}
    return {job_id: str(job.state) for job_id, job in found.items() if job is not None}


@contextlib.contextmanager
def _progress(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal; gives the function that adds one to it."""
    if total == 1 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=stderr_console(), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
