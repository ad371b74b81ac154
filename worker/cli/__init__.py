"""The command `largesse`."""

from __future__ import annotations

import sys

from worker.cli.exits import Exit, exit_of
from worker.errors import BrokerUnavailableError, WorkerError

__all__ = ["main"]

#: Which extra brings an optional package.
_EXTRA_OF = {
    "httpx": "worker",
    "jinja2": "sandbox",
    "prometheus_client": "worker",
    "python_multipart": "sandbox",
    "rich": "cli",
    "starlette": "sandbox",
    "structlog": "worker",
    "typer": "cli",
    "uvicorn": "sandbox",
}


def main() -> None:
    """Run the command line, then leave with an exit code of `worker.cli.exits`.

    An error of the `WorkerError` tree is one line on stderr that says what to do next.
    """
    try:
        # The base install has no typer: a producer needs no command line.
        from worker.cli.app import app  # noqa: PLC0415

        app(prog_name="largesse")
    except WorkerError as error:
        sys.stderr.write(f"largesse: {_told(error)}\n")
        sys.exit(exit_of(error))
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.stderr.write(
            f"largesse: {error.name} is not installed. "
            f"Install it with: pip install 'largesse[{extra}]'\n"
        )
        sys.exit(Exit.SETTINGS)


def _told(error: WorkerError) -> str:
    """Give an error's text; the next step of an unreachable Redis fits `enqueue` alone."""
    if isinstance(error, BrokerUnavailableError) and sys.argv[1:2] != ["enqueue"]:
        return f"{error.problem}. Look at it with: largesse doctor. Then do this again."
    return str(error)
