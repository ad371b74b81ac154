"""What the operator's commands share: the operator, tables, examples, points in time."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from worker.cli.output import fail, note, say

if TYPE_CHECKING:
    from worker.operator import OperatorClient

__all__ = ["examples", "facts", "moment", "operator", "point_in_time", "table"]


@contextmanager
def operator() -> Iterator[OperatorClient]:
    """Open an operator client; the audit list names the user.

    Raises:
        SettingsError: a setting is missing or wrong, or differs from the layout of the queue.
    """
    from worker.operator import OperatorClient  # noqa: PLC0415 - heavy
    from worker.settings import Settings  # noqa: PLC0415

    try:
        who = f"cli {getpass.getuser()}"
    except OSError:  # a container may run as a user without a name
        who = "cli"
    with OperatorClient(Settings.from_env(), who=who) as client:
        client.check_layout()
        yield client


def examples(*lines: str) -> str:
    """Write the examples that stand below a command's help; click must not fold them."""
    return "\n".join(("\b", "Examples:", *(f"  largesse {line}" for line in lines)))


def point_in_time(text: str | None, option: str) -> int | None:
    """Read `30m`, `2h`, `7d` or an ISO time as Unix ms.

    Raises:
        typer.Exit: it is neither (code 2).
    """
    from worker.operator.durations import parse_since  # noqa: PLC0415 - heavy

    if text is None:
        return None
    try:
        return parse_since(text, round(time.time() * 1000))
    except ValueError as error:
        fail(f"{option} {error}.")


def moment(at_ms: int | None) -> str:
    """Write Unix ms as UTC, or a dash."""
    if at_ms is None:
        return "-"
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def facts(entry: Mapping[str, object], *, times: Sequence[str] = ()) -> None:
    """Write one entry, a member a line.

    Args:
        entry: name to value; None is a dash.
        times: names of those that are Unix ms.
    """
    for name, value in entry.items():
        if name in times:
            text = moment(value if isinstance(value, int) else None)
        elif isinstance(value, dict):
            text = json.dumps(value, indent=2, ensure_ascii=False)
        else:
            text = "-" if value is None else str(value)
        say(f"{name:<16}{text}")


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Write rows under their heads, in columns that are never folded.

    Args:
        heads: names of the columns.
        rows: cells; None is a dash, numbers stand at the right.
        empty: what to say to the person when there is no row.
    """
    if not rows:
        note(empty)
        return
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    right = [
        all(isinstance(row[place], int | float) for row in rows) for place in range(len(heads))
    ]
    for line in ([head.upper() for head in heads], *cells):
        columns = zip(line, widths, right, strict=True)
        say("  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in columns).rstrip())
