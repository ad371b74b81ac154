"""The README's own examples, run against a real system."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rig.command import clean
from rig.system import System

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", README, re.DOTALL))


@pytest.fixture
def running(system: System) -> System:
    """A system with a worker."""
    system.worker()
    return system


def python(system: System, code: str) -> str:
    """Run Python code with the system's settings; gives what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean(system.environ),
        cwd=system.run.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_has_every_example() -> None:
    """The examples below are the ones that are marked, and each block of code is marked."""
    assert BLOCKS.keys() == {"script", "follow", "shell"}
    assert README.count("```") == 2 * len(BLOCKS)


def test_readme_script_prints_a_page_and_offers(running: System) -> None:
    """The script's first line is the page of the result; the second lists offers."""
    page, offers = python(running, BLOCKS["script"]).splitlines()
    assert [page.split()[0]] == [made["id"] for made in running.admin.pages()]
    assert offers.startswith("[{")
    assert sorted(running.admin.requests()[0]["skip"]) == ["email", "webhooks"]


def test_readme_follower_sees_each_outcome(running: System) -> None:
    """Every outcome is printed once."""
    producer = running.producer()
    jobs = [producer.gift_checkout({}, key=f"k{n}") for n in range(3)]
    for job in jobs:
        job.result(timeout=20)
    code = BLOCKS["follow"].replace("timeout=5", "timeout=1")
    shown = sorted(line.split() for line in python(running, code).splitlines())
    assert shown == sorted([job.id, "succeeded"] for job in jobs)


def test_readme_shell_commands_run_as_they_stand(running: System) -> None:
    """The commands run in order in a shell that stops at the first failure."""
    folder = running.run.folder
    shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    command = bin_folder / "largesse"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m worker.cli "$@"\n')
    command.chmod(0o755)
    env = clean({**running.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"})
    done = subprocess.run(
        ["sh", "-eu", "-c", BLOCKS["shell"]],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert len(results) == 24
    assert sum(result["state"] == "succeeded" for result in results) == 23
    assert "POST http" in done.stdout


def test_readme_links_lead_somewhere() -> None:
    """Every file that the README and the pages name exists."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_names_every_page() -> None:
    """Each page is one click away; those of measurements are reached from other pages."""
    text = README + (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "index.md" and not page.name.startswith("benchmarks"):
            assert f"{page.name})" in text, page.name


def test_readme_make_targets_exist() -> None:
    """Every `make WORD` of the README is a target."""
    words = set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"two"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check"} <= words
    assert words <= targets
