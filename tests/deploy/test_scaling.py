"""What extensions of a cluster read: KEDA's ScaledObject, and monitors for Prometheus."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from rig.program import ask, program

from worker.metrics.metric_names import METRICS, PREFIX

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"


def closed(required: str, **properties: Any) -> dict[str, Any]:
    """The schema of an object that has these members and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
LABELS = {"type": "object", "additionalProperties": TEXT}
HEAD = closed("name", name=TEXT, labels=LABELS)
POLICY = closed(
    "type value periodSeconds",
    type={"enum": ["Pods", "Percent"]},
    value=COUNT,
    periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
)
RULES = closed(
    "policies",
    policies={"type": "array", "items": POLICY, "minItems": 1},
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
)
#: What KEDA 2.17 and newer take, as far as our object uses it; metadata are texts, always.
SCALED_OBJECT = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata=HEAD,
    spec=closed(
        "scaleTargetRef triggers",
        scaleTargetRef=closed("name", name=TEXT),
        pollingInterval=COUNT,
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        fallback=closed(
            "failureThreshold replicas",
            failureThreshold=COUNT,
            replicas=COUNT,
            behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher"]},
        ),
        advanced=closed(
            "",
            horizontalPodAutoscalerConfig=closed(
                "", behavior=closed("", scaleUp=RULES, scaleDown=RULES)
            ),
        ),
        triggers={
            "type": "array",
            "minItems": 1,
            "items": closed(
                "type metadata",
                type={"const": "prometheus"},
                name=TEXT,
                # The fallback works with this one alone.
                metricType={"const": "AverageValue"},
                metadata=closed(
                    "serverAddress query threshold",
                    serverAddress={"type": "string", "pattern": "^https?://"},
                    query=TEXT,
                    threshold=NUMBER,
                ),
            ),
        },
    ),
)
#: What the Prometheus operator takes, as far as our monitor uses it.
POD_MONITOR = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "PodMonitor"},
    metadata=HEAD,
    spec=closed(
        "selector podMetricsEndpoints",
        selector=closed("matchLabels", matchLabels=LABELS),
        podMetricsEndpoints={
            "type": "array",
            "items": closed(
                "port",
                port=TEXT,
                path={"type": "string", "pattern": "^/"},
                interval={"type": "string", "pattern": r"^\d+s$"},
            ),
        },
    ),
)


def load(name: str) -> dict[str, Any]:
    """Read a manifest."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text("utf-8"))
    return found


SCALED = load("keda/scaled-object.yaml")
TRIGGERS = {one["name"]: one["metadata"] for one in SCALED["spec"]["triggers"]}


def test_scaled_object_is_what_keda_takes() -> None:
    """Every key and type is one of KEDA's; the target is the Deployment."""
    jsonschema.validate(SCALED, SCALED_OBJECT)
    worker = next(yaml.safe_load_all((FOLDER / "worker.yaml").read_text("utf-8")))
    assert SCALED["spec"]["scaleTargetRef"]["name"] == worker["metadata"]["name"]


def test_scaled_object_with_a_wrong_key_is_not() -> None:
    """The check can fail: a number where KEDA wants a text, and a key that it does not know."""
    broken = copy.deepcopy(SCALED)
    broken["spec"]["triggers"][0]["metadata"]["threshold"] = 5
    with pytest.raises(jsonschema.ValidationError, match="5 is not of type 'string'"):
        jsonschema.validate(broken, SCALED_OBJECT)
    broken = copy.deepcopy(SCALED)
    broken["spec"]["minReplicas"] = 1
    with pytest.raises(jsonschema.ValidationError, match="minReplicas"):
        jsonschema.validate(broken, SCALED_OBJECT)


def test_scaling_never_ends_the_last_worker() -> None:
    """Workers tell how old the oldest job is: with none of them nothing would start one."""
    spec = SCALED["spec"]
    assert 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_monitor_is_what_the_operator_takes() -> None:
    """Every key and type is one of the operator's."""
    jsonschema.validate(load("monitoring/pod-monitor.yaml"), POD_MONITOR)


def test_scaling_asks_for_metrics_that_exist() -> None:
    """Names and labels are those that workers export, for each lane that there is."""
    known = {PREFIX + one.name: one.labels for one in METRICS.values()}
    for lane, trigger in TRIGGERS.items():
        names = set(re.findall(r"\blargesse_\w+", trigger["query"]))
        assert f"{PREFIX}oldest_job_age_seconds" in names
        for name in names:
            assert {"site"} <= set(known[name]), name
        assert f'{{lane="{lane}"}}' in trigger["query"]
    assert set(TRIGGERS) == {"interactive", "bulk"}


#: Sites of the scenes below: how old their oldest job is, and what keeps them from being called.
SITES: dict[str, dict[str, float]] = {
    "free": {"age": 20},
    "paused": {"age": 900, "largesse_site_paused": 1},
    "tripped": {"age": 900, "largesse_site_tripped": 1},
    "throttled": {"age": 600, "largesse_site_throttled_seconds": 30},
    "spent": {"age": 300, "largesse_site_budget_used_ratio": 0.8},
}
BRAKES = (
    "largesse_site_paused",
    "largesse_site_tripped",
    "largesse_site_throttled_seconds",
    "largesse_site_budget_used_ratio",
)


def scene(sites: list[str], lane: str, value: float) -> dict[str, Any]:
    """A case for promtool: these sites wait, two processes tell of it, the query gives a value."""
    told: dict[str, float] = {}
    for site in sites:
        told[f'largesse_oldest_job_age_seconds{{site="{site}",lane="{lane}"'] = SITES[site]["age"]
        for brake in BRAKES:
            told[f'{brake}{{site="{site}"'] = SITES[site].get(brake, 0)
    series = [
        {"series": f'{start},instance="{process}"}}', "values": f"{number}x5"}
        for start, number in told.items()
        for process in ("a", "b")
    ]
    return {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {"expr": f"scaling:{lane}", "eval_time": "3m",
             "exp_samples": [{"labels": f"scaling:{lane}", "value": value}]},
        ],
    }  # fmt: skip


def test_scaling_follows_the_jobs_that_a_worker_more_would_help(tmp_path: Path) -> None:
    """Prometheus itself says: the oldest job counts, but not of a site that must not be called."""
    promtool = program("promtool", package="prometheus")
    rules = [{"record": f"scaling:{name}", "expr": one["query"]} for name, one in TRIGGERS.items()]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "scaling", "rules": rules}]}), "utf-8"
    )
    cases = [
        scene(sites, lane, value)
        for lane in TRIGGERS
        for sites, value in (
            (["free"], 20), (["paused"], 0), (["tripped"], 0), (["throttled"], 0),
            (["spent"], 0), ([*SITES], 20), ([], 0),
        )
    ]  # fmt: skip
    (tmp_path / "cases.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "tests": cases}), "utf-8"
    )
    ask(promtool, "test", "rules", "cases.yml", cwd=tmp_path)
