"""deploy/prometheus and deploy/grafana: rules that work, metrics that exist, a page for each."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from rig.program import program

from worker.metrics.metric_names import METRICS, PREFIX

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "largesse.json"

#: Metrics of other exporters that rules and panels may use.
FOREIGN = {"process_start_time_seconds", "process_cpu_seconds_total"}


def alerts() -> list[dict[str, Any]]:
    """Give all rules."""
    found = yaml.safe_load((RULES / "alerts.yml").read_text("utf-8"))
    return [rule for group in found["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Give the expressions of all panels, with Grafana's variables filled in."""
    found = json.loads(DASHBOARD.read_text("utf-8"))
    texts = [target["expr"] for panel in found["panels"] for target in panel["targets"]]
    return [text.replace("$__rate_interval", "1m").replace("$site", ".*") for text in texts]


def names_in(expression: str) -> set[str]:
    """Give the metrics that an expression names."""
    return set(re.findall(r"\b(?:largesse|process)_[a-z_]+", expression))


def known() -> set[str]:
    """Give the names under which samples can be found."""
    found = set(FOREIGN)
    for metric in METRICS.values():
        name = PREFIX + metric.name
        parts = ("_bucket", "_sum", "_count") if metric.type == "histogram" else ("",)
        found |= {name + part for part in parts}
    return found


def labels_in(expression: str) -> set[str]:
    """Give the labels that an expression groups by or chooses."""
    grouped = re.findall(r"(?:by|on) \(([^)]*)\)", expression)
    chosen = re.findall(r"[{,] ?([a-z_]+)(?:=|!)", expression)
    return {name.strip() for part in grouped for name in part.split(",")} | set(chosen)


def promtool(*words: str, cwd: Path = RULES) -> None:
    """Run promtool; where there is none, skip here and fail in CI."""
    done = subprocess.run(
        [program("promtool", package="prometheus"), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", [*(a["expr"] for a in alerts()), *expressions()])
def test_rules_and_panels_name_what_there_is(expression: str) -> None:
    """Every metric and label that is asked for is exported."""
    names = names_in(expression)
    assert names
    assert names <= known()
    labels = {label for metric in METRICS.values() for label in metric.labels}
    assert labels_in(expression) <= labels | {"le", "instance"}


def test_figures_of_the_queue_are_never_summed_over_processes() -> None:
    """Every process tells the same of the queue: a sum needs a max inside."""
    queue = {PREFIX + one.name for one in METRICS.values() if one.source == "queue"}
    for expression in [*(rule["expr"] for rule in alerts()), *expressions()]:
        for name in names_in(expression) & queue:
            before = expression.split(name, 1)[0]
            assert re.search(r"max(?: by \([a-z_, ]+\))? \(?$|max\($", before), expression


def test_alerts_have_a_page_each() -> None:
    """Each alert links to its own section of the runbook, and no section is left over."""
    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    sections = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    assert sections == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        link = rule["annotations"]["runbook_url"]
        assert link == f"docs/runbook.md#{rule['alert'].lower()}"
    for part in text.split("\n## ")[1:]:
        for word in ("**Means:**", "**Look:**", "**Do:**"):
            assert word in part, part[:40]


def test_alerts_say_how_bad_and_what() -> None:
    """Each has a severity, a summary and a description."""
    for rule in alerts():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
        assert rule["for"]


def test_alerts_are_all_tested() -> None:
    """Each alert has a case in which it fires, and a quiet hour is a case too."""
    cases = yaml.safe_load((RULES / "alerts_test.yml").read_text("utf-8"))["tests"]
    assert [case["name"] for case in cases] == [*(rule["alert"] for rule in alerts()), "quiet"]
    for case in cases[:-1]:
        (check,) = case["promql_expr_test"]
        assert f'alertname="{case["name"]}"' in check["expr"]
        assert check["exp_samples"][0]["value"] == 1


def test_alerts_fire_when_they_should() -> None:
    """Prometheus itself reads the rules and runs their cases."""
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_scrape_configuration_is_valid() -> None:
    """Prometheus itself reads it, and the rules it names are there."""
    promtool("check", "config", "prometheus.yml")


def test_panels_are_valid_queries(tmp_path: Path) -> None:
    """Prometheus itself reads every expression of the dashboard."""
    rules = [
        {"record": f"panel:{place}", "expr": expression}
        for place, expression in enumerate(expressions())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    promtool("check", "rules", str(path), cwd=tmp_path)


def test_panels_do_not_overlap() -> None:
    """Every panel has a place of its own on the grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
