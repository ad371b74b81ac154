"""Write the generated parts of docs/cli.md anew, or check that they are up to date.

    python docs/generate.py            write
    python docs/generate.py --check    exit 1 when something would change

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; NAME is a command,
`commands` (the list of them) or `exit codes`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from worker.cli.app import app
from worker.cli.exits import MEANINGS

PAGE = Path(__file__).resolve().parent / "cli.md"
WIDTH = "96"

_PART = re.compile(r"(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """Give the page with every generated part as it should be."""
    return _PART.sub(lambda found: found[1] + part(found[2]) + found[3], page)


def part(name: str) -> str:
    """Give the text of one generated part, ended by a line break."""
    if name == "exit codes":
        rows = "".join(f"| {code.value} | {text} |\n" for code, text in MEANINGS.items())
        return f"\n| code | meaning |\n|---|---|\n{rows}\n"
    words = [] if name == "commands" else [name]
    group = get_command(app).commands.get(name)  # type: ignore[attr-defined]
    shown = [help_of(words)]
    if hasattr(group, "commands"):
        shown = [help_of([name, below]) for below in group.commands]
    return "".join(f"\n```text\n{text}\n```\n" for text in shown) + "\n"


def help_of(words: list[str]) -> str:
    """Give what `largesse WORDS --help` prints."""
    words = [*words, "--help"]
    env = {"COLUMNS": WIDTH, "TERM": "dumb"}
    shown = CliRunner().invoke(app, words, prog_name="largesse", env=env)
    if shown.exit_code != 0:
        raise SystemExit(f"largesse {' '.join(words)} failed")
    lines = [line.rstrip() for line in shown.output.strip().splitlines()]
    return "\n".join([f"$ largesse {' '.join(words)}", *lines])


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    before = PAGE.read_text(encoding="utf-8")
    after = render(before)
    if arguments == ["--check"]:
        if after != before:
            sys.stderr.write("docs/cli.md is out of date. Run: make docs\n")
        return int(after != before)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
