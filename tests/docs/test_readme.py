"""The README's own examples, run against a real system."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from rig.command import clean
from rig.system import System
from rig.wheel import build_wheel

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
    assert BLOCKS.keys() == {"script", "offer", "follow", "install", "shell"}
    assert README.count("```") == 2 * len(BLOCKS)


def test_readme_script_prints_a_page_and_offers(running: System) -> None:
    """The first script prints the page of the result; the second one lists offers."""
    (page,) = python(running, BLOCKS["script"]).splitlines()
    assert [page.split()[0]] == [made["id"] for made in running.admin.pages()]
    assert python(running, BLOCKS["offer"]).startswith("[{")
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


def test_readme_installs_from_a_wheel(tmp_path: Path) -> None:
    """The lines of the README put the wheel into a new environment, and the command runs there."""
    build_wheel(tmp_path)
    made, *lines = BLOCKS["install"].splitlines()
    assert made.startswith("make dist ")
    here = Path(sys.executable).parent
    # What the wheel needs is here already: no network is asked.
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1"}
    env = clean({
        **offline,
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
    })  # fmt: skip
    lines += [
        "app/bin/largesse version",
        "app/bin/python -P -c 'import worker; print(worker.__file__)'",
    ]
    done = subprocess.run(
        ["sh", "-euc", "\n".join(lines)], cwd=tmp_path, env=env, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(str(tmp_path / "app"))


def test_readme_links_lead_somewhere() -> None:
    """Every file that the README and the pages name exists."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_table_of_contents_is_one() -> None:
    """README, the first page of the docs and the site list the same pages in the same order."""
    config = yaml.safe_load((ROOT / "docs" / "theme" / "mkdocs.yml").read_text(encoding="utf-8"))
    nav = {
        name: [link for page in pages for link in page.items()]
        for section in config["nav"]
        for name, pages in section.items()
    }
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for text, folder in ((README, "docs/"), (index, "")):
        rows = dict(re.findall(r"^\| (\w+) \| (\[.*) \|$", text, re.MULTILINE))
        listed = {name: re.findall(r"\[([^]]+)\]\(([^)]+)\)", row) for name, row in rows.items()}
        assert listed == {
            name: [(title, folder + page) for title, page in pages] for name, pages in nav.items()
        }
    assert sum(map(len, nav.values())) == len(list((ROOT / "docs").glob("*.md")))


def test_readme_figures_are_those_of_the_benchmarks() -> None:
    """Each figure of the README's table stands in docs/benchmarks.md, in the row of its queue."""
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    table = README.split("## How fast")[1].split("\n## ")[0]
    rows = re.findall(
        r"^\| ([^|-]+) \| ([\d,.]+) \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE
    )
    assert len(rows) >= 4
    for name, *figures in rows:
        found = " ".join(
            re.findall(rf"^\| {re.escape(name)} \| 2 x 256 .*$", benchmarks, re.MULTILINE)
        )
        assert [one for one in figures if f" {one} (" not in found] == [], name


def test_first_screen_shows_python() -> None:
    """A reader sees code before line 30, and the picture before the code."""
    lines = README.splitlines()
    assert lines.index("```python") < 12
    assert any(line.startswith("![") for line in lines[: lines.index("```python")])


def test_readme_make_targets_exist() -> None:
    """Every `make WORD` of the README is a target."""
    words = set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"two"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check", "dist"} <= words
    assert words <= targets
