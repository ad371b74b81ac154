"""The manifests: rendered by kubectl, valid in old and new clusters, hardened, and consistent."""

from __future__ import annotations

import copy
import functools
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from rig.program import ask, program

from worker.dashboard.options import Options
from worker.process.supervisor import OVERTIME_S
from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
#: The oldest and the newest version of Kubernetes whose schemas are at hand and that we check.
VERSIONS = ("1.28", "1.37")
#: Kinds that extensions of a cluster bring: test_scaling.py looks at these.
FOREIGN = {"ScaledObject", "PodMonitor"}

Manifest = dict[str, Any]


@functools.cache
def render(part: str = ".") -> tuple[Manifest, ...]:
    """What `kubectl apply -k` would send for a folder."""
    text = ask(program("kubectl", package="kubernetes-client"), "kustomize", str(FOLDER / part))
    return tuple(yaml.safe_load_all(text))


def all_of(*kinds: str) -> list[Manifest]:
    """Manifests of all folders, of these kinds or of any."""
    parts = (".", "broker", "keda", "monitoring")
    found = [one for part in parts for one in render(part)]
    return [one for one in found if not kinds or one["kind"] in kinds]


def one(kind: str, name: str) -> Manifest:
    """The manifest of this kind and name."""
    (found,) = [each for each in all_of(kind) if each["metadata"]["name"].startswith(name)]
    return found


def pod(kind: str, name: str) -> tuple[Manifest, Manifest]:
    """The specification of a pod, and of its one container."""
    spec = one(kind, name)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(version: str) -> None:
    """The schemas of Kubernetes take every manifest, and know every key of it."""
    example = yaml.safe_load((FOLDER / "secret.example.yaml").read_text("utf-8"))
    for each in (*all_of(), example):
        if each["kind"] not in FOREIGN:
            assert kubernetes_validate.validate(each, version, strict=True) == version


def test_manifests_with_a_wrong_key_are_not() -> None:
    """The check can fail: a probe in the wrong place is found."""
    broken = copy.deepcopy(one("Deployment", "worker"))
    broken["spec"]["template"]["spec"]["readinessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinessProbe"):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


def test_manifests_are_all_rendered() -> None:
    """No file lies about that no folder names, but for the example of the Secret."""
    named = {
        (path.parent / name).resolve()
        for path in FOLDER.rglob("kustomization.yaml")
        for name in yaml.safe_load(path.read_text("utf-8"))["resources"]
    }
    there = {path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert there - named == {FOLDER / "secret.example.yaml"}
    space = {each["metadata"].get("namespace") for each in all_of() if each["kind"] != "Namespace"}
    assert space == {"largesse"}


def test_pods_are_restricted() -> None:
    """They meet the strictest of the pod security standards, which their namespace demands."""
    labels = one("Namespace", "largesse")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for each in all_of("Deployment", "StatefulSet"):
        spec, container = pod(each["kind"], each["metadata"]["name"])
        rights = spec["securityContext"]
        assert rights["runAsNonRoot"] is True
        assert rights["runAsUser"] > 0
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["automountServiceAccountToken"] is False
        assert {"memory"} <= set(container["resources"]["limits"])
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])


def test_pods_run_as_the_user_of_the_image() -> None:
    """The image's user and that of the pods are the same, and the version is this one."""
    (user,) = re.findall(r"(?m)^USER (\d+)$", (ROOT / "Dockerfile").read_text("utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    for name in ("worker", "dashboard"):
        spec, container = pod("Deployment", name)
        assert spec["securityContext"]["runAsUser"] == int(user)
        assert container["image"].endswith(f"/largesse:{version}")


def test_labels_select_what_they_are_for() -> None:
    """Deployments, budgets, policies and monitors choose the pods that there are."""
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"].items()
        for each in all_of("Deployment", "StatefulSet")
    }
    for each in all_of("Deployment", "StatefulSet", "PodDisruptionBudget", "PodMonitor"):
        wanted = each["spec"]["selector"]["matchLabels"].items()
        assert [name for name, has in pods.items() if wanted <= has] == [each["metadata"]["name"]]
    for each in all_of("NetworkPolicy"):
        wanted = each["spec"]["podSelector"]["matchLabels"].items()
        assert [name for name, has in pods.items() if wanted <= has] == [each["metadata"]["name"]]
    for each in all_of("Service"):
        wanted = each["spec"]["selector"].items()
        (name,) = [name for name, has in pods.items() if wanted <= has]
        kind = "StatefulSet" if name == "broker" else "Deployment"
        ports = {port["name"] for port in pod(kind, name)[1]["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports


def settings_of(name: str) -> dict[str, str]:
    """Variables of a container."""
    container = pod("Deployment", name)[1]
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= one("ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {each["name"]: each["value"] for each in container["env"]}


def mounted(name: str) -> dict[str, str]:
    """Keys of the Secret by the path at which a container finds them."""
    spec, container = pod("Deployment", name)
    (volume,) = [each["secret"] for each in spec["volumes"] if "secret" in each]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "secrets"]
    assert mount["readOnly"] is True
    return {f"{mount['mountPath']}/{item['path']}": item["key"] for item in volume["items"]}


@pytest.mark.parametrize("name", ["worker", "dashboard"])
def test_pods_find_their_secrets_and_no_other(name: str) -> None:
    """Each `file:` among the settings is mounted, each mount is used, the example has each key."""
    example = yaml.safe_load((FOLDER / "secret.example.yaml").read_text("utf-8"))
    files = {text[5:] for text in settings_of(name).values() if text.startswith("file:")}
    assert files == set(mounted(name))
    assert set(mounted(name).values()) <= set(example["stringData"])


def test_pods_settings_are_settings(tmp_path: Path, documented: set[str]) -> None:
    """Worker and dashboard start with them, once the files are there."""
    for name in ("worker", "dashboard"):
        assert set(settings_of(name)) <= documented
        given = settings_of(name)
        for path, key in mounted(name).items():
            text = "redis://broker:6379/0" if key == "redis_url" else "chosen-by-chance"
            (tmp_path / key).write_text(text, "utf-8")
            given = {k: v.replace(path, str(tmp_path / key)) for k, v in given.items()}
        if name == "worker":
            settings = Settings.from_env(given)
            assert settings.redis.hosts == (("broker", 6379),)
            assert settings.metrics_host == "0.0.0.0"
        else:
            assert not Options.from_env(given, host="0.0.0.0").is_open


def test_workers_are_asked_on_their_own_port() -> None:
    """Probes, monitor, annotations and policy mean the port that the settings open."""
    port = int(settings_of("worker")["LARGESSE_METRICS_PORT"])
    _, container = pod("Deployment", "worker")
    assert container["ports"] == [{"name": "metrics", "containerPort": port}]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")}
    assert probes["liveness"] == {"path": "/livez", "port": "metrics"}
    assert probes["readiness"] == {"path": "/readyz", "port": "metrics"}
    notes = one("Deployment", "worker")["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/port"] == str(port)
    (endpoint,) = one("PodMonitor", "worker")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    (rule,) = one("NetworkPolicy", "worker")["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port}]


def test_workers_get_the_time_they_need_to_end() -> None:
    """The grace of a pod is above that of the process and its overtime."""
    seconds = pod("Deployment", "worker")[0]["terminationGracePeriodSeconds"]
    assert seconds > float(settings_of("worker")["LARGESSE_GRACE_S"]) + OVERTIME_S


def test_number_of_workers_is_left_to_whoever_scales() -> None:
    """The manifest names none, so that applying it again does not end workers."""
    assert "replicas" not in one("Deployment", "worker")["spec"]
    assert one("Deployment", "dashboard")["spec"]["replicas"] == 1


def test_broker_runs_as_in_compose(compose: dict[str, Any]) -> None:
    """The same server with the same options; the example of the Secret points to it."""
    service = compose["services"]["broker"]
    _, container = pod("StatefulSet", "broker")
    assert (container["image"], container["args"]) == (service["image"], service["command"])
    example = yaml.safe_load((FOLDER / "secret.example.yaml").read_text("utf-8"))
    port = one("Service", "broker")["spec"]["ports"][0]["port"]
    assert example["stringData"]["redis_url"] == f"redis://broker:{port}/0"
