"""Options that choose jobs, and the search that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from worker.cli.complete import STATES, complete_kind, complete_site, complete_state
from worker.cli.inputs import kind_of
from worker.cli.operator_client import point_in_time
from worker.cli.output import fail

if TYPE_CHECKING:
    from worker.operator.job_query import JobQuery

__all__ = [
    "LIVING", "STATES", "Code", "Key", "Kind", "Limit", "Since", "Site", "State", "Until", "Where",
    "query_of",
]  # fmt: skip

#: Those in which a job can be cancelled.
LIVING: Final = ("queued", "delayed", "running", "held")

State = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Only jobs in this state, repeatable: {', '.join(STATES)}.",
        metavar="STATE",
        autocompletion=complete_state,
    ),
]
Site = Annotated[
    str | None, typer.Option(help="Only jobs of this site.", autocompletion=complete_site)
]
Kind = Annotated[
    str | None,
    typer.Option(help="Only gift-checkout or personalized-offer.", autocompletion=complete_kind),
]
Key = Annotated[str | None, typer.Option(help="Jobs that were enqueued with this key.")]
Code = Annotated[
    str | None,
    typer.Option(
        help="Only with this class, API error code or HTTP status, of the end or the last attempt."
    ),
]
Since = Annotated[
    str | None, typer.Option(help="Enqueued since: 30m, 2h, 7d or an ISO time.", metavar="TIME")
]
Until = Annotated[str | None, typer.Option(help="Enqueued before: as --since.", metavar="TIME")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Only where a field matches: attempts>3, lane=bulk, reason~timeout, key=; "
        "repeatable.",
        metavar="CONDITION",
    ),
]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Most jobs.")]


def query_of(
    *,
    states: Sequence[str],
    site: str | None,
    kind: str | None,
    key: str | None,
    code: str | None,
    since: str | None,
    until: str | None,
    where: Sequence[str] | None,
    limit: int,
    page_id: str | None = None,
) -> JobQuery:
    """Make a search out of what was typed.

    Raises:
        typer.Exit: an option cannot be read (code 2, one line on stderr).
    """
    from worker.engine.record import JobState  # noqa: PLC0415 - heavy
    from worker.operator.filters import JOB_FIELDS, parse_condition  # noqa: PLC0415
    from worker.operator.job_query import JobQuery  # noqa: PLC0415

    if set(states) - set(STATES):
        fail(f"there is no such STATE. Use {', '.join(STATES)}.")
    conditions = []
    for text in where or ():
        try:
            conditions.append(parse_condition(text, JOB_FIELDS))
        except ValueError as error:
            fail(f"--where {error}.")
    return JobQuery(
        key=key, page_id=page_id, site=site, kind=None if kind is None else kind_of(kind),
        states=frozenset(map(JobState, states)), code=code, where=tuple(conditions),
        since_ms=point_in_time(since, "--since"), until_ms=point_in_time(until, "--until"),
        limit=limit,
    )  # fmt: skip
