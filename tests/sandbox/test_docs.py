"""The page about the sandbox names all that there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from worker.sandbox import admin, command, faults, settings
from worker.sandbox.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"


@pytest.fixture(scope="module")
def page() -> str:
    """The text."""
    return PAGE.read_text(encoding="utf-8")


def test_page_names_every_option(page: str) -> None:
    """Each option of the command is in the table."""
    options = [name.replace("_", "-") for name in inspect.signature(command.sandbox).parameters]
    assert [name for name in options if f"| `--{name}` |" not in page] == []


def test_page_names_every_fault_and_parameter(page: str) -> None:
    """Each fault has its row, with its parameters and whether it executes."""
    for name, (execute, parameters) in faults.PARAMETERS.items():
        row = re.search(rf"(?m)^\| `{name}` \|(.*)$", page)
        assert row is not None, name
        assert [one for one in parameters if f"`{one}`" not in row[1]] == [], name
        if name != "latency":
            assert f"| {str(execute).lower()} |" in row[1], name


def test_page_names_every_setting(page: str) -> None:
    """Each setting is in the list."""
    names = [name for name in settings.Settings.__dataclass_fields__ if name != "site_limits"]
    listed = page.rpartition("\nSettings: ")[2]
    assert [name for name in names if f"`{name}`" not in listed] == []


def test_page_names_every_admin_path(page: str) -> None:
    """Each path and method of the admin API is in the table."""
    sandbox = Sandbox()
    rows = [line for line in page.splitlines() if "`" in line and "/_sandbox" in line]
    missing = []
    for route in admin.routes(sandbox):
        (method,) = (route.methods or set()) - {"HEAD"}
        path = re.escape(f"/_sandbox{route.path}")
        found = [row for row in rows if re.search(path + r"[`?]", row) and method in row]
        missing += [] if found else [(method, route.path)]
    sandbox.close()
    assert missing == []


def test_page_shows_pictures_that_exist(page: str) -> None:
    """Every picture is in the repository."""
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
    assert len(pictures) == 3
    assert all((PAGE.parent / name).is_file() for name in pictures)
