"""Every file that deploys names commands, options and values that `largesse` takes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from worker.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def procfile() -> list[list[str]]:
    """Commands of the Procfile; what a variable may replace has its default."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "Procfile").read_text("utf-8"))
    return [shlex.split(line) for line in re.findall(r"(?m)^\w+: largesse (.+)$", text)]


def image() -> list[list[str]]:
    """The image's own command."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert 'ENTRYPOINT ["largesse"]' in text
    return [json.loads(line) for line in re.findall(r"(?m)^CMD (\[.+\])$", text)]


def compose() -> list[list[str]]:
    """Commands of the services that are built here."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    return [one["command"] for one in services.values() if one.get("build")]


def units() -> list[list[str]]:
    """Commands of the units, with the options they have by default and in the examples."""
    found = []
    for path in sorted(DEPLOY.glob("systemd/*.service")):
        text = path.read_text("utf-8")
        part = path.stem.removeprefix("largesse-")
        example = (path.parent / f"{part}.env.example").read_text("utf-8")
        (words,) = re.findall(r"(?m)^ExecStart=/opt/largesse/bin/largesse (.+)$", text)
        (variable,) = re.findall(r"\$(\w+)", words)
        options = re.findall(rf'(?m)^Environment="{variable}=(.*)"$', text)
        options += re.findall(rf"(?m)^(?:# )?{variable}=(.*)$", example)
        assert len(options) > 1
        found += [shlex.split(words.replace(f"${variable}", one)) for one in options]
    return found


def pods() -> list[list[str]]:
    """Arguments of the containers that run our image."""
    found = []
    for path in sorted(DEPLOY.glob("kubernetes/*.yaml")):
        for one in yaml.safe_load_all(path.read_text("utf-8")):
            if one["kind"] == "Deployment":
                found += [box["args"] for box in one["spec"]["template"]["spec"]["containers"]]
    return found


SOURCES = (procfile, image, compose, units, pods)
CALLED = [words for source in SOURCES for words in source()]


def test_deployments_start_every_part() -> None:
    """Each file starts what it is for, and no more."""
    started = {source.__name__: {words[0] for words in source()} for source in SOURCES}
    assert started == {
        "procfile": {"worker", "dashboard", "sandbox"},
        "image": {"worker"},
        "compose": {"worker", "dashboard", "sandbox"},
        "units": {"worker", "dashboard"},
        "pods": {"worker", "dashboard"},
    }


@pytest.mark.parametrize("words", CALLED, ids=" ".join)
def test_deployments_use_options_that_exist(words: list[str]) -> None:
    """The command line itself takes each option and its value."""
    context = COMMANDS[words[0]].make_context(words[0], words[1:])
    assert not context.args


def test_containers_run_one_worker_process_each() -> None:
    """A container and a pod have one port for metrics and health, so one process."""
    workers = [words for words in (*image(), *compose(), *pods()) if words[0] == "worker"]
    assert len(workers) == 3
    assert all(words == workers[0] for words in workers)
    assert workers[0][1:3] == ["--processes", "1"]
