"""Procfile, compose file and image name commands that exist, and the Procfile's worker works."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rig.processes import descendants
from rig.system import System
from rig.waiting import until

from worker.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def called() -> list[list[str]]:
    """Words of every `largesse` command that a file of the deployment starts."""
    texts = [
        (ROOT / name).read_text() for name in ("Procfile", "docker-compose.yml", "Dockerfile")
    ]
    lines = [shlex.split(line) for line in re.findall(r"(?m)^\w+: largesse (.+)$", texts[0])]
    lines += [json.loads(line) for line in re.findall(r"(?m)^    command: (\[.+\])$", texts[1])]
    lines += [json.loads(line) for line in re.findall(r"(?m)^CMD (\[.+\])$", texts[2])]
    return lines


def test_deployment_starts_every_part() -> None:
    """Each file starts what it is for."""
    parts = ["worker", "dashboard", "sandbox"]
    assert [words[0] for words in called()] == [*parts, *parts, "worker"]


@pytest.mark.parametrize("words", called(), ids=" ".join)
def test_deployment_uses_options_that_exist(words: list[str]) -> None:
    """Each option is one of the command's."""
    known = {spelling for one in COMMANDS[words[0]].params for spelling in one.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_deployments_broker_keeps_jobs() -> None:
    """The compose file's broker writes to disk and never evicts."""
    compose = (ROOT / "docker-compose.yml").read_text()
    assert re.search(r"- --appendonly\n +- \"yes\"", compose)
    assert re.search(r"- --maxmemory-policy\n +- noeviction", compose)


def test_image_runs_without_rights_and_holds_no_key() -> None:
    """The image's user is not root, and no key is built into it."""
    image = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER \d+$", image, re.MULTILINE)
    assert "API_KEY" not in image


def lives(pid: int) -> bool:
    """Say whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_procfiles_worker_does_jobs_and_ends(system: System) -> None:
    """`honcho start worker` runs a fleet; its end is the end of all of it."""
    env = {**system.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    words = ["python", "-m", "honcho", "start", "--procfile", str(ROOT / "Procfile"), "worker"]
    honcho = system.spawn(words, env=env, name="honcho")
    assert system.producer().gift_checkout({}).result(timeout=20).hosted_page
    family = descendants(honcho.pid)
    assert len(family) >= 3
    honcho.terminate()
    honcho.wait(20)
    until(lambda: not any(lives(pid) for pid in family), what="the end of all")
