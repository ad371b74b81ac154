"""The files of deploy/, read once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """What docker-compose.yml says, its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="session")
def documented() -> set[str]:
    """The variables that docs/settings.md and docs/dashboard.md list; other tests check those."""
    texts = [(ROOT / "docs" / name).read_text("utf-8") for name in ("settings.md", "dashboard.md")]
    return set(re.findall(r"\b(?:LARGESSE|CHARGEBEE)_[A-Z_]+\b", " ".join(texts)))
