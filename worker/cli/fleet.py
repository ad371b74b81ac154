"""`largesse workers` and `largesse queues`: who holds what, and what waits."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.desk import desk, moment, table
from worker.cli.output import say_json

__all__ = ["queues", "workers"]


def workers(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each worker.")
    ] = False,
) -> None:
    """List the workers that hold jobs: how many, and for how long.

    A worker that is idle holds none and is not listed.
    """
    from worker.operator.span import spell_ms  # noqa: PLC0415 - heavy

    with desk() as opened:
        found, now_ms = opened.workers(), opened.now_ms()
    if as_json:
        for one in found:
            say_json(one.as_json(now_ms))
        return
    table(
        ("worker", "queue", "jobs", "oldest", "lapses in"),
        [
            (one.worker, one.queue, len(one.leases), spell_ms(one.oldest_ms(now_ms)),
             spell_ms(one.as_json(now_ms)["lapses_in_ms"]))
            for one in found
        ],
        empty="No worker holds a job. Is one running? largesse worker",
    )  # fmt: skip


def queues(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each queue.")
    ] = False,
) -> None:
    """List the queues: waiting, delayed and running jobs."""
    from worker.operator.span import spell_ms  # noqa: PLC0415 - heavy

    with desk() as opened:
        found, now_ms = opened.queues(), opened.now_ms()
    if as_json:
        for one in found:
            say_json(one.as_json(now_ms))
        return
    table(
        ("queue", "interactive", "bulk", "delayed", "running", "oldest", "next due"),
        [
            (one.name, one.waiting["interactive"], one.waiting["bulk"], one.delayed, one.running,
             spell_ms(one.oldest_ms(now_ms)) if one.oldest_at_ms else None,
             moment(one.next_due_ms))
            for one in found
        ],
        empty="No queue yet: nothing was ever enqueued here.",
    )  # fmt: skip
