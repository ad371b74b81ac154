"""`largesse workers` and `largesse queues`: the workers and their jobs, and what waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.operator_client import moment, operator, table
from worker.cli.output import say_json

if TYPE_CHECKING:
    from worker.operator.worker_state import WorkerState

__all__ = ["queues", "workers"]


def workers(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each worker.")
    ] = False,
) -> None:
    """List the workers: state, jobs, last heartbeat.

    A process sends a heartbeat every five seconds. A lost process stays listed for ten minutes.
    """
    from worker.operator.durations import spell_ms  # noqa: PLC0415 - heavy

    with operator() as client:
        found, now_ms = client.workers(), client.now_ms()
    if as_json:
        for one in found:
            say_json(one.as_json(now_ms))
        return
    table(
        ("worker", "state", "version", "jobs", "of", "oldest", "lapses in", "seen", "why"),
        [_row(one, now_ms, spell_ms) for one in found],
        empty="No worker is there. Start one: largesse worker",
    )


def _row(one: WorkerState, now_ms: int, spell: Callable[[int], str]) -> tuple[object, ...]:
    lapses_ms, seen = one.lapses_in_ms(now_ms), one.seen
    return (
        one.worker, one.state(now_ms), seen and seen.version, len(one.leases),
        seen and seen.concurrency, spell(one.oldest_ms(now_ms)) if one.leases else None,
        None if lapses_ms is None else spell(lapses_ms),
        None if seen is None else f"{spell(now_ms - seen.seen_ms)} ago",
        None if seen is None else one.key_problems() or None if seen.ready else seen.why,
    )  # fmt: skip


def queues(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each queue.")
    ] = False,
) -> None:
    """List the queues: waiting, delayed and running jobs."""
    from worker.operator.durations import spell_ms  # noqa: PLC0415 - heavy

    with operator() as client:
        found, now_ms = client.queues(), client.now_ms()
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
