"""A real Chromium, and a sandbox for it to visit."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str:
    """The browser of this machine; the test is skipped where there is none, but never in CI."""
    found = os.environ.get("LARGESSE_CHROMIUM") or shutil.which("chromium")
    if found is None:
        reason = "no browser: install chromium, or name one in LARGESSE_CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


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
    executable = find_chromium()
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=executable,
            headless=True,
            args=FLAGS,
            viewport={"width": 1100, "height": 900},
        )
        context.set_default_timeout(15_000)
        yield context
        context.close()
