"""docker-compose.yml: by the specification, hardened, scalable, and watched by what it starts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rig.program import ask, program

from worker.dashboard.options import Options
from worker.process.supervisor import OVERTIME_S
from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FILES = ("docker-compose.yml", "deploy/compose.secrets.yml")
#: What somebody writes into .env.
GIVEN = {
    "CHARGEBEE_SITE": "acme-test",
    "CHARGEBEE_API_KEY": "test_sandbox_key",
    "LARGESSE_DASHBOARD_PASSWORD": "chosen-by-chance",
}


def filled(text: str, given: dict[str, str]) -> str:
    """Put variables into a text as Compose does; one that is demanded must be there."""

    def value(found: re.Match[str]) -> str:
        name, sign, word = found.groups()
        assert given.get(name) or sign == "-", word
        return given.get(name) or word

    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text)


def environment(service: dict[str, Any]) -> dict[str, str]:
    """Variables of a service for what somebody wrote into .env."""
    return {name: filled(value, GIVEN) for name, value in service["environment"].items()}


def own(compose: dict[str, Any]) -> dict[str, Any]:
    """Services that run our image."""
    return {name: one for name, one in compose["services"].items() if "build" in one}


def image_port() -> int:
    """Port for metrics that the image sets."""
    (port,) = re.findall(r"LARGESSE_METRICS_PORT=(\d+)", (ROOT / "Dockerfile").read_text("utf-8"))
    return int(port)


@pytest.mark.parametrize("name", FILES)
def test_compose_file_keeps_to_the_specification(name: str) -> None:
    """The schema of the Compose specification takes it."""
    checker = program("check-jsonschema", package="none: it is a Python package")
    ask(checker, "--builtin-schema", "vendor.compose-spec", str(ROOT / name))


def test_compose_schema_refuses_what_is_wrong(tmp_path: Path) -> None:
    """The check can fail: a misspelt key is found."""
    text = (ROOT / FILES[0]).read_text("utf-8").replace("cap_drop:", "cap_dropp:")
    (tmp_path / "docker-compose.yml").write_text(text, "utf-8")
    checker = program("check-jsonschema", package="none: it is a Python package")
    with pytest.raises(AssertionError, match="cap_dropp"):
        ask(
            checker,
            "--builtin-schema",
            "vendor.compose-spec",
            str(tmp_path / "docker-compose.yml"),
        )


def test_compose_names_only_what_it_declares(compose: dict[str, Any]) -> None:
    """Networks, volumes, services and files that are named are there."""
    for name, one in compose["services"].items():
        assert set(one["networks"]) <= set(compose["networks"]), name
        assert set(one.get("depends_on", ())) <= set(compose["services"]), name
        for volume in one.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).exists(), volume
    secrets = yaml.safe_load((ROOT / FILES[1]).read_text("utf-8"))
    for name, one in secrets["services"].items():
        assert name in compose["services"]
        assert set(one["secrets"]) <= set(secrets["secrets"])


def test_compose_broker_keeps_jobs(compose: dict[str, Any]) -> None:
    """It writes to disk and never evicts, and its data outlives the container."""
    broker = compose["services"]["broker"]
    words = broker["command"][1:]
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert broker["image"].startswith("valkey/valkey:")
    assert broker["volumes"] == ["broker:/data"]


def test_compose_services_have_no_more_rights_than_needed(compose: dict[str, Any]) -> None:
    """Each is read-only and gains no privileges; its ports are on the loopback alone."""
    for name, one in compose["services"].items():
        assert one["read_only"] is True, name
        assert "no-new-privileges:true" in one["security_opt"], name
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ())), name
        if name != "broker":  # it starts as root and gives that up
            assert one["cap_drop"] == ["ALL"], name


def test_compose_has_health_checks_and_profiles(compose: dict[str, Any]) -> None:
    """What is optional starts only when asked for; each service is asked whether it is well."""
    services = compose["services"]
    assert {name: one.get("profiles") for name, one in services.items()} == {
        "broker": None, "worker": None, "dashboard": ["dashboard"], "sandbox": ["sandbox"],
        "prometheus": ["monitoring"], "grafana": ["monitoring"],
    }  # fmt: skip
    assert [name for name, one in services.items() if "healthcheck" not in one] == ["worker"]
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text("utf-8")


def test_compose_workers_can_be_scaled(compose: dict[str, Any]) -> None:
    """Nothing of the worker can be there only once, and its end is given the time it needs."""
    worker = compose["services"]["worker"]
    assert not {"ports", "container_name", "hostname", "volumes"} & set(worker)
    grace_s = Settings.from_env(environment(worker)).grace_s
    assert int(worker["stop_grace_period"].removesuffix("s")) > grace_s + OVERTIME_S


def test_compose_demands_what_is_secret(compose: dict[str, Any]) -> None:
    """Without a key the file is refused; no key is written into it."""
    key = compose["services"]["worker"]["environment"]["CHARGEBEE_API_KEY"]
    with pytest.raises(AssertionError, match="give the key"):
        filled(key, {})
    assert filled(key, GIVEN) == GIVEN["CHARGEBEE_API_KEY"]


def test_compose_settings_are_settings(compose: dict[str, Any], documented: set[str]) -> None:
    """Every variable exists, and worker and dashboard start with them."""
    for one in own(compose).values():
        assert set(one.get("environment", {})) <= documented
    settings = Settings.from_env(environment(compose["services"]["worker"]))
    assert set(settings.sites) == {"acme-test"}
    options = Options.from_env(environment(compose["services"]["dashboard"]), host="0.0.0.0")
    assert options.password == GIVEN["LARGESSE_DASHBOARD_PASSWORD"]


def test_example_of_env_holds_what_is_read(documented: set[str]) -> None:
    """Every line of .env.example, also those that are commented out, is a variable there is."""
    text = (ROOT / ".env.example").read_text("utf-8")
    names = set(re.findall(r"(?m)^(?:# )?([A-Z_]+)=", text))
    assert names <= documented
    read = set(re.findall(r"\$\{(\w+)", (ROOT / FILES[0]).read_text("utf-8")))
    assert read - names <= {"CHARGEBEE_RATE_PER_MINUTE"}


def test_compose_prometheus_finds_every_worker(compose: dict[str, Any]) -> None:
    """It asks for the addresses of the service, on the port that the image opens."""
    prometheus = compose["services"]["prometheus"]
    assert "--config.file=/etc/largesse/compose.yml" in prometheus["command"]
    assert "./deploy/prometheus:/etc/largesse:ro" in prometheus["volumes"]
    folder = ROOT / "deploy" / "prometheus"
    ask(program("promtool", package="prometheus"), "check", "config", "compose.yml", cwd=folder)
    config = yaml.safe_load((folder / "compose.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert (found["names"], found["type"], found["port"]) == (["worker"], "A", image_port())
    assert set(compose["services"]["worker"]["networks"]) & set(prometheus["networks"])


def test_compose_grafana_has_its_source_and_its_dashboard(compose: dict[str, Any]) -> None:
    """The source of data is the Prometheus beside it, and the dashboard lies where it looks."""
    grafana = compose["services"]["grafana"]
    bound = [one.split(":") for one in grafana["volumes"] if one.startswith("./")]
    mounts = {target: ROOT / source for source, target, _ in bound}
    provisioning = mounts["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load(
        (provisioning / "datasources" / "prometheus.yml").read_text("utf-8")
    )["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    (provider,) = yaml.safe_load(
        (provisioning / "dashboards" / "largesse.yml").read_text("utf-8")
    )["providers"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    board = json.loads(mounts[home].read_text("utf-8"))
    (variable,) = [one for one in board["templating"]["list"] if one["name"] == "datasource"]
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
