"""docs/deploying.md names what there is, and its recipe for the alert rules works."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from rig.program import ask

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploying.md").read_text("utf-8")


def test_page_names_files_that_exist() -> None:
    """Every path of the repository on it is there."""
    named = set(re.findall(r"\bdeploy/[\w./*-]*[\w/*]", PAGE))
    assert len(named) > 8
    for name in named:
        assert list(ROOT.glob(name.rstrip("/"))), name


def test_page_names_every_service_with_its_port(compose: dict[str, dict[str, object]]) -> None:
    """The table of services is that of the compose file."""
    rows = dict(
        re.findall(r"(?m)^\| `(\w+)` \| (.*) \|$", PAGE.split("## systemd", maxsplit=1)[0])
    )
    assert set(rows) == set(compose["services"])
    for name, service in compose["services"].items():
        assert isinstance(service, dict)
        profile, port, _ = (cell.strip() for cell in rows[name].split("|", 2))
        assert [profile.strip("`")] == service.get("profiles", [""])
        published = [one.split(":")[1] for one in service.get("ports", [])]
        assert [port] == (published or [""])


def test_page_turns_the_alert_rules_into_a_manifest() -> None:
    """What it sends to the cluster holds the very rules of the file."""
    (recipe,) = re.findall(r"<!-- run: rules -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    made, _, sent = recipe.partition(" | ")
    assert sent.startswith("kubectl")
    manifest = yaml.safe_load(ask("sh", "-c", made, cwd=ROOT))
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8"))
    assert manifest == {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "largesse"},
        "spec": rules,
    }
