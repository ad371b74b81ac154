"""docs/log_events.md and the code name the same events with the same fields."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from worker.logs import events

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "log_events.md"


def test_events_are_documented_both_ways() -> None:
    """Each event has a row with its fields in order, and no row is left over."""
    rows = re.findall(
        r"^\| `([a-z._]+\.[a-z_]+)` \| (.*?) \|", DOCS.read_text("utf-8"), re.MULTILINE
    )
    documented = {name: tuple(re.findall(r"`([a-z_]+)`", fields)) for name, fields in rows}
    assert documented == dict(events.EVENTS)
    assert list(documented) == list(events.EVENTS)


def test_events_common_fields_are_documented() -> None:
    """Each field that any line may have is listed."""
    section = DOCS.read_text("utf-8").split("## Fields of every line")[1].split("\n## ")[0]
    assert tuple(re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE)) == events.COMMON_FIELDS


def test_events_constants_are_all_in_the_table() -> None:
    """No name is defined and forgotten."""
    constants = {
        value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)
    }
    assert constants == set(events.EVENTS)


def test_events_and_redaction_need_no_extra() -> None:
    """A producer-only install can emit events and scrub texts."""
    code = (
        "import sys, worker.logs.events, worker.logs.redaction, worker.logs.log_rate\n"
        "banned = {'httpx', 'structlog', 'rich', 'typer', 'starlette'}\n"
        "sys.exit(', '.join(sorted(banned & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
