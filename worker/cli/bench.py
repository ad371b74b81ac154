"""`largesse bench`."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from worker.cli.exits import Exit
from worker.cli.output import note, say, say_json, stderr_console

if TYPE_CHECKING:
    from worker.bench.report import Report

__all__ = ["bench"]


def bench(
    *,
    jobs: Annotated[
        int, typer.Option("--jobs", "-n", min=10, max=200_000, help="Jobs in the backlog.")
    ] = 5_000,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, max=64, help="Worker processes.")
    ] = 2,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency",
            "-t",
            min=1,
            max=4_096,
            help="Jobs that one process runs at the same time.",
        ),
    ] = 64,
    latency_ms: Annotated[
        float,
        typer.Option(min=0, max=60_000, help="Time that the sandbox takes to answer a call."),
    ] = 0.0,
    redis_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Measure on this Redis, in a new namespace that is removed afterwards; "
            "default: an embedded broker.",
        ),
    ] = None,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt at rest, with a key of this run alone.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, max=3_600, help="Seconds that the backlog may take.")
    ] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure how fast jobs run on this machine.

    Worker processes call a local stand-in for the API that answers at once, so the numbers are
    those of Largesse and the broker. Nothing is left behind. Exit 1 when a job did not get exactly
    one page.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    from worker.bench.measure import Plan, measure  # noqa: PLC0415 - heavy

    plan = Plan(
        jobs=jobs, processes=processes, concurrency=concurrency, latency_ms=latency_ms,
        redis_url=redis_url, timeout_s=timeout, encrypted=encrypt,
    )  # fmt: skip
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    before = signal.signal(signal.SIGTERM, _end_in_order)
    try:
        with Progress(*columns, console=stderr_console(), transient=True) as bar:
            task = bar.add_task("starting", total=jobs)

            def tell(what: str, done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total)

            report = measure(plan, tell)
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        say_json(report.as_json())
    else:
        _show(report)
    if not report.proof.holds:
        note("largesse: a job has no page of its own. Please report this with the numbers above.")
        raise typer.Exit(Exit.FAILED)


def _end_in_order(_number: int, _frame: FrameType | None) -> NoReturn:
    """Exit through all `finally` blocks, which end the started processes."""
    sys.exit(Exit.INTERRUPTED)


def _show(report: Report) -> None:
    found = report.as_json()
    cpu, peak, idle, proof = (
        found["cpu_s_per_1000_jobs"], found["peak_mb"], found["idle_ms"], found["proof"],
    )  # fmt: skip
    rows = {
        "on": f"{found['server']}, {found['cores']} cores",
        "with": f"{found['processes']} processes of {found['concurrency']} jobs, API latency "
        f"{found['latency_ms']:g} ms{', encrypted' if found['encrypted'] else ''}",
        "jobs": f"{found['jobs_per_s']:,.0f} a second",
        "enqueue": f"{found['enqueue_per_s']:,.0f} a second one by one, "
        f"{found['enqueue_many_per_s']:,.0f} in batches",
        "idle": f"p50 {_or_dash(idle['p50'])} ms, p99 {_or_dash(idle['p99'])} ms from enqueue to "
        f"result ({idle['jobs']} jobs)",
        "CPU": f"{_or_dash(cpu['workers'])} s of workers, {_or_dash(cpu['broker'])} s of the "
        "broker for 1,000 jobs",
        "memory": f"workers {_or_dash(peak['workers'])} MB, broker {_or_dash(peak['broker'])} MB "
        "at the most",
        "proof": f"{proof['jobs']} jobs, {proof['different_pages']} pages of their own, "
        f"{proof['pages_made']} made, {proof['calls']} calls",
    }
    for name, text in rows.items():
        say(f"{name:<9}{text}")


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
