"""`largesse results`: outcomes, as they are published."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from worker.cli.operator_client import examples
from worker.cli.output import note, say, say_json
from worker.cli.result import line_of

__all__ = ["results"]

results = typer.Typer(help="Outcomes, as they are published.", no_args_is_help=True)


@results.callback()
def _keep_the_group() -> None:
    """A group of one command would otherwise become that command."""


@results.command(
    "follow",
    epilog=examples(
        "results follow --group billing --json",
        "results follow --group audit --from now --timeout 60",
    ),
)
def follow(
    *,
    group: Annotated[
        str,
        typer.Option(help="Name that stores what was handled; several processes may share one."),
    ],
    consumer: Annotated[
        str | None,
        typer.Option(help="Name of this process in the group; default: one of its own."),
    ] = None,
    start: Annotated[
        Literal["oldest", "now"], typer.Option("--from", help="Where a new group starts.")
    ] = "oldest",
    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Stop after this long without an outcome."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each job.")
    ] = False,
) -> None:
    """Print every outcome, at least once, until Ctrl-C.

    An ending counts as handled when the next one is asked for; what was printed last may
    therefore come once more.
    """
    from worker.client.result_reader import ResultReader  # noqa: PLC0415 - heavy
    from worker.errors import OutcomesMissedError  # noqa: PLC0415

    with ResultReader.from_env() as reader:
        begin = "0" if start == "oldest" else "$"
        while True:
            try:
                for found in reader.follow(group, consumer=consumer, start=begin, timeout=timeout):
                    if as_json:
                        say_json(found.as_json())
                    else:
                        say(line_of(found.job_id, found))
            except OutcomesMissedError as error:
                note(f"largesse: {error.problem} Following goes on.")
            else:
                return
