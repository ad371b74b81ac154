"""What the pages show can be run: blocks of code, commands, variables, files and targets."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest
from rig.command import clean
from rig.system import System

from worker import JobState, Settings
from worker.dashboard.options import PASSWORD, TOKEN
from worker.dashboard.options import VARIABLES as DASHBOARD
from worker.demo.embedded import free_port
from worker.settings.environment import SITE_VARIABLES, VARIABLES, retry_variables

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
}
BLOCK = re.compile(r"(?:<!-- run: ([\w-]+) -->\n)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
VARIABLE = re.compile(r"\b(?:LARGESSE|CHARGEBEE)_[A-Z][A-Z_]*[A-Z]\b")


def blocks(language: str) -> list[tuple[str, str]]:
    """Give name of the page and text of every fenced block of a language."""
    return [
        (name, text)
        for name, page in PAGES.items()
        for _, found, text in BLOCK.findall(page)
        if found == language
    ]


def indented_python() -> list[tuple[str, str]]:
    """Give name of the page and text of every indented block that begins with an import."""
    pattern = re.compile(r"(?m)(?<=\n\n)    (?:from|import) .+\n(?:(?:    .*)?\n)*")
    return [(name, dedent(text)) for name, page in PAGES.items() for text in pattern.findall(page)]


def marked(page: str) -> dict[str, str]:
    """Give the blocks of a page that are marked to be run, by name."""
    return {name: text for name, _, text in BLOCK.findall(PAGES[page]) if name}


def exists(module: str, name: str) -> bool:
    """Say whether a module has a name, or a module of that name below it."""
    found = hasattr(importlib.import_module(module), name)
    return found or importlib.util.find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize(
    ("page", "code"), [*blocks("python"), *indented_python()], ids=lambda one: one[:24]
)
def test_python_of_a_page_can_be_read(page: str, code: str) -> None:
    """Each block is Python, and what it imports of Largesse exists."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {
            "worker", "schemas",
        }:  # fmt: skip
            for one in node.names:
                assert exists(node.module or "", one.name), f"{page}: {one.name}"


def test_data_of_the_pages_can_be_read() -> None:
    """Each block of JSON and TOML is just that."""
    documents = blocks("json")
    assert len(documents) >= 3
    for _, text in documents:
        json.loads(text)
    for _, text in blocks("toml"):
        assert tomllib.loads(text)["sites"]


def test_shell_of_the_pages_can_be_read() -> None:
    """Each block of shell is one that a shell can parse."""
    for page, code in blocks("sh"):
        done = subprocess.run(
            ["sh", "-n"], input=code, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{page}: {done.stderr}"


def test_variables_of_the_pages_exist() -> None:
    """Each variable that a page names is read by the code, an example or a deployment."""
    known = {one.name for one in (*VARIABLES, *SITE_VARIABLES)}
    known |= {
        one.name
        for kind in ("gift_checkout", "personalized_offer")
        for one in retry_variables(kind)
    }
    known |= {"LARGESSE_REDIS_URL", "LARGESSE_SITES", "CHARGEBEE_SITE", "CHARGEBEE_API_KEY"}
    known |= {PASSWORD, TOKEN, *(one.name for one in DASHBOARD)}
    for file in [*(ROOT / "deploy").rglob("*.*"), *(DOCS / "examples").glob("*.sh")]:
        known |= set(VARIABLE.findall(file.read_text(encoding="utf-8")))
    for page, text in PAGES.items():
        named = set(VARIABLE.findall(text))
        assert named - known == set(), page


def test_tests_and_targets_of_the_pages_exist() -> None:
    """Each test file, `make` target and figure of the fault matrix that a page names is there."""
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    rows = set(re.findall(r"(?m)^\| (T\d+) \|", PAGES["faults.md"]))
    for page, text in PAGES.items():
        assert set(re.findall(r"\btest_\w+\.py", text)) <= tests, page
        assert set(re.findall(r"`make ([a-z]+)`", text)) <= targets, page
        assert set(re.findall(r"\[(T\d+)\]\(faults\.md\)", text)) <= rows, page


def test_quickstart_runs_as_it_stands(system: System) -> None:
    """The page's commands, in order, make one page; the second way prints the first one's."""
    run = marked("quickstart.md")
    assert list(run) == ["1", "2", "3", "4"]
    port, folder = free_port(), system.run.folder
    (folder / "job.py").write_text(run["4"])
    (folder / "largesse").write_text(f'#!/bin/sh\nexec {sys.executable} -m worker.cli "$@"\n')
    (folder / "largesse").chmod(0o755)
    ready = "until largesse doctor >/dev/null; do sleep 0.1; done\n"
    shell = "\n".join(
        [
            "pids=; trap 'kill $pids; wait' EXIT",
            run["1"].replace("redis://localhost:6379/0", system.environ["LARGESSE_REDIS_URL"]),
            run["2"]
            .replace(" &\n", ' &\npids="$pids $!"\n')
            .replace("largesse doctor", f"{ready}largesse doctor"),
            run["3"],
            f"{sys.executable} job.py",
        ]
    ).replace("8400", str(port))
    environ = clean({"PATH": f"{folder}:/usr/bin:/bin"})
    done = subprocess.run(
        ["sh", "-eu", "-c", shell], cwd=folder, env=environ, capture_output=True, text=True,
        timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = done.stdout.splitlines()[-1]
    assert len(page) > 10
    assert done.stdout.count(page) >= 2


def test_skip_headers_example_sends_what_it_says(system: System) -> None:
    """The example sends the two headers of its names, and no third."""
    system.worker()
    (code,) = marked("skip_headers.md").values()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=system.run.folder, env=clean(system.environ), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (page,) = system.admin.pages()
    assert done.stdout.strip() == page["id"]
    (request,) = system.admin.requests()
    sent = {name.lower(): value for name, value in request["headers"]}
    table = dict(re.findall(r"(?m)^\| `(\w+)` \| `([\w-]+)` \|", PAGES["skip_headers.md"]))
    assert {name for name in sent if name.startswith("chargebee-event-")} == {
        table["webhooks"], table["email"],
    }  # fmt: skip
    assert set(table) == {"webhooks", "email", "actions"}


def test_sites_example_is_read(tmp_path: Path) -> None:
    """The example of several sites can be loaded as it stands, with the keys it refers to."""
    settings = Settings.from_env(
        {
            "LARGESSE_REDIS_URL": "redis://host", "ACME_KEY": "live_a", "GLOBEX_KEY": "live_b",
            "LARGESSE_SITES": str(DOCS / "examples" / "sites.toml"),
        }
    )  # fmt: skip
    assert list(settings.sites) == ["acme", "acme-test", "globex"]
    assert settings.default_site == "acme"
    assert settings.site("acme").budget_per_minute == 800
    assert settings.site("globex").budgets == ("globex", "globex/grow")


def test_drawing_of_the_states_is_part_of_the_diagram() -> None:
    """Each arrow of the picture is one of the text, under its script; no state is missing."""
    picture = (DOCS / "images" / "job_states.svg").read_text(encoding="utf-8")
    diagram = re.findall(r"(\S+) --> (\S+): (.+)", PAGES["job_states.md"])
    arrows = {(one, other, name) for one, other, names in diagram for name in names.split(", ")}
    drawn = re.findall(r'(?:data-from="(\w+)" )?data-to="(\w+)" data-script="(\w+)"', picture)
    assert len(drawn) == picture.count("data-to=") > 10
    assert {(one or "[*]", other, name) for one, other, name in drawn} <= arrows
    assert set(re.findall(r'class="t">(\w+)<', picture)) == {state.value for state in JobState}
