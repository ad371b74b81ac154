"""The command `largesse` as a process, with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig.processes import environment

#: Settings of whoever runs the tests are not theirs.
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


class Command:
    """Runs `largesse WORDS` to its end.

    Args:
        folder: working directory of the runs.
        env: variables of every run.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.env = dict(env or {})

    def __call__(
        self,
        *words: str,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> Ran:
        """Run it; `env` is added to the variables of every run."""
        done = subprocess.run(
            [sys.executable, "-m", "worker.cli", *words],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=clean({**self.env, **(env or {})}),
            cwd=self.folder,
            timeout=timeout_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def write(self, name: str, content: Any) -> str:
        """Write a file into the folder, as JSON unless it is text; gives its path."""
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return str(path)


def clean(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of Largesse, and with these."""
    removed: dict[str, str | None] = {
        name: None
        for name in os.environ
        if name.startswith(FOREIGN) and not name.startswith("LARGESSE_TEST_")
    }
    return environment({**removed, "COLUMNS": "100", **changes})
