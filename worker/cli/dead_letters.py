"""`largesse dead` and `largesse held`: dead letters, held jobs, and what to do about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.exits import Exit
from worker.cli.inputs import kind_of
from worker.cli.job_filters import Kind, Site
from worker.cli.operator_client import examples, facts, moment, operator, point_in_time, table
from worker.cli.output import fail, note, say, say_json, stderr_console

if TYPE_CHECKING:
    from worker.operator import OperatorClient
    from worker.operator.dead_letters import DeadLetter, Which
    from worker.operator.filters import Filter

__all__ = ["dead", "held"]

#: Jobs from which on a bar shows how far the command has come.
PROGRESS_FROM = 50

Code = Annotated[
    str | None,
    typer.Option(help="Only this class, API error code or HTTP status, such as rejected or 404."),
]
Since = Annotated[
    str | None,
    typer.Option(help="Dead or held since: 30m, 2h, 7d or an ISO time.", metavar="TIME"),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Only where a field matches: attempts>3, reason~timeout, key=; repeatable.",
        metavar="CONDITION",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Most jobs.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for each job.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
]
Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids of jobs, or use filters.", metavar="[JOB_ID]...")
]
All = Annotated[bool, typer.Option("--all", help="All of them; needs no filter.")]


def _group(which: Which, what: str) -> typer.Typer:
    group = typer.Typer(help=f"{what}: list, show, replay, discard.", no_args_is_help=True)
    for add in (_add_list, _add_show, _add_replay, _add_discard):
        add(group, which)
    return group


def _add_list(group: typer.Typer, which: Which) -> None:
    @group.command(
        "list",
        epilog=examples(
            f"{which} list --site acme-test --since 2h",
            f"{which} list --code 404 --where 'attempts>1' --json",
        ),
    )
    def list_dead_letters(
        *, site: Site = None, kind: Kind = None, code: Code = None, since: Since = None,
        where: Where = None, limit: Limit = None, as_json: Json = False,
    ) -> None:  # fmt: skip
        """List them, each with its reason."""
        chosen = _filter([], site=site, kind=kind, code=code, since=since, where=where)
        with operator() as client:
            found = chosen.choose(client.dead_letters(which), limit)
        if as_json:
            for one in found:
                say_json(one.as_json())
            return
        table(
            ("job", "kind", "site", "since", "class", "code", "attempts", "reason"),
            [_row(one) for one in found],
            empty=f"No {which} job matches.",
        )


def _add_show(group: typer.Typer, which: Which) -> None:
    @group.command("show", epilog=examples(f"{which} show 3f2a..."))
    def show_dead_letter(
        job_id: Annotated[str, typer.Argument(help="Id of a job.", metavar="JOB_ID")],
        *,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Show why a job is here, and what a replay would do."""
        with operator() as client:
            (one,) = _known(client, which, [job_id])
            plans = {
                name: client.plan([job_id], new_key=new_key)[job_id]
                for name, new_key in (("replay", False), ("replay --new-key", True))
            }
        if as_json:
            say_json({**one.as_json(), "plans": {k: p.as_json() for k, p in plans.items()}})
            return
        facts(one.as_json(), times=("enqueued_at", "stopped_at", "unsure_since"))
        for name, plan in plans.items():
            say(f"{name}: {plan.text}" if plan.is_accepted else f"{name}: refused. {plan.text}")


def _add_replay(group: typer.Typer, which: Which) -> None:
    @group.command(
        "replay",
        epilog=examples(
            f"{which} replay 3f2a...",
            f"{which} replay --site acme-test --code resource_not_found --dry-run",
            f"{which} replay --all --limit 100",
        ),
    )
    def replay(
        job_ids: Ids = None, *, site: Site = None, kind: Kind = None, code: Code = None,
        since: Since = None, where: Where = None, limit: Limit = None, everything: All = False,
        new_key: Annotated[
            bool,
            typer.Option(
                "--new-key",
                help="Use a new idempotency key: an unknown attempt may leave a second page.",
            ),
        ] = False,
        dry_run: DryRun = False, as_json: Json = False,
    ) -> None:  # fmt: skip
        """Run jobs again. They keep their ids and, without --new-key, their idempotency keys.

        Exit 1 when a job was refused, 6 when an id is not in the list.
        """
        chosen = _filter(job_ids, site=site, kind=kind, code=code, since=since, where=where)
        with operator() as client:
            ids = _chosen(client, which, chosen, job_ids, everything=everything, limit=limit)
            plans = client.plan(ids, new_key=new_key)
            if dry_run:
                for plan in plans.values():
                    _answer(plan.as_json(), as_json, f"would {plan.as_json()['would']}")
                raise typer.Exit(_exit([not plan.is_accepted for plan in plans.values()]))

            def act(job_id: str) -> dict[str, Any]:
                client.replay(job_id, new_key=new_key)
                return {"key": "new" if new_key else "same", "why": plans[job_id].text}

            _apply(ids, act, "replayed", as_json)


def _add_discard(group: typer.Typer, which: Which) -> None:
    @group.command(
        "discard",
        epilog=examples(
            f"{which} discard 3f2a...", f"{which} discard --code 404 --since 7d --dry-run"
        ),
    )
    def discard(
        job_ids: Ids = None, *, site: Site = None, kind: Kind = None, code: Code = None,
        since: Since = None, where: Where = None, limit: Limit = None, everything: All = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: DryRun = False, as_json: Json = False,
    ) -> None:  # fmt: skip
        """Delete dead letters for good. A held job ends as failed, which is published to its app.

        With filters it asks first on a terminal. Exit 1 when a job was refused, 6 when an id is
        not in the list.
        """
        chosen = _filter(job_ids, site=site, kind=kind, code=code, since=since, where=where)
        with operator() as client:
            ids = _chosen(client, which, chosen, job_ids, everything=everything, limit=limit)
            why = _DISCARDING[which]
            if dry_run:
                for job_id in ids:
                    _answer(
                        {"job_id": job_id, "would": "discard", "why": why},
                        as_json,
                        "would discard",
                    )
                return
            if not (yes or job_ids) and sys.stdin.isatty() and ids:
                typer.confirm(
                    f"Discard {len(ids)} {'job' if len(ids) == 1 else 'jobs'}? {why}",
                    abort=True,
                    err=True,
                )

            def act(job_id: str) -> dict[str, Any]:
                client.discard(job_id)
                return {"why": why}

            _apply(ids, act, "discarded", as_json)


_DISCARDING = {
    "dead": "You cannot replay it afterwards. Its result is kept until it expires.",
    "held": "It ends as failed, which is published. A page that it may have made stays at the "
    "site.",
}


def _filter(
    job_ids: Sequence[str] | None,
    *,
    site: str | None,
    kind: str | None,
    code: str | None,
    since: str | None,
    where: Sequence[str] | None,
) -> Filter:
    from worker.operator.filters import Filter, parse_condition  # noqa: PLC0415 - heavy

    conditions = []
    for text in where or ():
        try:
            conditions.append(parse_condition(text))
        except ValueError as error:
            fail(f"--where {error}.")
    return Filter(
        site=site,
        kind=None if kind is None else kind_of(kind),
        code=code,
        since_ms=point_in_time(since, "--since"),
        where=tuple(conditions),
        job_ids=frozenset(job_ids or ()),
    )


def _chosen(
    client: OperatorClient,
    which: Which,
    chosen: Filter,
    job_ids: Sequence[str] | None,
    *,
    everything: bool,
    limit: int | None,
) -> list[str]:
    """Choose before anything changes: each change takes a job out of the list that is read."""
    if chosen.is_empty() and not everything:
        fail("give JOB_IDs, a filter such as --code 404, or --all.")
    if job_ids:
        known = {one.job_id: one for one in _known(client, which, job_ids)}
        # In the order of the ids, each once.
        return [one for one in dict.fromkeys(job_ids) if chosen.fits(known[one])][:limit]
    found = chosen.choose(client.dead_letters(which), limit)
    if not found:
        note(f"No {which} job matches: nothing to do.")
    return [one.job_id for one in found]


def _known(client: OperatorClient, which: Which, job_ids: Sequence[str]) -> list[DeadLetter]:
    wanted = set(job_ids)
    found = [one for one in client.dead_letters(which) if one.job_id in wanted]
    missing = wanted - {one.job_id for one in found}
    if missing:
        fail(
            f"job {min(missing)} is not {which}. See: largesse jobs show {min(missing)}",
            Exit.NO_RESULT,
        )
    return found


def _apply(
    ids: Sequence[str], act: Callable[[str], dict[str, Any]], done: str, as_json: bool
) -> None:
    from worker.errors import ResultError  # noqa: PLC0415 - heavy

    refused: list[bool] = []
    with stderr_console().status("") as status:
        for place, job_id in enumerate(ids, start=1):
            if len(ids) >= PROGRESS_FROM:
                status.update(f"{place} of {len(ids)}")
            try:
                rest, word = act(job_id), done
            except ResultError as error:
                rest, word = {"why": str(error)}, "refused"
            refused.append(word == "refused")
            _answer({"job_id": job_id, "done": word, **rest}, as_json, word)
    raise typer.Exit(_exit(refused))


def _answer(entry: dict[str, Any], as_json: bool, word: str) -> None:
    if as_json:
        say_json(entry)
    else:
        say(f"{entry['job_id']} {word}: {entry['why']}")


def _exit(refused: Sequence[bool]) -> Exit:
    return Exit.FAILED if any(refused) else Exit.OK


def _row(one: DeadLetter) -> tuple[object, ...]:
    entry = one.as_json()
    kind = entry["kind"]
    return (
        one.job_id, kind and kind.replace("_", "-"), entry["site"], moment(one.at_ms),
        entry["class"], entry["api_error_code"] or entry["status"], entry["attempts"],
        entry["reason"],
    )  # fmt: skip


dead = _group("dead", "Dead letters")
held = _group("held", "Jobs held for a person")
