"""docs/pacing.md names the settings with their defaults, and the numbers the scripts go by."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from worker.engine import site_limits
from worker.retry.policy import MAINTENANCE_CODES, RETRY_AFTER_MAX_MS, THROTTLE_PAUSE_MS
from worker.settings.environment import SITE_VARIABLES
from worker.settings.site import Site

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "pacing.md").read_text()
TEXT = " ".join(PAGE.split())
SCRIPT = (ROOT / "worker" / "engine" / "lua" / "site.lua").read_text()


def constants() -> dict[str, int]:
    """Numbers that site.lua declares by name."""
    found: dict[str, int] = {}
    for names, values in re.findall(r"(?m)^local ([A-Z_, ]+) = ([\d, ]+)$", SCRIPT):
        found |= dict(
            zip(names.split(", "), (int(one) for one in values.split(", ")), strict=True)
        )
    return found


@pytest.mark.parametrize("name", ["rate_per_minute", "max_in_flight", "share", "grow_budget"])
def test_pacing_page_has_a_setting_with_its_default(name: str) -> None:
    """A row for each field of a site that paces it, with the default of the code."""
    default = next(field.default for field in fields(Site) if field.name == name)
    (row,) = re.findall(rf"(?m)^\| `{name}` \|.*$", PAGE)
    assert f"| {str(default).lower().removesuffix('.0')} |" in row
    variables = [one.name for one in SITE_VARIABLES if one.field == name]
    assert all(f"`{one}`" in row for one in variables)


def test_pacing_page_has_the_numbers_of_the_scripts() -> None:
    """Waits and counts of the page are those of site.lua and of the table of errors."""
    numbers = constants()
    assert numbers["FAILURES_MAX"] == 10
    assert "ten endings in a row" in TEXT
    first, most, refused = (
        numbers[f"PROBE_{one}_MS"] // 1000 for one in ("FIRST", "MAX", "REFUSED")
    )
    assert f"after {first} s, {first * 2} s, then every {most} s" in TEXT
    assert f"it is tried every {refused} s" in TEXT
    assert f"gets {numbers['RAMP_FIRST']} calls at the same moment" in TEXT
    assert f"after {numbers['RAMP_MS'] // 1000} s without a good answer" in TEXT
    hold_s, hold_max_s = numbers["HOLD_FIRST_MS"] // 1000, numbers["HOLD_MAX_MS"] // 1000
    assert f"stands for {hold_s} s, and for up to {hold_max_s} s" in TEXT
    assert f"doubles every {numbers['DOUBLE_MS'] / 1000} s" in TEXT
    for name in ("DOUBLE_MS", "FAILURES_MAX", "RAMP_FIRST", "RAMP_MS"):
        assert numbers[name] == getattr(site_limits, name)
    assert f"1 to {RETRY_AFTER_MAX_MS // 1000} s" in TEXT
    assert f"no date) {THROTTLE_PAUSE_MS // 1000} s" in TEXT
    assert all(f"`{code}`" in TEXT for code in MAINTENANCE_CODES)
    assert f"after Retry-After, else after {first} s" in TEXT
