"""docs/cli.md shows every command and option as it is."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from worker.cli.app import app
from worker.cli.exits import Exit

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
TEXTS = "".join(
    path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def leaves(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
    """Give each command that does something below this one, with the words that call it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
        return
    for name, one in below.items():
        yield from leaves([*words, name], one)


def test_page_is_up_to_date() -> None:
    """The generated parts are what `make docs` would write."""
    words = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_page_has_every_command_and_option(name: str) -> None:
    """Each command has its section, and each of its options stands in it with a help text."""
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    for words, command in leaves([name], COMMANDS[name]):
        assert f"$ largesse {' '.join(words)} --help" in section
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert all(spelling in section for spelling in parameter.opts)
                assert parameter.help, f"{words} {parameter.name}"


def test_page_has_every_exit_code() -> None:
    """Each exit code stands in the table with its meaning."""
    for code in Exit:
        assert f"| {code.value} | " in PAGE


def test_commands_in_the_docs_exist() -> None:
    """Each `largesse ...` that the docs show names a command and options that there are."""
    shown = re.findall(r"(?:^ *|\| |`|\$ |=\S+ )largesse ([a-z][^`\n|]*)", TEXTS, re.MULTILINE)
    assert len(shown) > 100
    for line in shown:
        words = shlex.split(line, comments=True)
        command = COMMANDS.get(words.pop(0))
        assert command is not None, line
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {spelling for one in command.params for spelling in one.opts}
        used = {word for word in words if word.startswith("-") and word != "-"}
        assert used <= known | {"--help", "-h"}, line
