"""The site builds without a warning, has every page, and loads nothing from anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rig.command import clean

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CONFIG = DOCS / "theme" / "mkdocs.yml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a link or an anchor that leads nowhere fails the build."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "mkdocs", "build", "--strict", "--config-file", str(CONFIG)]
    done = subprocess.run(
        [sys.executable, *words, "--site-dir", str(folder)],
        cwd=ROOT, env=clean({"NO_MKDOCS_2_WARNING": "1"}), capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_site_has_every_page(site: Path) -> None:
    """Each page of docs/ is built, and stands in the navigation of docs/theme/mkdocs.yml once."""
    pages = sorted(path.name for path in DOCS.glob("*.md"))
    assert [path for path in pages if not (site / path).with_suffix(".html").is_file()] == []
    nav = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nav"]
    listed = [
        page for part in nav for group in part.values() for one in group for page in one.values()
    ]
    assert sorted(listed) == pages, "add the page to `nav` of docs/theme/mkdocs.yml"


def test_site_loads_nothing_from_elsewhere(site: Path) -> None:
    """No page has a script, style or picture of another host, nor a diagram that needs one."""
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|link|source)\b[^>]*", text)
        assert len(loaded) > 3
        assert [tag for tag in loaded if re.search(r"(?:src|href)=\"?(?:https?:)?//", tag)] == []
        assert 'class="mermaid"' not in text


def test_site_holds_no_tool(site: Path) -> None:
    """What writes and builds the pages is not part of them; schemas and examples are."""
    assert not (site / "theme").exists()
    assert not list(site.glob("*.py"))
    assert (site / "json_schemas" / "gift_checkout.json").is_file()
    assert (site / "examples" / "enqueue.sh").is_file()
