"""`largesse dashboard`."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from worker.cli.exits import Exit
from worker.cli.output import fail
from worker.errors import BrokerError

__all__ = ["dashboard"]


def dashboard(
    *,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; another address than loopback needs a password or a token."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8500,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show only; allow no action.")
    ] = False,
    reveal: Annotated[
        bool,
        typer.Option("--reveal", help="Allow to show values; the audit list notes each time."),
    ] = False,
) -> None:
    """Serve the web dashboard.

    When it is ready it prints one JSON line: {"event": "dashboard.ready", "url", "pid"}.
    Set LARGESSE_DASHBOARD_PASSWORD or LARGESSE_DASHBOARD_TOKEN to ask for a login.
    """
    try:
        from worker.dashboard.dashboard import Dashboard  # noqa: PLC0415 - Starlette is heavy
        from worker.dashboard.options import Options  # noqa: PLC0415
        from worker.dashboard.server import bind, serve  # noqa: PLC0415
        from worker.logs import pipeline  # noqa: PLC0415
    except ModuleNotFoundError as error:
        need = f"{error.name} is not installed. Install it with: pip install 'largesse[dashboard]'"
        fail(need, Exit.SETTINGS)
    from worker.operator import OperatorClient  # noqa: PLC0415
    from worker.settings import Settings  # noqa: PLC0415

    settings = Settings.from_env()
    pipeline.configure(settings)  # a page that breaks must not print what it showed
    options = Options.from_env(
        host=host, port=port, read_only=read_only or None, reveal=reveal or None
    )
    try:
        sock = bind(host, port)
    except OSError as error:
        fail(f"{host}:{port} cannot be listened on: {error.strerror}.", Exit.SETTINGS)
    with OperatorClient(settings) as operator:
        with suppress(BrokerError):  # Redis may come later
            operator.check_layout()
        serve(Dashboard(options=options, settings=settings, operator=operator), sock)
