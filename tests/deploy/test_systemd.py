"""The systemd units: systemd itself reads them, and their ends fit those of the processes."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from rig.program import ask, program

from worker.dashboard.options import Options
from worker.dashboard.server import GRACE_S
from worker.process.supervisor import EXIT_SETTINGS, OVERTIME_S
from worker.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
UNITS = ("largesse-worker.service", "largesse-dashboard.service")
#: Tenths of the exposure that `systemd-analyze security` counts, 0 to 100, at most.
EXPOSURE_MAX = 15


def service(name: str) -> dict[str, str]:
    """The section of a unit that says how it runs; of a repeated key the last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string((FOLDER / name).read_text("utf-8"))
    return dict(parser["Service"])


def example(name: str) -> dict[str, str]:
    """Variables of an example."""
    text = (FOLDER / name).read_text("utf-8")
    return dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", text))


def installed(name: str, folder: Path) -> Path:
    """A copy of a unit that starts a program which this machine has."""
    text = (FOLDER / name).read_text("utf-8")
    copy = folder / name
    copy.write_text(text.replace("/opt/largesse/bin/largesse", "/bin/true"), "utf-8")
    return copy


@pytest.mark.parametrize("name", UNITS)
def test_units_are_read_by_systemd(name: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about them."""
    words = (program("systemd-analyze", package="systemd"), "verify", "--man=no")
    ask(*words, str(installed(name, tmp_path)))


def test_units_with_a_wrong_key_are_not(tmp_path: Path) -> None:
    """The check can fail: a program that is not there is found."""
    words = (program("systemd-analyze", package="systemd"), "verify", "--man=no")
    broken = tmp_path / UNITS[0]
    broken.write_text((FOLDER / UNITS[0]).read_text("utf-8"), "utf-8")
    with pytest.raises(AssertionError, match="not executable"):
        ask(*words, str(broken))


@pytest.mark.parametrize("name", UNITS)
def test_units_are_hardened(name: str, tmp_path: Path) -> None:
    """By systemd's own measure they expose little."""
    words = (program("systemd-analyze", package="systemd"), "security", "--no-pager")
    told = ask(
        *words, "--offline=true", f"--threshold={EXPOSURE_MAX}", str(installed(name, tmp_path))
    )
    assert "Overall exposure level" in told


def test_workers_unit_ends_them_in_order() -> None:
    """One SIGTERM, to the supervisor; and time for the grace of its processes."""
    unit = service("largesse-worker.service")
    assert (unit["KillMode"], unit["KillSignal"]) == ("mixed", "SIGTERM")
    grace_s = Settings.from_env(example("worker.env.example")).grace_s
    assert int(unit["TimeoutStopSec"]) > grace_s + OVERTIME_S
    assert int(service("largesse-dashboard.service")["TimeoutStopSec"]) > GRACE_S


@pytest.mark.parametrize("name", UNITS)
def test_units_start_again_but_not_with_wrong_settings(name: str) -> None:
    """Whatever ends them, they come back; a setting that is wrong does not mend itself."""
    unit = service(name)
    assert unit["Restart"] == "always"
    assert int(unit["RestartPreventExitStatus"]) == EXIT_SETTINGS
    assert unit["User"] == "largesse"
    assert "\nStartLimitIntervalSec=0\n" in (FOLDER / name).read_text("utf-8")


def test_examples_are_settings_that_work(documented: set[str]) -> None:
    """Worker and dashboard start with them; keys are references to files."""
    worker = example("worker.env.example")
    assert Settings.from_env(worker).metrics_port == 9400
    assert worker["CHARGEBEE_API_KEY"].startswith("file:/")
    dashboard = example("dashboard.env.example")
    assert Options.from_env(dashboard).is_open
    own = {"LARGESSE_WORKER_OPTIONS", "LARGESSE_DASHBOARD_OPTIONS"}
    assert {*worker, *dashboard} - own <= documented
