"""Variables that are named like settings and that nothing reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from worker.dashboard import options
from worker.errors import SettingsError
from worker.settings import Settings
from worker.settings.environment import DASHBOARD_NAMES
from worker.settings.unknown_variables import unknown_variables

REDIS = {"LARGESSE_REDIS_URL": "redis://localhost"}


def unknown(**environ: str) -> dict[str, str]:
    """Find unknown variables beside those of a working environment."""
    given = {**REDIS, **environ}
    return unknown_variables(given, Settings.from_env(given))


def test_unknown_variable_is_asked_for() -> None:
    """Its name, and the one that was meant; values are never shown."""
    found = unknown(
        LARGESSE_METRIC_PORT="9100", LARGESSE_GIFT_CHECKOUT_CAP_S="5", LARGESSE_X="canary"
    )
    assert found == {
        "LARGESSE_GIFT_CHECKOUT_CAP_S":
            "Remove it, or correct its name. Did you mean LARGESSE_GIFT_CHECKOUT_CAP_MS?",
        "LARGESSE_METRIC_PORT":
            "Remove it, or correct its name. Did you mean LARGESSE_METRICS_PORT?",
        "LARGESSE_X": "Remove it, or correct its name.",
    }  # fmt: skip


def test_documented_variables_are_all_known() -> None:
    """Whatever the settings page names exists."""
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`(LARGESSE_[A-Z_]+[A-Z])`", page))
    assert len(names) > 20
    assert unknown_variables(dict.fromkeys(names, ""), None) == {}


def test_dashboard_names_are_those_of_the_dashboard() -> None:
    """The settings know the names of a room above theirs."""
    names = {options.PASSWORD, options.TOKEN, *(one.name for one in options.VARIABLES)}
    assert set(DASHBOARD_NAMES) == names


def test_variables_of_kubernetes_are_no_settings() -> None:
    """It describes each service to the containers beside it, also one named largesse-metrics."""
    found = unknown(
        LARGESSE_METRICS_SERVICE_HOST="10.0.0.1", LARGESSE_METRICS_SERVICE_PORT_HTTP="80",
        LARGESSE_BROKER_PORT="tcp://10.0.0.1:6379", LARGESSE_BROKER_PORT_6379_TCP_ADDR="10.0.0.1",
        LARGESSE_BROKER_PORT_6379_TCP="tcp://10.0.0.1:6379", LARGESSE_BROKER_SERVICE_PORT="6379",
    )  # fmt: skip
    assert found == {}


def test_variable_of_a_key_is_no_setting(tmp_path: Path) -> None:
    """The sites file may name any variable."""
    path = tmp_path / "sites.toml"
    path.write_text('[sites.acme]\napi_key = "env:LARGESSE_ACME_KEY"\n')
    assert unknown(LARGESSE_SITES=str(path), LARGESSE_ACME_KEY="test_x") == {}


@pytest.mark.parametrize("name", ["acme-tset", "Acme-Test", "acmetest"])
def test_site_that_is_mistyped_is_asked_for(name: Any) -> None:
    """A site of the settings is suggested beside the list."""
    settings = Settings.from_env(
        {**REDIS, "CHARGEBEE_SITE": "acme-test", "CHARGEBEE_API_KEY": "x"}
    )
    with pytest.raises(SettingsError, match=r"Did you mean acme-test\?"):
        settings.site(name)
