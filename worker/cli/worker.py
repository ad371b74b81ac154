"""`largesse worker`."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["worker"]


def worker(
    *,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, help="Worker processes to run.")
    ] = 2,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency",
            "--threads",
            "-t",
            min=1,
            help="Jobs that one process runs at the same time.",
        ),
    ] = 32,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace",
            min=0,
            help="Seconds for running jobs to end at shutdown; default: LARGESSE_GRACE_S.",
        ),
    ] = None,
) -> None:
    """Run worker processes until SIGTERM or Ctrl-C.

    At shutdown jobs that run get the grace to end; what is left goes back to the head of its line.
    """
    from worker.process import fleet  # noqa: PLC0415 - heavy
    from worker.settings import Settings  # noqa: PLC0415

    grace_s = Settings.from_env().grace_s if grace is None else grace
    fleet.become(
        "worker.main:serve", processes=processes, concurrency=concurrency, grace_s=grace_s
    )
