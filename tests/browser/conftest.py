"""A real Chromium, and a sandbox for it to visit."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext
from rig.chromium import chromium


@pytest.fixture
def sandbox_url() -> Iterator[str]:
    """The origin of a sandbox process, ended by its pid."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.sandbox", "--port", "0", "--no-access-log"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], 20)[0], "the sandbox did not start"
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[BrowserContext]:
    """Chromium with an empty profile of its own."""
    with chromium(tmp_path / "profile") as context:
        yield context
