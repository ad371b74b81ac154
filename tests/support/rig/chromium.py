"""A real Chromium, driven by Playwright; missing only where there is none, and never in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, sync_playwright

from rig.program import program

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
    return os.environ.get("LARGESSE_CHROMIUM") or program("chromium", package="chromium")


@contextmanager
def chromium(profile: Path, **options: Any) -> Iterator[BrowserContext]:
    """Chromium with an empty profile of its own.

    Args:
        profile: folder that does not exist yet.
        options: of Playwright's `launch_persistent_context`.
    """
    executable = find_chromium()
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            headless=True,
            args=FLAGS,
            **{"viewport": {"width": 1100, "height": 900}, **options},
        )
        context.set_default_timeout(15_000)
        yield context
        context.close()
