"""`largesse doctor`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from worker.cli.exits import Exit
from worker.cli.output import say, say_json

__all__ = ["doctor"]


def doctor(
    *,
    no_calls: Annotated[
        bool,
        typer.Option(
            "--no-calls", help="Send nothing to the API: read the keys, but do not test them."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each check.")
    ] = False,
) -> None:
    """Check settings, Redis, workers and sites; say what to repair.

    It writes nothing to Redis. To test the key of a site it asks the site for a page that does not
    exist. Exit 1 when a check fails; warnings do not count.
    """
    from worker.doctor import check_all  # noqa: PLC0415 - heavy

    failed = False
    for check in check_all(calls=not no_calls):
        failed |= check.status == "fail"
        if as_json:
            say_json(dataclasses.asdict(check))
        else:
            remedy = f". {check.remedy}" if check.remedy else ""
            say(f"{check.status:<5} {check.name:<18} {check.found}{remedy}")
    raise typer.Exit(Exit.FAILED if failed else Exit.OK)
