"""How tests of the command line call it: as a process, with an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: What a run of the command may not inherit from whoever runs the tests.
FOREIGN = ("LARGESSE_", "CHARGEBEE_")


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of the command.

    Attributes:
        code: exit code.
        out: stdout.
        err: stderr.
    """

    code: int
    out: str
    err: str

    def objects(self) -> list[dict[str, Any]]:
        """Read stdout as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Largesse = Callable[..., Ran]


@pytest.fixture
def largesse(tmp_path: Path) -> Largesse:
    """Run `largesse WORDS` as a process, `env` added to an environment without settings."""

    def run(
        *words: str, stdin: str = "", env: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> Ran:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}
        done = subprocess.run(
            [sys.executable, "-m", "worker.cli", *words],
            input=stdin.encode(),
            capture_output=True,
            env={**kept, "COLUMNS": "100", **(env or {})},
            cwd=tmp_path,
            timeout=timeout_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a file of the test and give its path; what is no text is written as JSON."""

    def to_file(name: str, content: Any) -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return str(path)

    return to_file
