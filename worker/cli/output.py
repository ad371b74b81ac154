"""How commands speak: results on stdout, everything else on stderr, JSON one object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer

from worker.cli.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["fail", "note", "say", "say_json", "stderr_console", "stdout_console"]


#: Columns of a table in a pipe or a log: a line stays a line.
WIDTH_WITHOUT_TERMINAL: Final = 240


def say(text: str) -> None:
    """Write one line of the answer to stdout."""
    typer.echo(text)


def say_json(answer: Mapping[str, Any], *, to_stderr: bool = False) -> None:
    """Write one JSON object as one line of ASCII, so that no locale can break it."""
    typer.echo(json.dumps(answer), err=to_stderr)


def note(text: str) -> None:
    """Write a line for the person at the terminal to stderr."""
    typer.echo(text, err=True)


def fail(text: str, code: Exit = Exit.INVALID) -> NoReturn:
    """End the command with one line on stderr.

    Args:
        text: what is wrong and what to do next, without private values.
        code: the exit code.

    Raises:
        typer.Exit: always.
    """
    note(f"largesse: {text}")
    raise typer.Exit(code)


def stdout_console() -> Console:
    """Console for tables; so wide that nothing is folded where there is no terminal."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """Console for progress."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console  # noqa: PLC0415 - only commands that draw pay for it

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, width=width, highlight=False, emoji=False)
