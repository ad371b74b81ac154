"""`largesse demo`."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from worker.cli.exits import Exit
from worker.cli.output import note, say_json, stderr_console, stdout_console

if TYPE_CHECKING:
    from worker.client.result_reader import JobResult
    from worker.demo.stage import Stage
    from worker.jobs.job_file import BadLine, JobLine

__all__ = ["demo", "example_lines"]

#: Seconds for all jobs together, retries of the sandbox's faults included.
PATIENCE_S = 45.0
#: Pause between two looks at the jobs that are not done, in seconds.
_LOOK_S = 0.1
_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True, slots=True)
class _Row:
    """One job of the table: its line, its outcome, and ms from enqueue to outcome."""

    line: JobLine
    result: JobResult
    time_ms: int


def demo(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each line of the job file.")
    ] = False,
) -> None:
    """Run a whole system on this machine for a minute.

    It starts a broker, the sandbox API and two worker processes on free ports, enqueues the
    example jobs and shows their outcomes. Nothing is left behind.
    """
    from worker.demo.stage import Stage  # noqa: PLC0415 - heavy
    from worker.jobs.job_file import BadLine, JobLine  # noqa: PLC0415

    with _ended_by_sigterm():
        note("starting a broker, the sandbox API and two worker processes ...")
        with Stage() as stage:
            lines = list(_read_examples(stage))
            bad = [line for line in lines if isinstance(line, BadLine)]
            for text in (text for line in bad for text in line.texts()):
                note(f"refused: {text}")
            rows = _run(stage, [line for line in lines if isinstance(line, JobLine)])
            counts = stage.counts()
    if as_json:
        for shown in _as_json(lines, rows):
            say_json(shown)
    else:
        _print_table(lines, rows)
        _print_summary(rows, bad, counts)
    raise typer.Exit(Exit.OK if _as_expected(rows, counts) else Exit.FAILED)


def example_lines() -> list[str]:
    """Give the lines of the example job file, docs/examples/jobs.jsonl."""
    data = resources.files("worker.cli") / "data" / "jobs.jsonl"
    return data.read_text(encoding="utf-8").splitlines()


def _read_examples(stage: Stage) -> Iterator[JobLine | BadLine]:
    from worker.jobs.job_file import read_jobs  # noqa: PLC0415 - heavy
    from worker.settings import Settings  # noqa: PLC0415

    yield from read_jobs(example_lines(), Settings.from_env(stage.environ))


def _run(stage: Stage, lines: Sequence[JobLine]) -> list[_Row]:
    """Enqueue the jobs and poll until each has an outcome; gives one row for each line."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    from worker.client.producer import Producer  # noqa: PLC0415 - heavy
    from worker.settings import Settings  # noqa: PLC0415

    settings = Settings.from_env(stage.environ)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    done: dict[str, _Row] = {}
    with (
        Producer(settings) as producer,
        Progress(*columns, console=stderr_console(), transient=True) as progress,
    ):
        started_ms = time.time_ns() // 1_000_000
        handles = producer.enqueue_jobs(line.job for line in lines)
        task = progress.add_task("jobs", total=len(lines))
        by_id = {handle.id: line for handle, line in zip(handles, lines, strict=True)}
        deadline = time.monotonic() + PATIENCE_S
        while len(done) < len(by_id) and time.monotonic() < deadline:
            stage.check()
            waiting = [job_id for job_id in by_id if job_id not in done]
            for found in producer.results.get_many(waiting).values():
                if found is not None and found.finished_at_ms is not None:
                    took_ms = found.finished_at_ms - started_ms
                    done[found.job_id] = _Row(by_id[found.job_id], found, took_ms)
            progress.update(task, completed=len(done))
            time.sleep(_LOOK_S)
    return [done[handle.id] for handle in handles if handle.id in done]


def _as_json(lines: Sequence[JobLine | BadLine], rows: Sequence[_Row]) -> Iterator[dict[str, Any]]:
    by_line = {row.line.line: row for row in rows}
    for line in lines:
        row = by_line.get(line.line)
        if row is not None:
            shown = row.result.as_json()
            yield {
                "line": line.line,
                "key": row.line.job.key,
                "kind": row.line.job.kind,
                "job_id": row.result.job_id,
                "outcome": row.result.state,
                "hosted_page": shown["hosted_page"],
                "offers": shown["offers"],
                "attempts": row.result.attempts,
                "time_ms": row.time_ms,
                "error": shown["error"],
            }
        elif hasattr(line, "messages"):
            yield {"line": line.line, "outcome": "refused", "errors": line.messages}
        else:
            yield {"line": line.line, "outcome": "none"}


def _print_table(lines: Sequence[JobLine | BadLine], rows: Sequence[_Row]) -> None:
    from rich.table import Table  # noqa: PLC0415 - only what draws pays for it

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "kind", "outcome", "hosted page ID", "URL"):
        table.add_column(name, overflow="fold")
    for name in ("attempts", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for shown in _as_json(lines, rows):
        page: Mapping[str, Any] = shown.get("hosted_page") or {}
        table.add_row(
            str(shown.get("key") or f"line {shown['line']}"),
            str(shown.get("kind", "")).replace("_", "-"),
            _outcome(shown),
            page.get("id", ""),
            page.get("url", ""),
            str(shown.get("attempts", "")),
            f"{shown['time_ms']} ms" if "time_ms" in shown else "",
        )
    stdout_console().print(table)


def _outcome(shown: Mapping[str, Any]) -> str:
    error = shown.get("error")
    if error:
        return f"{error['class']} ({error['api_error_code'] or error['reason']})"
    offers = shown.get("offers")
    if offers is not None:
        return f"{len(offers)} offer{'' if len(offers) == 1 else 's'}"
    return str(shown["outcome"])


def _print_summary(
    rows: Sequence[_Row], bad: Sequence[BadLine], counts: Mapping[str, Any]
) -> None:
    pages = sum(row.result.hosted_page is not None for row in rows)
    console = stdout_console()
    console.print(
        f"\n{len(rows)} jobs answered, {len(bad)} line refused. The API saw {counts['requests']} "
        f"requests, made {counts['pages']} pages for {pages} gift checkouts "
        f"and replayed {counts['replayed']}."
    )


def _as_expected(rows: Sequence[_Row], counts: Mapping[str, Any]) -> bool:
    """Say whether every job but the one that the API rejects succeeded, with one page each."""
    failed = [row for row in rows if row.result.state != "succeeded"]
    total = sum('"kind"' in line for line in example_lines())
    pages = sum(row.result.hosted_page is not None for row in rows)
    return (
        len(rows) == total - 1
        and len(failed) == 1
        and failed[0].result.error is not None
        and failed[0].result.error.cls == "rejected"
        and pages == counts["pages"]
    )


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an orderly end of the block, as Ctrl-C is one."""

    def leave(_number: int, _frame: object) -> NoReturn:
        sys.exit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
