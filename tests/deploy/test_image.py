"""The Dockerfile: small, without rights and keys, made of nothing but the repository."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

from rig.program import ask, program

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def copied() -> list[str]:
    """Files and folders that the build takes from the repository."""
    lines = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
    return [word for line in lines for word in line.split()]


def test_image_passes_hadolint() -> None:
    """The linter has nothing to say, and can read the file."""
    ask(program("hadolint", package="none: it is a Python package"), str(ROOT / "Dockerfile"))


def test_image_runs_without_rights_and_holds_no_key() -> None:
    """The image's user is not root, and no key is built into it."""
    stages = DOCKERFILE.split("\nFROM ")
    assert re.search(r"^USER [1-9]\d*$", stages[-1], re.MULTILINE)
    assert not re.search(r"API_KEY|PASSWORD|TOKEN", DOCKERFILE)


def test_image_is_made_of_what_the_repository_has() -> None:
    """The build reaches for no address, and the context holds what is copied and little else."""
    assert "://" not in DOCKERFILE.replace("http://127.0.0.1:9400", "")
    assert not re.search(r"\b(?:curl|wget|apt-get|git)\b", DOCKERFILE)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())
    for name in copied():
        assert (ROOT / name).exists(), name
    assert any(fnmatch.fnmatch("worker/__pycache__", line) for line in ignored[1:])


def test_image_has_the_extras_of_what_it_runs() -> None:
    """Every extra that the build installs exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (default,) = re.findall(r"(?m)^ARG EXTRAS=(.+)$", DOCKERFILE)
    (more,) = re.findall(r"--build-arg EXTRAS=(\S+)", DOCKERFILE)
    known = set(project["optional-dependencies"])
    assert set(default.split(",")) == {"worker", "dashboard", "sandbox"}
    assert set(default.split(",")) < set(more.split(",")) <= known


def test_image_runs_on_a_python_that_is_supported() -> None:
    """Both stages have the same interpreter, as the environment of the first links to it."""
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert bases[0].startswith("python:3.")
