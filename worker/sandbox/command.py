"""The command line of the sandbox; ``largesse sandbox`` and ``python -m worker.sandbox``."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

EXIT_USAGE = 2


def sandbox(  # noqa: PLR0917
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8400,
    state: Annotated[
        str, typer.Option(help="SQLite file, kept between runs; :memory: for none.")
    ] = ":memory:",
    faults: Annotated[
        Path | None, typer.Option(help="JSON or TOML file of faults.", dir_okay=False)
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=API_KEY, repeatable. Default: acme-test=test_sandbox_key.", metavar="SITE"
        ),
    ] = None,
    rate_per_minute: Annotated[
        int, typer.Option(min=0, help="Requests a minute and site; 0 = no limit.")
    ] = 0,
    max_concurrent: Annotated[
        int, typer.Option(min=0, help="Requests in progress per site; 0 = no limit.")
    ] = 0,
    latency_ms: Annotated[
        float, typer.Option(min=0, help="Added to every API request, milliseconds.")
    ] = 0,
    no_access_log: Annotated[
        bool, typer.Option("--no-access-log", help="No line per API request on stderr.")
    ] = False,
) -> None:
    """Run a stand-in for the API that breaks on demand.

    One JSON line on stdout says when it is ready: {"event": "sandbox.ready", "url", "pid",
    "sites"}. SIGTERM and SIGINT end it with exit code 0.
    """
    try:
        from worker.sandbox.sandbox import Sandbox  # noqa: PLC0415
        from worker.sandbox.server import bind, serve  # noqa: PLC0415
        from worker.sandbox.settings import Settings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _fail(f"the sandbox needs the package {error.name}: install largesse[sandbox]")
    settings = Settings(
        rate_per_minute=rate_per_minute, max_concurrent=max_concurrent, latency_ms=latency_ms
    )
    try:
        box = Sandbox(
            state=state, sites=_sites(site), settings=settings, access_log=not no_access_log
        )
        if faults is not None:
            box.faults.load(faults)
        sock = bind(host, port)
    except ValueError as error:
        _fail(str(error))
    except sqlite3.Error as error:
        _fail(f"--state cannot be opened: {error}")
    except OSError as error:
        _fail(f"{error.filename or f'{host}:{port}'}: {error.strerror}")
    serve(box, sock)


def _sites(given: Sequence[str] | None) -> dict[str, list[str]] | None:
    sites: dict[str, list[str]] = {}
    for pair in given or ():
        name, equals, key = pair.partition("=")
        if not equals:
            raise ValueError("--site should read NAME=API_KEY")
        sites.setdefault(name, []).append(key)
    return sites or None


def _fail(why: str) -> NoReturn:
    typer.echo(f"sandbox: {why}", err=True)
    raise typer.Exit(EXIT_USAGE)
